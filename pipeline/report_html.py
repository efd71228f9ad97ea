"""Shows report.json as one self-contained page.

Everything on the page comes from the report; nothing is loaded from elsewhere.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline import plots
from pipeline.report_style import STYLE

# What the tiles and the byte breakdown are about: the smallest recipe that
# still has to recognise well.
_HEADLINE_RECIPE = "int4_2of4"
_TONES = (
  "--series-1",
  "--series-3",
  "--series-2",
  "--accent",
  "--ambient",
  "--critical",
)

Report = Mapping[str, Any]


def render_html(report: Report) -> str:
  """Returns report.html for a report.json.

  Args:
    report: as `report.build_report` returns it.
  """
  sections = [
    _header(report),
    _tiles(report),
    _stages(report),
    _models(report),
    _trade_offs(report),
    _importance(report),
    _training(report),
    _bytes(report),
    _corpus(report),
    _environment(report),
    _redo(report),
  ]
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    "<title>On-device speech recognition: report</title>\n"
    f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    + "\n".join(sections)
    + "\n</main>\n</body>\n</html>\n"
  )


def _header(report: Report) -> str:
  corpus = report["corpus"]
  committed = report["server_model"] == "committed"
  badges = [
    _badge(
      "starts from the committed pre-trained model"
      if committed
      else "server model pre-trained from scratch in this run"
    )
  ]
  if corpus["synthetic"]:
    badges.insert(0, _badge("synthetic speech", "warn"))
  warning = (
    " The speech is <b>synthetic</b> (neural text-to-speech): these error rates"
    " say how the stages compare, not how people would be recognised."
    if corpus["synthetic"]
    else ""
  )
  return (
    "<h1>Federated training and compression of an on-device speech"
    " recogniser</h1>\n"
    f'<p class="lead">Measured on {corpus["eval_utterances"]} utterances'
    f" ({corpus['eval_words']:,} words) of {corpus['eval_speakers']} speakers"
    f" heard in no training stage.{warning}</p>\n<p>{''.join(badges)}</p>"
  )


def _tiles(report: Report) -> str:
  federated = report["federated"]
  tiles = []
  for name, domain in federated["domains"].items():
    change = domain["wer_after"] - domain["wer_before"]
    tiles.append(
      _tile(
        f"WER on {name}, after federated training",
        _rate(domain["wer_after"]),
        f"{_rate(domain['wer_before'])} before ({change:+.3f})",
      )
    )
  tiles.append(
    _tile(
      "Client model",
      _percent(federated["client_params"] / federated["server_params"]),
      f"of the server's parameters: {_count(federated['client_params'])} of"
      f" {_count(federated['server_params'])}",
    )
  )
  tiles.append(
    _tile(
      "Per client and round",
      _size(federated["download_bytes_per_client"]),
      f"down, {_size(federated['upload_bytes_per_client'])} up;"
      f" {federated['rounds']} rounds of {federated['cohort']} clients",
    )
  )
  small = _recipe(report, _HEADLINE_RECIPE)
  if small:
    tiles.append(
      _tile(
        f"{small['recipe']} file",
        _size(small["bytes"]),
        f"{_percent(small['bytes_vs_float32'])} of float32,"
        f" {_size(small['gzip_bytes'])} gzipped, WER {_rate(small['wer'])}",
      )
    )
    tiles.append(
      _tile(
        f"{small['recipe']} latency",
        f"{small['latency_ms']:.1f} ms",
        f"median utterance, one thread: {1 / small['rtf']:,.0f} times as fast"
        " as speech",
      )
    )
  return f'<div class="tiles">{"".join(tiles)}</div>'


def _stages(report: Report) -> str:
  stages = report["stages"]
  total = sum(stage["seconds"] for stage in stages)
  boxes, strip = [], []
  for index, stage in enumerate(stages):
    tone = f'style="--tone:var({_TONES[index % len(_TONES)]})"'
    memory = stage.get("peak_rss_bytes")
    # From an earlier run of the same command; its time and memory are shown.
    note = " · kept" if stage.get("kept") else ""
    boxes.append(
      f"<div {tone}><b>{_escape(stage['name'])}</b>"
      f"<span>{_seconds(stage['seconds'])}"
      + (f" · {_size(memory)}" if memory else "")
      + f"{note}</span></div>"
    )
    strip.append(
      f'<i style="--tone:var({_TONES[index % len(_TONES)]});'
      f'flex:{max(stage["seconds"], 0.01):.2f} 0 0"'
      f' title="{_escape(stage["name"])}: {_seconds(stage["seconds"])}"></i>'
    )
  peak = max((stage.get("peak_rss_bytes") or 0 for stage in stages), default=0)
  return _section(
    "What ran",
    f'<p class="note">{_seconds(total)} in all, peak memory {_size(peak)}. The'
    " strip shows each stage's share of the time. What passes from one stage to"
    " the next is a file.</p>"
    f'<div class="flow">{"".join(boxes)}</div>'
    f'<div class="strip">{"".join(strip)}</div>',
  )


def _models(report: Report) -> str:
  domains = list(
    dict.fromkeys(
      name for model in report["models"] for name in model.get("domains", {})
    )
  )
  head = (
    ["recipe", "bytes", "of float32", "gzip", "WER (95 % interval)"]
    + [f"WER {name}" for name in domains]
    + ["CER", "latency", "RTF", "memory", "Flex", "max |Δ logit|"]
  )
  rows = []
  for model in report["models"]:
    interval = (
      f" <small>{_rate(model['wer_low'])}–{_rate(model['wer_high'])}</small>"
      if "wer_low" in model
      else ""
    )
    cells = [
      f"<b>{_escape(model['recipe'])}</b>",
      f"{model['bytes']:,}",
      _percent(model["bytes_vs_float32"]),
      f"{model['gzip_bytes']:,}",
      _rate(model["wer"]) + interval,
      *(_rate(model.get("domains", {}).get(name)) for name in domains),
      _rate(model["cer"]),
      f"{model['latency_ms']:.1f} ms",
      f"{model['rtf']:.4f}",
      _size(model["peak_rss_bytes"]),
      str(model["flex_ops"]),
      f"{model['max_abs_logit_diff_vs_keras']:.2g}",
    ]
    best = model["recipe"] == _HEADLINE_RECIPE
    rows.append(
      f'<tr{" class=best" if best else ""}>'
      + "".join(f"<td>{cell}</td>" for cell in cells)
      + "</tr>"
    )
  return _section(
    "The .tflite files",
    '<p class="note">Each file takes raw 16 kHz audio and gives label ids, and'
    " was measured on the LiteRT interpreter, one thread. WER and CER are"
    " fractions; latency is of the median utterance; the last column compares"
    " the logits with the Keras model that was converted.</p>"
    f'<div class="scroll"><table><tr>{_heads(head)}</tr>{"".join(rows)}</table>'
    "</div>",
  )


def _trade_offs(report: Report) -> str:
  models = report["models"]
  return (
    '<div class="two">'
    + _section(
      "Error rate against size", plots.trade_off(models, "bytes", "kB")
    )
    + _section(
      "Error rate against latency",
      plots.trade_off(models, "latency_ms", "ms for the median utterance"),
    )
    + "</div>"
  )


def _importance(report: Report) -> str:
  rows = report["importance"]
  ambient = sum(row["ambient"] for row in rows)
  return _section(
    "Which parts of the model matter",
    '<p class="note">Each part was put back to the values that it had before'
    " training, one part at a time, and the WER measured on held-out server"
    f" speech. {ambient} of {len(rows)} parts are ambient: they cost little,"
    " and clients get a narrower copy of them.</p>"
    '<p class="legend"><span><i style="--tone:var(--ambient)"></i>ambient</span>'
    '<span><i style="--tone:var(--critical)"></i>critical</span></p>'
    + plots.importance_bars(rows),
  )


def _training(report: Report) -> str:
  panels = []
  for title, curve, x in (
    ("Pre-training on the server's speech", report["pretraining"], "step"),
    ("Federated training on the clients'", report["federated"], "round"),
  ):
    rows = curve["curve"]
    keys = dict.fromkeys(key for row in rows for key in row)
    figures = {
      key: "loss" if key == "loss" else "WER"
      for key in keys
      if key == "loss" or key.endswith("wer")
    }
    if figures:
      panels.append(
        _section(
          title,
          f'<p class="note">{_escape(curve["curve_note"])}</p>'
          + plots.curves(rows, x, figures),
        )
      )
  return f'<div class="two">{"".join(panels)}</div>' if panels else ""


def _bytes(report: Report) -> str:
  model = _recipe(report, _HEADLINE_RECIPE)
  kinds = (model or {}).get("bytes_by_kind")
  if not model or not kinds:
    return ""
  strip, rows = [], []
  for index, (kind, size) in enumerate(
    sorted(kinds.items(), key=lambda item: -item[1])
  ):
    tone = f"--tone:var({_TONES[index % len(_TONES)]})"
    strip.append(
      f'<i style="{tone};flex:{max(size, 1)} 0 0" title="{_escape(kind)}"></i>'
    )
    rows.append(
      f'<tr><td class="legend"><i style="{tone}"></i>{_escape(kind)}</td>'
      f"<td>{size:,}</td><td>{_percent(size / model['bytes'])}</td></tr>"
    )
  return _section(
    f"Where the bytes of {_HEADLINE_RECIPE} are",
    '<p class="note">The whole file as stored. Only the weights of matrix'
    " multiplications are low-bit; the rest is what a smaller file would have"
    " to work on next.</p>"
    f'<div class="strip">{"".join(strip)}</div>'
    f"<table><tr>{_heads(['what', 'bytes', 'share'])}</tr>{''.join(rows)}"
    "</table>",
  )


def _corpus(report: Report) -> str:
  corpus = report["corpus"]
  facts = {
    "name": corpus["name"],
    "speech": (
      "synthetic: neural text-to-speech, sentences of a small grammar"
      if corpus["synthetic"]
      else "the user's own corpus"
    ),
    "server speech": f"{corpus['server_utterances']:,} utterances of"
    f" {corpus['server_speakers']} speakers (pre-training, importance,"
    " fine-tuning of the compressed models)",
    "client speech": f"{corpus['train_utterances']:,} utterances of"
    f" {corpus['train_clients']} clients, one speaker each (federated training)",
    "evaluation": f"{corpus['eval_utterances']:,} utterances,"
    f" {corpus['eval_words']:,} words, {corpus['eval_speakers']} speakers heard"
    " in no training stage",
    "skipped utterances": ", ".join(
      f"{item['id']} ({item['reason']})"
      for item in corpus["skipped_utterances"][:5]
    )
    or "none",
  }
  hidden = len(corpus["skipped_utterances"]) - 5
  if hidden > 0:
    facts["skipped utterances"] += f" and {hidden} more, in the manifests"
  return _section("Corpus", _facts(facts))


def _environment(report: Report) -> str:
  environment = report["environment"]
  return _section(
    "Environment",
    _facts(
      {
        "processor": f"{environment['cpu']}, {environment['cores']} cores",
        "commit": environment["commit"],
        "versions": ", ".join(
          f"{name} {version}"
          for name, version in environment["versions"].items()
        ),
        "seed": report["seed"],
      }
    ),
  )


def _redo(report: Report) -> str:
  return _section(
    "How to do it again",
    f"<pre><code>{_escape(report['command'])}</code></pre>"
    '<p class="note">from a clone of the commit above. The same inputs,'
    " configuration and seed give the same artifacts; times are of this"
    " machine. report.json, beside this file, holds the same figures for a"
    " script; every stage's folder has a manifest.json.</p>",
  )


def _section(title: str, body: str) -> str:
  return f"<section>\n<h2>{_escape(title)}</h2>\n{body}\n</section>"


def _tile(what: str, figure: str, detail: str) -> str:
  return (
    f'<div class="tile"><span class="what">{_escape(what)}</span>'
    f"<b>{_escape(figure)}</b><span>{_escape(detail)}</span></div>"
  )


def _badge(text: str, tone: str = "") -> str:
  return f'<span class="badge {tone}">{_escape(text)}</span>'


def _facts(facts: Mapping[str, Any]) -> str:
  rows = (
    f"<tr><th>{_escape(name)}</th><td>{_escape(value)}</td></tr>"
    for name, value in facts.items()
  )
  return f'<table class="facts">{"".join(rows)}</table>'


def _heads(names: Iterable[str]) -> str:
  return "".join(f"<th>{_escape(name)}</th>" for name in names)


def _recipe(report: Report, name: str) -> Mapping[str, Any] | None:
  models: Sequence[Mapping[str, Any]] = report["models"]
  return next((model for model in models if model["recipe"] == name), None)


def _escape(value: Any) -> str:
  return html.escape(str(value))


def _rate(value: float | None) -> str:
  return "–" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
  return f"{100 * value:.1f} %"


def _count(value: int) -> str:
  return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,}"


def _size(value: float) -> str:
  for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
    if value >= scale:
      return f"{value / scale:.3g} {unit}"
  return f"{value:.0f} B"


def _seconds(value: float) -> str:
  if value < 60:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
  minutes, seconds = divmod(round(value), 60)
  return f"{minutes} min {seconds:02d} s"
