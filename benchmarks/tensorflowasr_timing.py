"""TensorFlowASR's own export of a model of our shape, on the same sound."""

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.rival_process import compare, rival_process
from lingvo_lite.models.conformer_config import ConformerConfig
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

_SUBSAMPLING = "tensorflow_asr.models.layers.subsampling>Conv2dSubsampling"
# Its defaults but for the shape: log-mel features, the encoder and the greedy
# search in one graph. Labels stay numbers, as in our file: the table that its
# tokenizer for characters looks up is empty in the file that it exports.
# Weights are random: they do not change what is computed. The first call lets
# it plan for the length; the second is timed.
_PROGRAM = """
import importlib.metadata, json, os, sys, time, wave
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import numpy as np
import tensorflow as tf
from tensorflow_asr.models.ctc.conformer import Conformer
from tensorflow_asr.models.layers import subsampling
from tensorflow_asr.utils.app_util import convert_tflite
class Labels:
    def detokenize(self, tokens):
        return tokens
settings = json.loads(sys.stdin.readline())
model = Conformer(**settings["model"])
model.tokenizer = Labels()
model.make(batch_size=1)
convert_tflite(model, settings["path"])
interpreter = tf.lite.Interpreter(settings["path"], num_threads=1)
inputs = {len(one["shape"]): [] for one in interpreter.get_input_details()}
for one in interpreter.get_input_details():
    inputs[len(one["shape"])].append(one)
pcm_input, = [one for one in inputs[2] if one["dtype"] is np.float32]
length_input, = inputs[1]
print(json.dumps({"version": importlib.metadata.version("TensorFlowASR"),
                  "parameters": model.count_params()}),
      file=answers, flush=True)
for line in sys.stdin:
    with wave.open(line.rstrip("\\n")) as file:
        pcm = file.readframes(file.getnframes())
    pcm = np.frombuffer(pcm, "<i2").astype(np.float32) / 2**15
    interpreter.resize_tensor_input(pcm_input["index"], [1, pcm.size])
    interpreter.allocate_tensors()
    for turn in range(2):
        for one in interpreter.get_input_details():
            interpreter.set_tensor(
                one["index"], np.zeros(one["shape"], one["dtype"]))
        interpreter.set_tensor(pcm_input["index"], pcm[np.newaxis])
        interpreter.set_tensor(
            length_input["index"], np.array([pcm.size], np.int32))
        began = time.process_time()
        interpreter.invoke()
        seconds = time.process_time() - began
    print(json.dumps({"text": "", "seconds": seconds}), file=answers,
          flush=True)
"""


def tensorflowasr_row(
  python: str, paths: Sequence[str], spoken: Sequence[SpokenUtterance]
) -> dict[str, Any]:
  """Compares whole-utterance models with TensorFlowASR's export of their shape.

  All go from samples to labels, with one thread; TensorFlowASR's in float32.

  Args:
    python: of an environment where TensorFlowASR is installed.
    paths: our .tflite files for whole utterances, of one model.
    spoken: what all recognise.

  Returns:
    A row of the benchmark.

  Raises:
    InputError: its program failed.
  """
  recognizers = [Recognizer(path) for path in paths]
  config = ConformerConfig.from_dict(recognizers[0].description["model"])
  with tempfile.TemporaryDirectory() as folder:
    theirs = os.path.join(folder, "theirs.tflite")
    settings = {"model": _same_shape(config), "path": theirs}
    with rival_process(python, _PROGRAM, settings) as rival:
      ours = [one.recognize for one in recognizers]
      found = compare(rival, ours, spoken, "TensorFlowASR")
    return {
      "kind": "tensorflowasr",
      "threads": 1,
      "utterances": len(spoken),
      **rival.about,
      "bytes": os.path.getsize(theirs),
      "cpu_ms": round(1000 * float(np.median(found.seconds)), 3),
      "our_cpu_ms": {
        one.description["recipe"]["name"]: round(
          1000 * float(np.median(seconds)), 3
        )
        for one, seconds in zip(recognizers, found.our_seconds, strict=True)
      },
    }


def _same_shape(config: ConformerConfig) -> dict[str, Any]:
  """Returns the arguments of TensorFlowASR's `Conformer` for our shape."""
  return {
    "blank": 0,
    "vocab_size": config.vocabulary_size,
    "speech_config": {
      "sample_rate": 16_000,
      "frame_ms": 25,
      "stride_ms": 10,
      "nfft": 512,
      "num_feature_bins": config.num_mel_bins,
      "feature_type": "log_mel_spectrogram",
    },
    "encoder_subsampling": {
      "class_name": _SUBSAMPLING,
      "config": {
        "filters": [config.subsampling_channels] * 2,
        "kernels": [3, 3],
        "strides": [2, 2],
        "paddings": ["same", "same"],
        "norms": ["none", "none"],
        "activations": ["relu", "relu"],
      },
    },
    "encoder_dmodel": config.d_model,
    "encoder_num_blocks": config.num_blocks,
    "encoder_head_size": config.d_model // config.num_heads,
    "encoder_num_heads": config.num_heads,
    "encoder_kernel_size": config.conv_kernel_size,
    "encoder_ffm_scale_factor": config.ffn_units // config.d_model,
    "encoder_padding": "same",
    "encoder_mhsam_use_attention_bias": True,
  }
