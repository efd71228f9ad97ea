"""Tests of build_files on small trees."""

import pathlib

from absl.testing import absltest

from tools.build_files import expected_build_files
from tools.import_graph import read_graph

_SOURCES = """\
filegroup(
    name = "sources",
    srcs = glob(["**/*.py"]) + ["BUILD"],
    visibility = ["//tests:__pkg__"],
)
"""


class BuildFilesTest(absltest.TestCase):
  def _build_files(self, files):
    """Writes a tree and returns its BUILD files, checked to be a fixpoint."""
    root = pathlib.Path(self.create_tempdir().full_path)
    for path, text in files.items():
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).write_text(text)
    graph = read_graph(root)
    self.assertEmpty(graph.problems)
    built = expected_build_files(root, graph)
    for path, text in built.items():
      (root / path).write_text(text)
    self.assertEqual(expected_build_files(root, graph), built)
    return built

  def test_a_library_a_test_and_who_may_see_them(self):
    built = self._build_files(
      {
        "lingvo_lite/text/vocabulary.py": "",
        "lingvo_lite/text/vocabulary_test.py": (
          "from lingvo_lite.text import vocabulary\n"
        ),
        "fl/a.py": "from lingvo_lite.text import vocabulary\n",
        "fl/b.py": "import fl.a\nimport lingvo_lite.text.vocabulary\n",
      }
    )
    self.assertEqual(
      built["lingvo_lite/text/BUILD"],
      _SOURCES
      + """
py_library(
    name = "vocabulary",
    srcs = ["vocabulary.py"],
    visibility = ["//:fl"],
)

py_test(
    name = "vocabulary_test",
    size = "small",
    timeout = "moderate",
    srcs = ["vocabulary_test.py"],
    deps = [":vocabulary"],
)
""",
    )
    self.assertEqual(
      built["fl/BUILD"],
      _SOURCES
      + """
py_library(
    name = "a",
    srcs = ["a.py"],
    deps = ["//lingvo_lite/text:vocabulary"],
)

py_library(
    name = "b",
    srcs = ["b.py"],
    deps = [
        ":a",
        "//lingvo_lite/text:vocabulary",
    ],
)
""",
    )

  def test_a_main_becomes_a_library_and_a_binary(self):
    built = self._build_files(
      {
        "fl/train_main.py": "",
        "fl/train.py": "",
        "fl/b.py": "import fl.train\n",
      }
    )
    self.assertIn(
      """
py_library(
    name = "train_library",
    srcs = ["train.py"],
)

py_library(
    name = "train_main",
    srcs = ["train_main.py"],
)

py_binary(
    name = "train",
    srcs = ["train_main.py"],
    main = "train_main.py",
    deps = [":train_main"],
)
""",
      built["fl/BUILD"],
    )
    self.assertIn('deps = [":train_library"]', built["fl/BUILD"])

  def test_a_binary_named_like_a_package_gets_an_alias(self):
    built = self._build_files(
      {
        "fl/importance_main.py": "",
        "fl/importance/probe.py": "",
      }
    )
    self.assertIn('name = "run_importance"', built["fl/BUILD"])
    self.assertIn(
      'alias(\n    name = "importance",\n    actual = ":run_importance",\n)',
      built["fl/BUILD"],
    )

  def test_keeps_what_was_written_by_hand(self):
    built = self._build_files(
      {
        "fl/a.py": "",
        "fl/a_test.py": "import fl.a\n",
        "fl/BUILD": (
          "# About the package.\n\n"
          'genrule(\n    name = "g",\n    cmd = "x",\n)\n\n'
          "# Why it is large.\n"
          'py_test(\n    name = "a_test",\n    size = "large",\n'
          '    srcs = ["a_test.py"],\n    data = [":g"],\n'
          '    tags = ["exclusive"],\n    deps = [":gone"],\n)\n'
        ),
      }
    )
    self.assertStartsWith(
      built["fl/BUILD"],
      "# About the package.\n\n"
      'genrule(\n    name = "g",\n    cmd = "x",\n)\n\nfilegroup(',
    )
    self.assertEndsWith(
      built["fl/BUILD"],
      """
# Why it is large.
py_test(
    name = "a_test",
    size = "large",
    timeout = "moderate",
    srcs = ["a_test.py"],
    data = [":g"],
    tags = ["exclusive"],
    deps = [":a"],
)
""",
    )

  def test_drops_the_rules_of_modules_that_are_gone(self):
    built = self._build_files(
      {
        "fl/a.py": "",
        "fl/BUILD": (
          'py_library(\n    name = "b",\n    srcs = ["b.py"],\n)\n\n'
          'py_binary(\n    name = "b",\n    srcs = ["b_main.py"],\n)\n'
        ),
      }
    )
    self.assertNotIn('"b"', built["fl/BUILD"])

  def test_tests_read_the_sources_of_all_packages(self):
    built = self._build_files({"fl/a.py": "", "tests/b_test.py": ""})
    self.assertIn(
      'name = "all_sources",\n    srcs = [\n        ":sources",\n'
      '        "//:sources",\n        "//fl:sources",\n    ],\n',
      built["tests/BUILD"],
    )


if __name__ == "__main__":
  absltest.main()
