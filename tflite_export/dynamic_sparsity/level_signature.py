"""What the signature of a level is called in a .tflite file."""

from lingvo_lite.dynamic_sparsity.levels import level_name
from tflite_export.interpreter import SIGNATURE


def level_signature(sparsity: float) -> str:
  """Returns what a level's signature is called: `transcribe_s80`."""
  return f"{SIGNATURE}_{level_name(sparsity)}"
