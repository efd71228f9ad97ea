"""Streaming equals the whole utterance, however the sound is cut."""

import dataclasses
import io
import os
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from lingvo_lite.audio.log_mel import LogMel
from lingvo_lite.decoding.prefix_beam import BeamConfig
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from tflite_export.compress import compress
from tflite_export.export import export, with_static_name
from tflite_export.fuzz_model import exported_file
from tflite_export.fuzz_runtime import RuntimeProcess
from tflite_export.fuzzing import fuzz_files
from tflite_export.interpreter import Recognizer
from tflite_export.recipes import RECIPES
from tflite_export.streaming_model import build_streamer
from tflite_export.transcription import pcm_pieces, transcribe_stream

_CONFIG = ConformerConfig(
  num_blocks=2,
  d_model=16,
  ffn_units=32,
  num_heads=2,
  conv_kernel_size=5,
  subsampling_channels=4,
  norm_groups=2,
  causal=True,
  left_context_frames=3,
  chunk_frames=2,
)
# One sample, a logit's edge, a chunk's edge, and long and odd.
# As on a device without it: whoever imports it gets an error.
_COMMAND = "tflite_export.transcribe_main"
_WITHOUT_TENSORFLOW = f"""
import runpy, sys
class Missing:
  def find_spec(self, name, path=None, target=None):
    if name.startswith(("tensorflow", "keras")):
      raise ImportError(name)
sys.meta_path.insert(0, Missing())
runpy.run_module("{_COMMAND}", run_name="__main__")
"""
_LENGTHS = (1, 639, 640, 641, 1280, 1281, 5000, 33_333)


def _lively_model(config):
  """A model whose norms and biases do something too."""
  model = build_ctc_model(config)
  rng = np.random.default_rng(0)
  for weight in model.weights:
    weight.assign_add(np.abs(rng.normal(0, 0.3, weight.shape)))
  return model


