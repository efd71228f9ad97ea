"""The runtime loads nothing but NumPy and LiteRT; no TensorFlow here."""

import os
import subprocess
import sys

from absl.testing import absltest

from tflite_export.interpreter import Recognizer

# What an app does not have: whoever asks for one of them gets an error.
_BARE = """
import sys
sys.modules.update(dict.fromkeys(
    ("tensorflow", "tensorflow_federated", "tensorflow_model_optimization",
     "tensorflow_io", "keras", "ai_edge_quantizer", "jax", "scipy",
     "soundfile"), None))
"""
_SECONDS = f"""
import numpy, time
start = time.process_time()
import {Recognizer.__module__}
print(time.process_time() - start)
print(sorted(set(name.split(".")[0] for name in sys.modules)))
"""


def _run(program):
  return subprocess.run(
    [sys.executable, "-c", program],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=True,
  ).stdout


class InterpreterTest(absltest.TestCase):
  def test_imports_little_and_quickly(self):
    runs = [_run(_BARE + _SECONDS).splitlines() for _ in range(3)]
    # Processor time, since other work on the machine is not ours.
    self.assertLess(min(float(run[0]) for run in runs), 0.1)
    loaded = set(eval(runs[0][1]))
    self.assertContainsSubset({"numpy", "ai_edge_litert"}, loaded)
    self.assertNoCommonElements({"absl", "matplotlib", "pandas"}, loaded)


if __name__ == "__main__":
  absltest.main()
