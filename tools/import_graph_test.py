"""Tests of import_graph on small trees."""

import pathlib

from absl.testing import absltest

from tools.import_graph import read_graph


class ImportGraphTest(absltest.TestCase):
  def _graph(self, files):
    root = pathlib.Path(self.create_tempdir().full_path)
    for path, text in files.items():
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).write_text(text)
    return read_graph(root)

  def test_finds_modules_names_and_packages_imported_from(self):
    graph = self._graph(
      {
        "lingvo_lite/text/vocabulary.py": "",
        "lingvo_lite/stage/errors.py": "",
        "fl/plan.py": (
          "import json\n"
          "import numpy as np\n"
          "import lingvo_lite.stage.errors\n"
          "from lingvo_lite.text import vocabulary\n"
        ),
        "fl/other.py": "from lingvo_lite.text.vocabulary import Vocabulary\n",
      }
    )
    self.assertEmpty(graph.problems)
    self.assertEqual(
      graph.modules["fl.plan"].imports,
      ("lingvo_lite.stage.errors", "lingvo_lite.text.vocabulary"),
    )
    self.assertEqual(graph.modules["fl.plan"].third_party, ("numpy",))
    self.assertEqual(
      graph.modules["fl.other"].imports, ("lingvo_lite.text.vocabulary",)
    )

  def test_a_main_named_in_a_string_is_needed_at_run_time(self):
    graph = self._graph(
      {
        "fl/sample_main.py": "",
        "pipeline/chain.py": 'RUN = ("fl.sample_main", "fl.absent_main")\n',
      }
    )
    self.assertEqual(
      graph.modules["pipeline.chain"].imports, ("fl.sample_main",)
    )

  def test_imports_inside_functions_count(self):
    graph = self._graph(
      {
        "fl/a.py": "",
        "fl/b.py": "def f():\n  from fl import a\n  return a\n",
      }
    )
    self.assertEqual(graph.modules["fl.b"].imports, ("fl.a",))

  def test_refuses_imports_against_the_direction(self):
    for path, text in (
      ("lingvo_lite/a.py", "import fl.b\n"),
      ("tflite_export/a.py", "from fl import b\n"),
      ("fl/a.py", "from tflite_export import b\n"),
      ("fl/a.py", "from pipeline import b\n"),
      ("pipeline/a.py", "from benchmarks import b\n"),
    ):
      with self.subTest(f"{path} {text}"):
        graph = self._graph(
          {
            path: text,
            "fl/b.py": "",
            "tflite_export/b.py": "",
            "pipeline/b.py": "",
            "benchmarks/b.py": "",
          }
        )
        self.assertLen(graph.problems, 1)
        self.assertStartsWith(graph.problems[0], f"{path}: found an import of")

  def test_refuses_what_leads_nowhere(self):
    for text, found in (
      ("from lingvo_lite.text import absent\n", "lingvo_lite.text"),
      ("import fl.absent\n", "fl.absent"),
      ("from . import b\n", "a relative import"),
      ("def (\n", "found no Python"),
    ):
      with self.subTest(text):
        graph = self._graph({"fl/a.py": text})
        self.assertLen(graph.problems, 1)
        self.assertIn(found, graph.problems[0])

  def test_refuses_init_files_and_python_outside_the_stages(self):
    graph = self._graph({"fl/__init__.py": "", "scripts/a.py": ""})
    self.assertLen(graph.problems, 2)

  def test_leaves_hidden_and_generated_folders_alone(self):
    graph = self._graph({".venv/lib/a.py": "import fl.x", "bazel-out/b.py": ""})
    self.assertEmpty(graph.problems)
    self.assertEmpty(graph.modules)


if __name__ == "__main__":
  absltest.main()