def _sound(samples, seed=0):
  rng = np.random.default_rng(seed)
  loudness = np.repeat(rng.uniform(0, 0.3, samples // 800 + 1), 800)[:samples]
  return (loudness * rng.normal(size=samples)).astype(np.float32)


def _batches():
  features = np.random.default_rng(1).normal(size=[2, 40, 80])
  return [
    {"features": tf.constant(features, tf.float32), "lengths": [40, 40]}
  ] * 20


class StreamingModelTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    {},
    {"norm": "layer", "chunk_frames": 1},
    {"left_context_frames": 0, "chunk_frames": 3},
    {"widths": (("block_00/conv", 1), ("block_01/attention", 1))},
  )
  def test_chunks_compute_what_the_trained_model_does(self, **fields):
    config = dataclasses.replace(_CONFIG, **fields)
    model = _lively_model(config)
    stream = build_streamer(model, config).stream
    chunk_samples = 640 * config.chunk_frames
    for samples in _LENGTHS:
      pcm = _sound(samples, samples)
      state = tf.zeros(stream.input_signature[2].shape)
      found = []
      for start in range(0, samples, chunk_samples):
        piece = pcm[start : start + chunk_samples]
        padded = np.pad(piece, [0, chunk_samples - piece.size])
        outputs = stream(
          tf.constant(padded[np.newaxis]), tf.constant([piece.size]), state
        )
        state = outputs["state"]
        found.append(outputs["logits"][0, : -(-piece.size // 640)])
      features = LogMel()(pcm[np.newaxis])
      expected = model([features, tf.shape(features)[1:2]])[0]
      self.assertAllClose(tf.concat(found, 0), expected, atol=1e-4)


class StreamingFileTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    model = _lively_model(_CONFIG)
    cls.paths, cls.figures, cls.compressed = {}, {}, {}
    for name in ("float32", "int4_2of4"):
      recipe = dataclasses.replace(RECIPES[name], fine_tune_steps=0)
      cls.paths[name] = os.path.join(temporary.name, f"{name}.tflite")
      cls.compressed[name] = compress(model, recipe, _batches)
      cls.figures[name] = export(
        cls.compressed[name],
        _CONFIG,
        [_sound(n, n) for n in _LENGTHS],
        "noise",
        cls.paths[name],
      )

  def test_any_cutting_gives_the_logits_of_the_whole(self):
    rng = np.random.default_rng(5)
    recognizer = Recognizer(self.paths["float32"])
    for case in range(60):
      pcm = _sound(int(rng.integers(1, 20_000)), case)
      cuts = np.sort(rng.integers(0, pcm.size + 1, rng.integers(0, 30)))
      stream = recognizer.stream()
      for piece in np.split(pcm, cuts):
        text = stream.accept(piece)
      streamed = stream.finish()
      whole = recognizer.recognize(pcm)
      self.assertAllClose(streamed.logits, whole.logits, atol=1e-4)
      self.assertEqual(streamed.text, whole.text)
      self.assertStartsWith(streamed.text, text)
      self.assertAllEqual(streamed.labels, whole.labels)
      self.assertEqual(
        [(w.text, w.start_s, w.end_s) for w in streamed.words],
        [(w.text, w.start_s, w.end_s) for w in whole.words],
      )

  def test_integer_kernels_stream_too(self):
    recognizer = Recognizer(self.paths["int4_2of4"])
    pcm = _sound(20_000)
    stream = recognizer.stream()
    stream.accept(pcm)
    whole = recognizer.recognize(pcm).logits
    error = np.sqrt(np.mean((stream.finish().logits - whole) ** 2))
    self.assertLess(error, 0.05 * whole.std())
    self.assertLess(
      self.figures["int4_2of4"]["parity"]["streaming_relative_error"], 0.1
    )
    self.assertEqual(self.figures["float32"]["flex_ops"], 0)

  def test_static_activations_stream_too(self):
    path = os.path.join(self.create_tempdir().full_path, "static.tflite")
    figures = export(
      with_static_name(self.compressed["int4_2of4"]),
      _CONFIG,
      [_sound(n, n) for n in _LENGTHS],
      "noise",
      path,
      static_activations=True,
    )
    parity = figures["parity"]
    self.assertLess(parity["relative_error"], 0.1)
    self.assertLess(parity["streaming_relative_error"], 0.1)

  def test_the_graph_reads_labels_and_their_times(self):
    recognizer = Recognizer(self.paths["float32"])
    run = recognizer._interpreter.get_signature_runner
    pcm = _sound(20_000)
    state = run("init_state")()["state"]
    self.assertAllEqual(state, np.zeros_like(state))
    labels, frames = [], []
    for start in range(0, pcm.size, 1280):
      piece = pcm[start : start + 1280]
      outputs = run("stream" if piece.size == 1280 else "flush")(
        pcm=np.pad(piece, [0, 1280 - piece.size])[np.newaxis],
        samples=np.array([piece.size], np.int32),
        state=state,
      )
      state = outputs["state"]
      count = int(outputs["count"][0])
      labels += outputs["labels"][:count].tolist()
      frames += outputs["frames"][:count].tolist()
    whole = recognizer.recognize(pcm)
    self.assertAllEqual(labels, whole.labels)
    best = whole.logits.argmax(-1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    self.assertEqual(frames, [t for t in starts.tolist() if best[t] != 28])
    self.assertNotEmpty(labels)

  def test_two_streams_at_once_do_not_mix(self):
    recognizer = Recognizer(self.paths["float32"])
    sounds = [_sound(9000, seed) for seed in (1, 2)]
    streams = [recognizer.stream() for _ in sounds]
    for start in range(0, 9000, 700):
      for stream, pcm in zip(streams, sounds, strict=True):
        stream.accept(pcm[start : start + 700])
    for stream, pcm in zip(streams, sounds, strict=True):
      self.assertAllClose(
        stream.finish().logits, recognizer.recognize(pcm).logits, atol=1e-4
      )

  def test_a_search_reads_chunks_as_the_whole(self):
    beam = BeamConfig(width=4, n_best=3, phrases=("call anna",))
    recognizer = Recognizer(self.paths["float32"], beam=beam)
    pcm = _sound(9000)
    stream = recognizer.stream()
    for piece in np.split(pcm, [10, 2000, 2001]):
      text = stream.accept(piece)
    self.assertIsInstance(text, str)
    streamed, whole = stream.finish(), recognizer.recognize(pcm)
    self.assertLen(whole.hypotheses, 3)
    for one, other in zip(streamed.hypotheses, whole.hypotheses, strict=True):
      self.assertEqual(one.text, other.text)
      self.assertAllClose(one.score, other.score, atol=1e-3)
    self.assertEqual(streamed.text, whole.hypotheses[0].text)

  def test_text_is_told_as_it_grows(self):
    recognizer = Recognizer(self.paths["float32"])
    pcm = _sound(16_000)
    *partial, (seconds, recognition) = transcribe_stream(
      recognizer, iter(np.split(pcm, 10))
    )
    self.assertEqual(seconds, 1.0)
    self.assertEqual(recognition.text, recognizer.recognize(pcm).text)
    self.assertNotEmpty(partial)
    for _, text in partial:
      self.assertStartsWith(recognition.text, text)

  def test_the_command_reads_a_pipe_without_tensorflow(self):
    pcm = np.round(_sound(16_000) * 2**15).astype("<i2")
    done = subprocess.run(
      [
        sys.executable,
        "-c",
        _WITHOUT_TENSORFLOW,
        f"--model={self.paths['float32']}",
        "--stream",
        "--words",
        "-",
      ],
      input=pcm.tobytes(),
      capture_output=True,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
      check=True,
    )
    recognizer = Recognizer(self.paths["float32"])
    whole = recognizer.recognize(pcm.astype(np.float32) / 2**15)
    lines = done.stdout.decode().splitlines()
    self.assertIn(f"-: {whole.text}", lines)
    self.assertLen(
      lines[lines.index(f"-: {whole.text}") + 1 :], len(whole.words)
    )

  def test_raw_sound_is_read_whole_or_refused(self):
    pcm = np.arange(-3000, 3000, dtype="<i2")
    pieces = list(pcm_pieces(io.BytesIO(pcm.tobytes())))
    self.assertAllEqual(np.concatenate(pieces), pcm.astype(np.float32) / 2**15)
    self.assertLessEqual(max(piece.size for piece in pieces), 1600)
    with self.assertRaisesRegex(InputError, "half a sample"):
      list(pcm_pieces(io.BytesIO(b"abc")))
    with self.assertRaisesRegex(InputError, "WAV file on standard input"):
      list(pcm_pieces(io.BytesIO(b"RIFFabcdWAVE")))

  def test_misuse_is_told_in_one_line(self):
    recognizer = Recognizer(self.paths["float32"])
    stream = recognizer.stream()
    with self.assertRaisesRegex(InputError, "no sound to finish"):
      stream.finish()
    with self.assertRaisesRegex(InputError, "not numbers"):
      stream.accept(np.array([np.nan]))
    with self.assertRaisesRegex(InputError, "of shape"):
      stream.accept(np.zeros([2, 2]))
    stream.accept(_sound(10))
    stream.finish()
    for again in (stream.finish, lambda: stream.accept(_sound(1))):
      with self.assertRaises(InputError):
        again()


class FuzzTest(absltest.TestCase):
  def test_changes_of_an_exported_file_get_past_its_digest_and_run(self):
    with RuntimeProcess() as runtime:
      count = fuzz_files(40, 0, exported_file(), runtime)
    self.assertEqual(count.cases, 40)
    self.assertGreater(count.refused, 0)
    self.assertGreater(count.run, 0)


if __name__ == "__main__":
  tf.test.main()
