"""What each BUILD file has to say, worked out from the imports.

One `py_library` a module, one `py_test` a test, one `py_binary` a main, and a
filegroup of all sources for the tests that read them. Whatever else a BUILD
file holds (other rules, comments above a rule, attributes such as `data`,
`size` or `tags`) was written by hand and stays as it is.
"""

import ast
import dataclasses
import pathlib
from collections.abc import Iterable

from tools.import_graph import Graph, Module

_KINDS = ("py_library", "py_test", "py_binary", "alias", "filegroup")
_MANAGED = ("name", "srcs", "main", "actual", "visibility", "deps")
# buildifier's order; attributes not named here stand in between, by name.
_FIRST = ("name", "size", "timeout", "srcs", "data", "main")
_LAST = ("visibility", "deps")
_SOURCES = "sources"
_SOURCES_VALUE = 'glob(["**/*.py"]) + ["BUILD"]'
_READER_PACKAGE = "tests"


@dataclasses.dataclass(frozen=True)
class _Rule:
  """A rule to be written: its kind and its attributes as source text."""

  kind: str
  attributes: dict[str, str]
  comments: str = ""

  def text(self) -> str:
    names = [name for name in _FIRST if name in self.attributes]
    rest = set(self.attributes) - set(_FIRST) - set(_LAST)
    names += sorted(rest)
    names += [name for name in _LAST if name in self.attributes]
    lines = [f"    {name} = {self.attributes[name]},\n" for name in names]
    return f"{self.comments}{self.kind}(\n{''.join(lines)})\n"


def expected_build_files(root: pathlib.Path, graph: Graph) -> dict[str, str]:
  """Works out the BUILD files of a tree.

  Args:
    root: the tree's root.
    graph: its imports.

  Returns:
    Path relative to the root -> what the file should hold, for every package.
  """
  packages: dict[str, list[Module]] = {}
  for module in graph.modules.values():
    packages.setdefault(module.package, []).append(module)
  users: dict[str, set[Module]] = {}
  for module in graph.modules.values():
    for imported in module.imports:
      users.setdefault(imported, set()).add(module)

  files = {}
  for package, modules in sorted(packages.items()):
    rules = [_sources_rule(package)]
    if package == _READER_PACKAGE:
      rules.append(_all_sources_rule(packages))
    for module in sorted(modules, key=lambda module: module.stem):
      rules += _module_rules(module, graph, users.get(module.name, set()))
    path = root / package / "BUILD"
    existing = path.read_text(encoding="utf-8") if path.exists() else ""
    files[f"{package}/BUILD"] = _merge(existing, rules, path.parent)
  return files


def _library_name(module: Module, graph: Graph) -> str:
  # `plan_main.py` makes the binary `plan`, and a binary's name comes first.
  if f"{module.name}_main" in graph.modules:
    return f"{module.stem}_library"
  return module.stem


def _label(imported: Module, package: str, graph: Graph) -> str:
  name = _library_name(imported, graph)
  if imported.package == package:
    return f":{name}"
  if imported.package.rpartition("/")[2] == name:
    return f"//{imported.package}"
  return f"//{imported.package}:{name}"


def _module_rules(
  module: Module, graph: Graph, users: Iterable[Module]
) -> list[_Rule]:
  """The library of a module, or its test, and the binary of a main."""
  labels = [
    _label(graph.modules[imported], module.package, graph)
    for imported in module.imports
    if imported in graph.modules
  ]
  attributes = {"srcs": _list([f"{module.stem}.py"])}
  if labels:
    attributes["deps"] = _list(labels)
  if module.is_test:
    return [
      _Rule(
        "py_test",
        {
          "name": _text(module.stem),
          "size": _text("small"),
          "timeout": _text("moderate"),
          **attributes,
        },
      )
    ]
  name = _library_name(module, graph)
  stages = {user.stage for user in users if user.package != module.package}
  if stages:
    attributes["visibility"] = _list(f"//:{stage}" for stage in stages)
  rules = [_Rule("py_library", {"name": _text(name), **attributes})]
  if module.is_main:
    rules += _binary_rules(module, graph)
  return rules


