"""The commands that documents name exist."""

import pathlib
import re

from absl.testing import absltest

from tools.import_graph import read_graph

_ROOT = pathlib.Path(__file__).absolute().parents[1]
_DOCUMENTS = (
  "README.md",
  "CONTRIBUTING.md",
  *sorted(f"docs/{path.name}" for path in (_ROOT / "docs").glob("*.md")),
)


class ReadmeCommandsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.text = {
      name: (_ROOT / name).read_text(encoding="utf-8") for name in _DOCUMENTS
    }
    self.modules = read_graph(_ROOT).modules

  def test_targets_exist(self):
    for name, text in self.text.items():
      labels = set(re.findall(r"//([a-z_/]+):([a-z_]+)", text))
      if name == "README.md":
        self.assertNotEmpty(labels)
      for package, target in labels:
        with self.subTest(document=name, target=f"//{package}:{target}"):
          prefix = package.replace("/", ".")
          self.assertTrue(
            f"{prefix}.{target}_main" in self.modules
            or f"{prefix}.{target}" in self.modules
          )

  def test_links_lead_somewhere(self):
    for name, text in self.text.items():
      for link in re.findall(r"\]\(([^)#]+)\)", text):
        with self.subTest(document=name, link=link):
          self.assertTrue((_ROOT / name).parent.joinpath(link).exists())

  def test_flags_exist(self):
    commands = re.findall(
      r"run //([a-z_/]+):([a-z_]+) -- ((?:\\\n|[^\n])+)",
      "\n".join(self.text.values()),
    )
    self.assertNotEmpty(commands)
    for package, target, arguments in commands:
      path = _ROOT / package / f"{target}_main.py"
      source = path.read_text(encoding="utf-8")
      for flag in re.findall(r"--([a-z_]+)", arguments):
        with self.subTest(target=target, flag=flag):
          self.assertTrue(flag == "help" or f'"{flag}"' in source)

  def test_the_two_commands_are_there(self):
    self.assertIn(
      "./bazelw run //pipeline:quickstart\n", self.text["README.md"]
    )
    self.assertIn("./bazelw test //...\n", self.text["README.md"])


if __name__ == "__main__":
  absltest.main()
