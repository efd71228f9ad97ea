"""Rules of the house that no general linter knows."""

import ast
import pathlib
import re

from absl.testing import absltest

from tools.import_graph import read_graph

_ROOT = pathlib.Path(__file__).absolute().parents[1]
_BANNED_STEMS = re.compile(r"(^|_)(utils?|common|helpers?|misc)(_|$)|_v\d+$")
_ENTRY_POINT = "lingvo_lite.stage.entry_point"


def _imports(tree: ast.Module) -> list[str]:
  """Modules that the top level of a file imports, in its order."""
  names = []
  for node in tree.body:
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names += [f"{node.module}.{alias.name}" for alias in node.names]
      names.append(node.module or "")
  return names


class HouseRulesTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    modules = read_graph(_ROOT).modules.values()
    cls.trees = {
      module: ast.parse((_ROOT / module.path).read_bytes())
      for module in modules
    }
    cls.mains = [
      module
      for module in modules
      if module.is_main and module.stage not in ("tools", "tests")
    ]

  def test_names_say_what_a_module_is_about(self):
    banned = [
      module.path for module in self.trees if _BANNED_STEMS.search(module.stem)
    ]
    self.assertEmpty(banned, "name the module after what it is about")

  def test_every_module_says_what_it_is_for(self):
    silent = [
      module.path
      for module, tree in self.trees.items()
      if not ast.get_docstring(tree)
    ]
    self.assertEmpty(silent, "begin the file with a docstring")

  def test_flags_live_in_mains(self):
    flagged = [
      module.path
      for module, tree in self.trees.items()
      if not module.is_main
      and not module.is_test
      and module.name != _ENTRY_POINT
      and "absl.flags" in _imports(tree)
    ]
    self.assertEmpty(flagged, "take arguments; flags are read in *_main.py")

  def test_mains_import_the_entry_point_first(self):
    # It silences TensorFlow, which reads its log level when it is loaded.
    for module in self.mains:
      ours = [
        name
        for name in _imports(self.trees[module])
        if name.split(".")[0] in ("fl", "tflite_export", "pipeline")
        or name.startswith(("lingvo_lite.", "tensorflow", "tensorflow_"))
      ]
      with self.subTest(module.path):
        self.assertStartsWith(ours[0] if ours else "nothing", _ENTRY_POINT)

  def test_no_machine_paths_in_strings(self):
    machine_path = re.compile(r"(^|[\s\"'=])/(root|work|home|tmp)/")
    found = [
      f"{module.path}:{node.lineno}"
      for module, tree in self.trees.items()
      if module.name != "tests.house_rules_test"
      for node in ast.walk(tree)
      if isinstance(node, ast.Constant)
      and isinstance(node.value, str)
      and machine_path.search(node.value)
    ]
    self.assertEmpty(found, "take the path as an argument")


if __name__ == "__main__":
  absltest.main()
