"""Which module of this project imports which, read from the sources.

The direction of the design is written down here once: a stage imports what is
upstream of it and nothing else.
"""

import ast
import dataclasses
import pathlib
import sys

# Stage (a top-level folder) -> the stages that it may import, itself included.
STAGES = {
  "lingvo_lite": ("lingvo_lite",),
  "fl": ("fl", "lingvo_lite"),
  "tflite_export": ("tflite_export", "lingvo_lite"),
  "pipeline": ("pipeline", "fl", "tflite_export", "lingvo_lite"),
  # `tools` for the environments of the programs that it compares with.
  "benchmarks": (
    "benchmarks", "pipeline", "fl", "tflite_export", "lingvo_lite", "tools",
  ),
  "tests": (
    "tests", "tools", "benchmarks", "pipeline", "fl", "tflite_export",
    "lingvo_lite",
  ),
  "tools": ("tools",),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Module:
  """One source file.

  Attributes:
    name: as Python imports it, `fl.dropout.plan`.
    path: relative to the root of the tree, `fl/dropout/plan.py`.
    imports: the project's modules that it imports or names in order to run
      them (`python -m`), sorted.
    third_party: top-level names that it imports from elsewhere, the standard
      library left out, sorted.
  """

  name: str
  path: str
  imports: tuple[str, ...]
  third_party: tuple[str, ...]

  @property
  def stage(self) -> str:
    return self.name.split(".")[0]

  @property
  def package(self) -> str:
    return self.path.rpartition("/")[0]

  @property
  def stem(self) -> str:
    return self.name.rpartition(".")[2]

  @property
  def is_test(self) -> bool:
    return self.stem.endswith("_test")

  @property
  def is_main(self) -> bool:
    return self.stem.endswith("_main")


@dataclasses.dataclass(frozen=True)
class Graph:
  """Every module by name, and what is wrong with their imports."""

  modules: dict[str, Module]
  problems: tuple[str, ...]


def read_graph(root: pathlib.Path) -> Graph:
  """Reads the sources below `root`.

  Args:
    root: the tree's root, where the stages' folders are.

  Returns:
    The graph. A file that cannot be read as Python, an import that leads
    nowhere and one against the direction are problems, one line each.
  """
  paths = {}
  problems = []
  for path in sorted(root.glob("*/**/*.py")):
    relative = path.relative_to(root)
    top = relative.parts[0]
    if top.startswith((".", "bazel-")) or top in ("venv", "__pycache__"):
      continue
    if top not in STAGES:
      problems.append(
        f"{relative}: found Python outside the stages, expected it in one of"
        f" {', '.join(STAGES)}: move it, or add the stage to import_graph.py"
      )
    elif path.name == "__init__.py":
      problems.append(
        f"{relative}: found an __init__.py, expected none, since folders are"
        " namespace packages: move its contents to a module"
      )
    else:
      paths[".".join(relative.with_suffix("").parts)] = relative
  modules = {}
  for name, path in paths.items():
    try:
      tree = ast.parse((root / path).read_bytes())
    except SyntaxError as error:
      problems.append(f"{path}:{error.lineno}: found no Python: {error.msg}")
      continue
    reader = _ImportReader(str(path), frozenset(paths))
    reader.visit(tree)
    problems += reader.problems
    modules[name] = Module(
      name=name,
      path=path.as_posix(),
      imports=tuple(sorted(reader.imports - {name})),
      third_party=tuple(sorted(reader.third_party)),
    )
  for module in modules.values():
    problems += _against_direction(module)
  return Graph(modules, tuple(problems))


def _against_direction(module: Module) -> list[str]:
  allowed = STAGES[module.stage]
  return [
    f"{module.path}: found an import of {imported}, expected {module.stage} to"
    f" import only {', '.join(allowed)}: hand over a file instead, or move the"
    " code upstream"
    for imported in module.imports
    if imported.split(".")[0] not in allowed
  ]


class _ImportReader(ast.NodeVisitor):
  """Collects one file's imports.

  Attributes:
    imports: names of the project's modules.
    third_party: top-level names from elsewhere.
    problems: imports that lead nowhere.
  """

  def __init__(self, path: str, known: frozenset[str]):
    self._path = path
    self._known = known
    self.imports: set[str] = set()
    self.third_party: set[str] = set()
    self.problems: list[str] = []

  def visit_Import(self, node: ast.Import) -> None:
    for alias in node.names:
      self._add([alias.name], node)

  def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
    if node.level:
      self._problem(node, "a relative import", "the full name of the module")
      return
    for alias in node.names:
      # `from a.b import c`: c is a module, or a name inside module a.b.
      self._add([f"{node.module}.{alias.name}", node.module or ""], node)

  def visit_Constant(self, node: ast.Constant) -> None:
    # A program that is run as a subprocess has to be there when its caller is.
    # The tools run none, but their tests name modules.
    if isinstance(node.value, str) and not self._path.startswith("tools/"):
      self.imports.update({node.value} & self._known)

  def _add(self, candidates: list[str], node: ast.stmt) -> None:
    top = candidates[0].split(".")[0]
    if top not in STAGES:
      if top not in sys.stdlib_module_names:
        self.third_party.add(top)
      return
    for candidate in candidates:
      if candidate in self._known:
        self.imports.add(candidate)
        return
    found = f"an import of {candidates[-1]}"
    self._problem(node, found, "a module that exists")

  def _problem(self, node: ast.stmt, found: str, expected: str) -> None:
    self.problems.append(
      f"{self._path}:{node.lineno}: found {found}, expected {expected}"
    )
