"""Tests of report, report_html, report_text and plots on a made-up run."""

import html.parser
import os
import re

from absl.testing import absltest

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from pipeline.chain import RunFolders
from pipeline.quickstart_config import QuickstartConfig
from pipeline.report import build_report, write_report
from pipeline.report_html import render_html
from pipeline.report_text import models_table

_STAGES = [
  {"name": "importance", "seconds": 29.0, "peak_rss_bytes": 1, "kept": True},
  {"name": "evaluation", "seconds": 9.0, "peak_rss_bytes": 2, "kept": False},
]
_SCHEMA = {
  "environment": {"cpu", "cores", "commit", "versions"},
  "corpus": {
    "name",
    "train_clients",
    "train_utterances",
    "eval_speakers",
    "eval_utterances",
    "eval_words",
  },
  "federated": {
    "rounds",
    "cohort",
    "server_params",
    "client_params",
    "download_bytes_per_client",
    "upload_bytes_per_client",
    "wer_before",
    "wer_after",
  },
}


def _model(recipe, size, wer):
  return {
    "recipe": recipe,
    "file": f"{recipe}.tflite",
    "bytes": size,
    "gzip_bytes": size - 100,
    "transport_bytes": size - 200,
    "bytes_vs_float32": size / 4000,
    "gzip_bytes_vs_float32": (size - 100) / 4000,
    "transport_bytes_vs_float32": (size - 200) / 4000,
    "wer": wer,
    "wer_interval": [wer - 0.01, wer + 0.02],
    "wer_general": wer + 0.1,
    "wer_general_interval": [wer, wer + 0.2],
    "wer_commands": wer - 0.1,
    "wer_commands_interval": [wer - 0.2, wer],
    "cer": wer / 3,
    "rtf": 0.004,
    "latency_ms": 7.5,
    "latency_utterance_s": 3.0,
    "peak_rss_bytes": 66_000_000,
    "flex_ops": 0,
    "max_abs_logit_diff_vs_keras": 0.2,
    "bytes_by_kind": {"integer_kernels": size - 10, "graph": 10, "scales": 0},
    "worse_than_replaced": [],
  }


def _importance(group, kind, delta):
  return {
    "group": group,
    "kind": kind,
    "probe": "reinit",
    "wer": 0.1 + delta,
    "delta": delta,
    "ci": [delta - 0.01, delta + 0.01],
    "rank": 1,
    "ambient": delta < 0.05,
  }


class _OutsideReferences(html.parser.HTMLParser):
  """Collects what a page would load."""

  def __init__(self):
    super().__init__()
    self.found = []

  def handle_starttag(self, tag, attrs):
    for name, value in attrs:
      outside = name in ("src", "href") and not value.startswith("#")
      if outside or tag in ("link", "script", "iframe"):
        self.found.append((tag, name, value))


class ReportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.out = self.create_tempdir().full_path
    self.config = QuickstartConfig(
      out=self.out, from_scratch=True, recipes=("float32", "int4_2of4")
    )
    self.folders = RunFolders(self.config)
    self.corpus = self._write_corpus()
    self._write_run()

  def _write(self, folder, name, **values):
    path = os.path.join(folder, name)
    write_json(path, {"schema_version": 1, **values})

  def _write_corpus(self):
    corpus = os.path.join(self.create_tempdir().full_path, "mine<b>")
    for name, text in (
      ("server", "1-1-0001 A B\n"),
      ("clients", "2-2-0001 C\n2-2-0002 D\n"),
      ("eval", "3-1-0001 E F G\n"),
    ):
      speaker = text[0]
      chapter = text[2]
      folder = os.path.join(corpus, name, speaker, chapter)
      os.makedirs(folder)
      path = os.path.join(folder, f"{speaker}-{chapter}.trans.txt")
      with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return corpus

  def _write_run(self):
    folders = self.folders
    self._write(
      folders.server_model,
      "training.json",
      rows=[{"step": 250, "seconds": 9.0, "loss": 2.0, "held_out_wer": 0.9}],
    )
    self._write(
      folders.importance,
      "importance.json",
      rows=[
        _importance("block_00/conv", "group", 0.3),
        _importance("block_00/ffn_end", "group", 0.01),
        _importance("block_00", "block", 0.8),
      ],
    )
    self._write(
      folders.plan,
      "dropout_plan.json",
      groups=[
        {"group": "block_00/conv", "keep_rate": 1.0},
        {"group": "block_00/ffn_end", "keep_rate": 0.25},
      ],
      server_params=1000,
      client_params=500,
      download_bytes_per_client=2004,
      upload_bytes_per_client=2016,
    )
    self._write(
      folders.federated,
      "training.json",
      before={"eval_commands_wer": 1.2, "eval_general_wer": 0.1},
      after={"eval_commands_wer": 0.2, "eval_general_wer": 0.15},
      rows=[
        {"round": 1, "loss": 3.0},
        {"round": 2, "loss": 2.0, "held_out_commands_wer": 0.4},
      ],
    )
    skipped = {"id": "3-1-0009", "reason": "found <silence>"}
    for folder in (
      folders.server_model,
      folders.importance,
      folders.federated,
      *folders.of_recipes(folders.compressed),
      *folders.of_recipes(folders.exported),
      folders.evaluation,
    ):
      self._write(
        folder,
        "manifest.json",
        config={"rounds": 2, "cohort": 16},
        skipped_utterances=[skipped],
      )
    self._write(
      folders.evaluation,
      "evaluation.json",
      models=[_model("float32", 4000, 0.16), _model("int4_2of4", 600, 0.18)],
    )

  def _report(self):
    return build_report(
      self.config, self.folders, self.corpus, _STAGES, "./bazelw run //x"
    )

  def test_schema(self):
    report = self._report()
    self.assertEqual(report["schema_version"], 1)
    for section, keys in _SCHEMA.items():
      self.assertContainsSubset(keys, report[section])
    self.assertContainsSubset({"name", "seconds"}, report["stages"][0])
    self.assertContainsSubset(
      {"group", "probe", "wer", "delta", "ambient"}, report["importance"][0]
    )
    self.assertEqual(report["server_model"], "from_scratch")

  def test_figures(self):
    report = self._report()
    corpus = report["corpus"]
    self.assertEqual(corpus["train_clients"], 1)
    self.assertEqual(corpus["train_utterances"], 2)
    self.assertEqual(corpus["eval_words"], 3)
    self.assertFalse(corpus["synthetic"])
    # Nine manifests list it; it is one utterance.
    self.assertLen(corpus["skipped_utterances"], 1)
    federated = report["federated"]
    # What the clients say is the headline; the rest is beside it.
    self.assertEqual(federated["wer_before"], 1.2)
    self.assertEqual(federated["wer_after"], 0.2)
    self.assertEqual(federated["domains"]["general"]["wer_after"], 0.15)
    self.assertEqual(federated["client_params"], 500)

  def test_page_is_self_contained_and_escaped(self):
    report = self._report()
    json_path, html_path = write_report(report, self.out)
    self.assertEqual(read_json(json_path, "report"), report)
    with open(html_path, encoding="utf-8") as file:
      page = file.read()
    outside = _OutsideReferences()
    outside.feed(page)
    self.assertEmpty(outside.found)
    for forbidden in ("http:", "https:", "@import", "mine<b>", "<silence>"):
      self.assertNotIn(forbidden, page)
    self.assertEqual(page.count("<svg"), 5)
    # Every colour is the page's, so that a dark page has dark plots.
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
      self.assertEmpty(re.findall(r"#0000\d\d", svg))
    identifiers = re.findall(r'<clipPath id="([^"]*)"', page)
    self.assertEqual(len(identifiers), len(set(identifiers)))

  def test_page_says_what_matters(self):
    page = write_report(self._report(), self.out)[1]
    with open(page, encoding="utf-8") as file:
      text = file.read()
    for words in (
      "1.200 before (-1.000)",
      "0.100 before (+0.050)",
      "pre-trained from scratch in this run",
      "keeps  25 %",
      "./bazelw run //x",
      "400\xa0B on the way to the phone",
      "<td>500</td><td>400</td>",
    ):
      self.assertIn(words, text)
    self.assertNotIn("synthetic", text)

  def test_same_report_same_bytes(self):
    contents = []
    for _ in range(2):
      with open(write_report(self._report(), self.out)[1], "rb") as file:
        contents.append(file.read())
    self.assertEqual(*contents)

  def test_table(self):
    lines = models_table(self._report()).splitlines()
    self.assertLen(lines, 4)
    self.assertLen({len(line) for line in lines}, 1)
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    expected = "int4_2of4 600 0.150 0.125 0.100 0.180 0.280 0.080"
    self.assertEqual(" ".join(cells[:8]), expected)

  def test_a_file_worse_than_the_dense_one_is_named(self):
    report = self._report()
    self.assertIn("No file is larger or slower", render_html(report))
    report["models"][1]["worse_than_replaced"] = ["2.0% larger than float32"]
    line = "int4_2of4 is 2.0% larger than float32."
    self.assertEqual(models_table(report).splitlines()[-1], line)
    self.assertIn(line, render_html(report))

  def test_missing_artifact(self):
    os.unlink(os.path.join(self.folders.evaluation, "evaluation.json"))
    with self.assertRaisesRegex(InputError, "evaluation.json"):
      self._report()


if __name__ == "__main__":
  absltest.main()
