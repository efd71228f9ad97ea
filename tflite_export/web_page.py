"""A static web page that runs a package in the browser."""

import os
import pathlib
import shutil
import tempfile

from lingvo_lite.stage.errors import InputError
from tflite_export.package_check import check_package
from tflite_export.package_files import MAX_TOTAL_BYTES, open_package

_SOURCES = pathlib.Path(__file__).resolve().parent / "web"
_PAGE = ("index.html", "page.js", "recognizer.js", "capture.js")
# Of npm's @litertjs/core and what it needs, to where the page looks for it.
# With and without the vector instructions that not every browser has.
_RUNTIME = {
  "core/dist/index.js": "litert/core.js",
  "wasm-utils/dist/index.js": "litert/wasm-utils.js",
  "core/wasm/litert_wasm_internal.js": "litert/wasm/litert_wasm_internal.js",
  "core/wasm/litert_wasm_internal.wasm": (
    "litert/wasm/litert_wasm_internal.wasm"
  ),
  "core/wasm/litert_wasm_compat_internal.js": (
    "litert/wasm/litert_wasm_compat_internal.js"
  ),
  "core/wasm/litert_wasm_compat_internal.wasm": (
    "litert/wasm/litert_wasm_compat_internal.wasm"
  ),
}


def build_page(package: str, litertjs: str, out: str) -> None:
  """Writes a folder that any static web server can serve.

  Args:
    package: a folder or a zip archive that passes its check.
    litertjs: npm's `node_modules/@litertjs`, with `core` in it.
    out: a folder that is not there yet or is empty.

  Raises:
    InputError: the package is not sound, LiteRT's files are missing, or `out`
      is taken.
  """
  check_package(package)
  for name in _RUNTIME:
    if not os.path.isfile(os.path.join(litertjs, name)):
      raise InputError(
        f"found no {name} in {litertjs}, expected npm's @litertjs: run npm"
        " install @litertjs/core and name node_modules/@litertjs"
      )
  if os.path.isdir(out) and os.listdir(out):
    raise InputError(
      f"found files in {out}, expected a folder to write the page into: name a"
      " new one"
    )
  above = os.path.dirname(os.path.abspath(out))
  os.makedirs(above, exist_ok=True)
  partial = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=above))
  try:
    for name in _PAGE:
      shutil.copyfile(_SOURCES / name, partial / name)
    for name, place in _RUNTIME.items():
      target = partial / place
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(os.path.join(litertjs, name), target)
    with open_package(package) as files:
      for name in files.names():
        target = partial / "package" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
          file.writelines(files.blocks(name, MAX_TOTAL_BYTES))
    os.chmod(partial, 0o755)
    if os.path.isdir(out):
      os.rmdir(out)
    os.rename(partial, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
