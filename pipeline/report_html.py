"""Shows report.json as one self-contained page.

Everything on the page comes from the report; nothing is loaded from elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import plots
from pipeline.report_elements import (
  badge,
  escape,
  facts_table,
  section,
  show_bytes,
  show_count,
  show_percent,
  show_rate,
  show_seconds,
  table_head,
  tile,
)
from pipeline.report_style import STYLE

# What the tiles and the byte breakdown are about: the smallest recipe that
# still has to recognise well.
_HEADLINE_RECIPE = "int4_2of4"
_DOMAIN_WORDS = {"general": "general sentences"}
_TONES = tuple(f"--series-{index}" for index in range(1, 9))

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
    badge(
      "starts from the committed pre-trained model"
      if committed
      else "server model pre-trained from scratch in this run"
    )
  ]
  if corpus["synthetic"]:
    badges.insert(0, badge("synthetic speech", "warn"))
  warning = (
    " The speech is <b>synthetic</b> (neural text-to-speech): these error rates"
    " say how the stages compare, not how people would be recognised."
    if corpus["synthetic"]
    else ""
  )
  return (
    "<h1>On-device speech recognition, trained federated</h1>\n"
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
      tile(
        f"WER on {_DOMAIN_WORDS.get(name, name)}",
        show_rate(domain["wer_after"]),
        f"after federated training; {show_rate(domain['wer_before'])} before"
        f" ({change:+.3f})",
      )
    )
  tiles.append(
    tile(
      "Client model",
      show_percent(federated["client_params"] / federated["server_params"]),
      f"of the server's parameters: {show_count(federated['client_params'])} of"
      f" {show_count(federated['server_params'])}",
    )
  )
  tiles.append(
    tile(
      "Per client and round",
      show_bytes(federated["download_bytes_per_client"]),
      f"down, {show_bytes(federated['upload_bytes_per_client'])} up;"
      f" {federated['cohort']} clients a round, rounds: {federated['rounds']}",
    )
  )
  small = _recipe(report, _HEADLINE_RECIPE)
  if small:
    tiles.append(
      tile(
        f"{small['recipe']} file",
        show_bytes(small["bytes"]),
        f"{show_percent(small['bytes_vs_float32'])} of float32,"
        f" {show_bytes(small['transport_bytes'])} on the way to the phone,"
        f" WER {show_rate(small['wer'])}",
      )
    )
    tiles.append(
      tile(
        f"{small['recipe']} latency",
        f"{small['latency_ms']:.1f} ms",
        f"{small['latency_utterance_s']:.1f} s of speech, one thread:"
        f" {1 / small['rtf']:,.0f} times as fast"
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
      f"<div {tone}><b>{escape(stage['name'])}</b>"
      f"<span>{show_seconds(stage['seconds'])}"
      + (f" · {show_bytes(memory)}" if memory else "")
      + f"{note}</span></div>"
    )
    strip.append(
      f'<i style="--tone:var({_TONES[index % len(_TONES)]});'
      f'flex:{max(stage["seconds"], 0.01):.2f} 0 0"'
      f' title="{escape(stage["name"])}"></i>'
    )
  peak = max((stage.get("peak_rss_bytes") or 0 for stage in stages), default=0)
  return section(
    "What ran",
    f'<p class="note">{show_seconds(total)} in all, peak memory'
    f" {show_bytes(peak)}. The strip shows each stage's share of the time. What"
    " passes from one stage to the next is a file.</p>"
    f'<div class="flow">{"".join(boxes)}</div>'
    f'<div class="strip">{"".join(strip)}</div>',
  )


def _models(report: Report) -> str:
  domains = measured_domains(report["models"])
  head = (
    ["recipe", "bytes", "of float32", "gzip", "transport", "WER, interval"]
    + [f"WER {name}" for name in domains]
    + ["CER", "latency", "RTF", "memory", "Flex", "logits differ"]
  )
  rows = []
  for model in report["models"]:
    low, high = model["wer_interval"]
    cells = [
      f"<b>{escape(model['recipe'])}</b>",
      f"{model['bytes']:,}",
      show_percent(model["bytes_vs_float32"]),
      f"{model['gzip_bytes']:,}",
      f"{model['transport_bytes']:,}",
      f"{show_rate(model['wer'])}<small>{show_rate(low)}–{show_rate(high)}</small>",
      *(show_rate(model[f"wer_{name}"]) for name in domains),
      show_rate(model["cer"]),
      f"{model['latency_ms']:.1f} ms",
      f"{model['rtf']:.4f}",
      show_bytes(model["peak_rss_bytes"]),
      str(model["flex_ops"]),
      f"{model['max_abs_logit_diff_vs_keras']:.2g}",
    ]
    best = model["recipe"] == _HEADLINE_RECIPE
    rows.append(
      f"<tr{' class=best' if best else ''}>"
      + "".join(f"<td>{cell}</td>" for cell in cells)
      + "</tr>"
    )
  worse = [
    f"{escape(model['recipe'])} is {escape(each)}."
    for model in report["models"]
    for each in model["worse_than_replaced"]
  ] or ["No file is larger or slower than the dense one that it replaces."]
  return section(
    "The .tflite files",
    '<p class="note">Each file takes raw 16 kHz audio and gives label ids, and'
    " was measured on the LiteRT interpreter, one thread. Transport is the"
    " .tflite.zip beside it, in which it travels to the phone. WER and CER are"
    " fractions, the interval is a 95 % one; latency is the median for one"
    " utterance of about 3 s; memory is a whole process, Python's share"
    " included; the last column is the largest difference from the Keras"
    " model's logits.</p>"
    f'<div class="scroll"><table><tr>{table_head(head)}</tr>'
    f"{''.join(rows)}</table></div>"
    f'<p class="note">{" ".join(worse)}</p>',
  )


def _trade_offs(report: Report) -> str:
  models = report["models"]
  return (
    '<div class="two">'
    + section(
      "Error rate against size",
      plots.trade_off(models, "bytes", "kB as stored, logarithmic"),
    )
    + section(
      "Error rate against latency",
      plots.trade_off(models, "latency_ms", "ms for about 3 s of speech"),
    )
    + "</div>"
  )


def _importance(report: Report) -> str:
  groups = [row for row in report["importance"] if row["kind"] == "group"]
  ambient = sum(row["ambient"] for row in groups)
  keep_rates = {
    row["group"]: row["keep_rate"] for row in report["dropout_plan"]
  }
  return section(
    "Which parts of the model matter",
    '<p class="note">Each width group, and each whole block, was put back to'
    " the values that it had before training, one at a time, and the WER"
    " measured on held-out server speech; lines are 95 % intervals."
    f" {ambient} of {len(groups)} groups are ambient: they cost little. The"
    " least important ones are made narrow for the clients first;"
    " &ldquo;keeps&rdquo; is the share of a group's units that a client gets."
    "</p>"
    '<p class="legend"><span><i style="--tone:var(--ambient)"></i>ambient'
    '</span><span><i style="--tone:var(--critical)"></i>critical</span></p>'
    + plots.importance_bars(report["importance"], keep_rates),
  )


def _training(report: Report) -> str:
  pretraining = plots.curves(
    report["pretraining"]["curve"],
    "step",
    {"loss": "loss a character", "held_out_wer": "WER, held-out speech"},
  )
  rows = report["federated"]["curve"]
  figures = {"loss": "loss a character"}
  for key in dict.fromkeys(key for row in rows for key in row):
    if key.endswith("_wer"):
      figures[key] = "WER, held-out speech"
  return (
    '<div class="two">'
    + section(
      "Pre-training on the server's speech",
      '<p class="note">Held-out utterances of the same speakers. '
      + (
        "This model was trained earlier and is committed."
        if report["server_model"] == "committed"
        else "Trained in this run."
      )
      + "</p>"
      + pretraining,
    )
    + section(
      "Federated training on the clients' speech",
      '<p class="note">Held-out utterances of the same clients; what unseen'
      " speakers get is in the tiles above.</p>"
      + plots.curves(rows, "round", figures),
    )
    + "</div>"
  )


def _bytes(report: Report) -> str:
  model = _recipe(report, _HEADLINE_RECIPE)
  if not model:
    return ""
  strip, rows = [], []
  kinds = sorted(model["bytes_by_kind"].items(), key=lambda item: -item[1])
  for index, (kind, size) in enumerate(kinds):
    if not size:
      continue
    tone = f"--tone:var({_TONES[index % len(_TONES)]})"
    name = escape(kind.replace("_", " "))
    strip.append(f'<i style="{tone};flex:{size} 0 0" title="{name}"></i>')
    rows.append(
      f'<tr><td class="legend"><i style="{tone}"></i>{name}</td>'
      f"<td>{size:,}</td><td>{show_percent(size / model['bytes'])}</td></tr>"
    )
  return section(
    f"Where the bytes of {_HEADLINE_RECIPE} are",
    '<p class="note">The whole file as stored. The kernels of matrix'
    " multiplications are integers; all the rest is listed with its bytes.</p>"
    f'<div class="strip">{"".join(strip)}</div>'
    f"<table><tr>{table_head(['what', 'bytes', 'share'])}</tr>{''.join(rows)}"
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
    f" {corpus['train_clients']} clients, a speaker each (federated training)",
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
  return section("Corpus", facts_table(facts))


def _environment(report: Report) -> str:
  environment = report["environment"]
  return section(
    "Environment",
    facts_table(
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
  return section(
    "How to do it again",
    f"<pre><code>{escape(report['command'])}</code></pre>"
    '<p class="note">from a clone of the commit above. The same inputs,'
    " configuration and seed give the same artifacts; times are of this"
    " machine. report.json, beside this file, holds the same figures for a"
    " script; every stage's folder has a manifest.json.</p>",
  )


def measured_domains(models: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns the domains that WER was measured on, such as `commands`."""
  return [
    name.removeprefix("wer_")
    for name in models[0]
    if name.startswith("wer_") and not name.endswith("interval")
  ]


def _recipe(report: Report, name: str) -> Mapping[str, Any] | None:
  models: Sequence[Mapping[str, Any]] = report["models"]
  return next((model for model in models if model["recipe"] == name), None)
