"""The web page in headless Chromium, from the committed model to its texts.

Needs the browser and LiteRT's WebAssembly build, and says what is missing:

  npm install @litertjs/core
  ./bazelw test //tests:browser_test \\
    --test_env=LITERTJS=$PWD/node_modules/@litertjs
"""

import glob
import os
import pathlib
import shutil

from absl.testing import absltest

from tests.command import run_program
from tests.small_corpus import make_small_corpus

_MODEL = (
  pathlib.Path(__file__).absolute().parents[1]
  / "lingvo_lite/pretrained/tiny_streaming"
)
_LITERTJS = "LITERTJS"


class BrowserTest(absltest.TestCase):
  def run_all(self, folder: str, *programs: tuple[str, ...]) -> str:
    """Runs one program after another; returns what the last one printed."""
    outcome = None
    for module, *arguments in programs:
      outcome = run_program(module, *arguments, folder=folder)
      self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    return outcome.stdout if outcome else ""

  def test_the_page_hears_what_the_python_runtime_hears(self):
    if not shutil.which("chromium"):
      self.skipTest("found no chromium (Debian: apt install chromium)")
    litertjs = os.environ.get(_LITERTJS, "")
    if not os.path.isdir(os.path.join(litertjs, "core")):
      self.skipTest(
        f"found no core below {_LITERTJS}={litertjs!r}, expected"
        " node_modules/@litertjs: npm install @litertjs/core"
      )
    folder = self.create_tempdir().full_path
    corpus = make_small_corpus(folder)
    speech = sorted(glob.glob(os.path.join(corpus, "eval", "*", "1", "*.ogg")))
    self.assertNotEmpty(speech)
    models = ",".join(f"exported/{n}/{n}.tflite" for n in ("float32", "int8"))
    printed = self.run_all(
      folder,
      (
        "tflite_export.compress_main",
        f"--model={_MODEL}",
        "--recipe=float32,int8",
        f"--corpus={corpus}",
        "--out=compressed",
      ),
      (
        "tflite_export.export_main",
        "--model=compressed/float32,compressed/int8",
        f"--corpus={corpus}",
        "--out=exported",
      ),
      (
        "tflite_export.package_main",
        f"--models={models}",
        f"--corpus={corpus}",
        "--out=speech.zip",
        "--page=page",
        f"--litertjs={litertjs}",
      ),
      (
        "tflite_export.browser_check_main",
        "--page=page",
        f"--speech={speech[0]}",
      ),
    )
    # Both models by file and the first by microphone; a text that differs from
    # the Python runtime's would have ended it.
    for what in ("file, float32", "file, int8", "microphone"):
      self.assertRegex(printed, rf"(?m)^{what}.*: [A-Z' ]+$")


if __name__ == "__main__":
  absltest.main()
