"""Imports go in the design's direction and agree with the BUILD files."""

import importlib.metadata
import pathlib
import re

from absl.testing import absltest

from tools.build_files import expected_build_files
from tools.import_graph import STAGES, read_graph

_ROOT = pathlib.Path(__file__).absolute().parents[1]


class BuildFilesTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.graph = read_graph(_ROOT)

  def test_the_sources_are_here(self):
    # Otherwise everything below would hold of an empty tree.
    stages = {module.stage for module in self.graph.modules.values()}
    self.assertContainsSubset({"lingvo_lite", "tests", "tools"}, stages)

  def test_imports_lead_somewhere_and_go_downstream_only(self):
    self.assertEmpty(self.graph.problems, "\n".join(self.graph.problems))

  def test_build_files_agree_with_imports(self):
    stale = [
      path
      for path, text in expected_build_files(_ROOT, self.graph).items()
      if not (_ROOT / path).exists() or (_ROOT / path).read_text() != text
    ]
    self.assertEmpty(stale, "run ./bazelw run //tools:sync_build")

  def test_every_stage_has_a_package_group(self):
    groups = re.findall(
      r'package_group\(\n    name = "(\w+)"', (_ROOT / "BUILD").read_text()
    )
    self.assertCountEqual(groups, STAGES)

  def test_third_party_imports_are_direct_dependencies(self):
    # Some programs run in environments of their own.
    lists = [_ROOT / "requirements.in"]
    lists += sorted(_ROOT.glob("benchmarks/systems/environments/*.in"))
    self.assertGreater(len(lists), 1)
    declared = {
      re.split(r"[=<>~! \[]", line)[0].lower().replace("_", "-")
      for each in lists
      for line in each.read_text().splitlines()
      if line and not line.startswith("#")
    }
    providers = importlib.metadata.packages_distributions()
    undeclared = {
      f"{module.path}: {name}"
      for module in self.graph.modules.values()
      for name in module.third_party
      if not declared.intersection(
        provider.lower().replace("_", "-")
        for provider in providers.get(name, (name,))
      )
    }
    self.assertEmpty(undeclared, "add it to requirements.in and lock again")


if __name__ == "__main__":
  absltest.main()