def _binary_rules(module: Module, graph: Graph) -> list[_Rule]:
  """The binary of a main, without the `_main`."""
  source = f"{module.stem}.py"
  command = binary = module.stem.removesuffix("_main")
  # The program's file must not be named like the folder of a package below.
  folder = f"{module.package}/{command}/"
  clash = any(other.path.startswith(folder) for other in graph.modules.values())
  if clash:
    binary = f"run_{command}"
  rules = [
    _Rule(
      "py_binary",
      {
        "name": _text(binary),
        "srcs": _list([source]),
        "main": _text(source),
        "deps": _list([f":{module.stem}"]),
      },
    )
  ]
  if clash:
    rules.append(
      _Rule("alias", {"name": _text(command), "actual": _text(f":{binary}")})
    )
  return rules


def _sources_rule(package: str) -> _Rule:
  attributes = {"name": _text(_SOURCES), "srcs": _SOURCES_VALUE}
  if package != _READER_PACKAGE:
    attributes["visibility"] = _list([f"//{_READER_PACKAGE}:__pkg__"])
  return _Rule("filegroup", attributes)


def _all_sources_rule(packages: Iterable[str]) -> _Rule:
  labels = [
    f":{_SOURCES}" if package == _READER_PACKAGE else f"//{package}:{_SOURCES}"
    for package in ["", *packages]
  ]
  return _Rule(
    "filegroup", {"name": _text("all_sources"), "srcs": _list(labels)}
  )


def _text(value: str) -> str:
  return f'"{value}"'


def _list(values: Iterable[str]) -> str:
  """A list as buildifier writes it: this package's labels first, sorted."""
  items = sorted(
    set(values),
    key=lambda item: (not item.startswith(":"), item.replace(":", "!")),
  )
  if len(items) == 1:
    return f"[{_text(items[0])}]"
  lines = [f"        {_text(item)},\n" for item in items]
  return f"[\n{''.join(lines)}    ]"


def _merge(existing: str, rules: list[_Rule], folder: pathlib.Path) -> str:
  """Puts the rules into a BUILD file, keeping what was written by hand."""
  lines = existing.splitlines(keepends=True)
  by_key = {(rule.kind, rule.attributes["name"]): rule for rule in rules}
  chunks = []
  end = 0
  for node in ast.parse(existing).body:
    comments = "".join(lines[end : node.lineno - 1]).lstrip("\n")
    end = node.end_lineno or node.lineno
    attributes = _attributes(existing, node)
    kind = _kind(node)
    rule = by_key.get((kind, attributes.get("name", "")))
    if rule:
      kept = {k: v for k, v in attributes.items() if k not in _MANAGED}
      by_key[rule.kind, rule.attributes["name"]] = _Rule(
        rule.kind, rule.attributes | kept, comments
      )
    elif not _is_stale(kind, attributes, folder):
      chunks.append(comments + "".join(lines[node.lineno - 1 : end]))
  chunks += ["".join(lines[end:]).lstrip("\n")] if existing else []
  chunks += [rule.text() for rule in by_key.values()]
  return "\n".join(chunk for chunk in chunks if chunk.strip())


def _kind(node: ast.stmt) -> str:
  if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
    return ast.unparse(node.value.func)
  return ""


def _attributes(source: str, node: ast.stmt) -> dict[str, str]:
  """Attribute -> its value as it is written, for a rule; else nothing."""
  if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
    return {}
  return {
    keyword.arg: ast.get_source_segment(source, keyword.value) or ""
    for keyword in node.value.keywords
    if keyword.arg
  }


def _is_stale(
  kind: str, attributes: dict[str, str], folder: pathlib.Path
) -> bool:
  """Whether a rule was made for a module or a folder that is gone."""
  if kind not in _KINDS:
    return False
  if kind == "alias":
    return attributes.get("actual", "").startswith('":run_')
  try:
    sources = ast.literal_eval(attributes.get("srcs", ""))
  except (SyntaxError, ValueError):
    return False
  if not kind.startswith("py_") or len(sources) != 1:
    return False
  stem = sources[0].removesuffix(".py")
  command = stem.removesuffix("_main")
  made_names = (stem, f"{stem}_library", command, f"run_{command}")
  return (
    not (folder / sources[0]).exists()
    or attributes["name"].strip('"') in made_names
  )
