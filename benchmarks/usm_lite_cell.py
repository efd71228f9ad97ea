"""One row of the USM-Lite ablation: compress, export, recognise."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jiwer
import numpy as np
import tensorflow as tf

from benchmarks.usm_lite_ladder import CONTROL, healed_of
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.files import read_json, write_json
from tflite_export.accuracy import accuracy, transcribe_all
from tflite_export.compress import CompressedModel, compress
from tflite_export.compressed_file import load_compressed, save_compressed
from tflite_export.distillation import fine_tuning_loss
from tflite_export.export import export, with_static_name
from tflite_export.fine_tuning import FineTuning, gradients_of
from tflite_export.peak_memory import peak_rss_bytes
from tflite_export.recipes import Recipe
from tflite_export.speech import SpokenUtterance

Batches = Callable[[], Iterable[dict[str, tf.Tensor]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
  """What all rows share.

  Attributes:
    model: the float model.
    config: its configuration.
    model_sha256: of its file.
    make_batches: the server's training speech, endless.
    known_speech: float32[S] each, of the server's speakers: files are compared
      with Keras on it, and static ranges are set by it.
    evaluation: speech of unseen speakers.
    held_out_wer: from a model of the same shape to its word error rate on
      held-out speech of the server.
    folder: where files and finished rows are kept.
    workers: how many utterances are recognised at once.
    healing_steps: of the pruned float models, that others begin with.
  """

  model: tf.keras.Model
  config: ConformerConfig
  model_sha256: str
  make_batches: Batches
  known_speech: Sequence[np.ndarray]
  evaluation: Sequence[SpokenUtterance]
  held_out_wer: Callable[[tf.keras.Model], float]
  folder: str
  workers: int
  healing_steps: int

  def tflite(self, recipe: Recipe) -> str:
    """Returns where the file of a recipe lies."""
    return os.path.join(self.folder, recipe.name, f"{recipe.name}.tflite")

  def begins_with(self, recipe: Recipe) -> tf.keras.Model:
    """Returns the model that a recipe of the ladder is applied to."""
    healed = healed_of(recipe)
    if healed is None:
      return self.model
    return load_compressed(os.path.join(self.folder, healed))[0].model

  def kept(
    self, recipe: Recipe, kind: str, make: Callable[[], dict[str, Any]]
  ) -> dict[str, Any]:
    """Returns a row, made now unless the same was made before."""
    # JSON has no tuples.
    kept_of = recipe.kept_of and list(recipe.kept_of)
    key = {
      "recipe": {**dataclasses.asdict(recipe), "kept_of": kept_of},
      "model_sha256": self.model_sha256,
      "healing_steps": self.healing_steps if healed_of(recipe) else None,
      "utterances": len(self.evaluation),
    }
    name = recipe.name.replace(":", "_")
    path = os.path.join(self.folder, f"{kind}_{name}.json")
    if os.path.exists(path):
      found = read_json(path, "a finished row of this benchmark")
      if found["key"] == key:
        return found["row"]
    row = {"kind": kind, "recipe": recipe.name, **make()}
    write_json(path, {"schema_version": 1, "key": key, "row": row})
    return row


def ladder_row(setting: Setting, recipe: Recipe) -> dict[str, Any]:
  """Returns the figures of a recipe, all but its speed."""

  def make() -> dict[str, Any]:
    started = time.monotonic()
    compressed = compress(
      setting.begins_with(recipe), recipe, setting.make_batches, setting.model
    )
    compress_s = time.monotonic() - started
    path = setting.tflite(recipe)
    save_compressed(compressed, setting.config, os.path.dirname(path))
    figures = export(
      compressed, setting.config, setting.known_speech, "synthetic speech", path
    )
    recognized = _recognized(setting, path)
    return {
      "bits": recipe.weight_bits,
      "kept_of": recipe.kept_of,
      "fine_tune_steps": recipe.fine_tune_steps,
      "compress_s": round(compress_s, 1),
      **_figures(figures, recognized),
      "float_bytes": sum(row["bytes"] for row in figures["stays_float"]),
      "peak_rss_bytes": peak_rss_bytes(path),
      "bits_by_layer": compressed.bits_by_layer if recipe.mean_bits else {},
      "pruned_layers": len(compressed.pruned_layers),
      **_on_held_out(setting, compressed),
      "edits": [_edits(*pair) for pair in recognized],
      "utterance_words": [len(text.split()) for text, _ in recognized],
    }

  return setting.kept(recipe, "ladder", make)


def static_row(setting: Setting, recipe: Recipe) -> dict[str, Any]:
  """Returns the figures of a rung's file with static activations.

  Args:
    setting: whose ladder has the rung.
    recipe: of the rung, compressed already.
  """
  rung = os.path.dirname(setting.tflite(recipe))
  compressed = with_static_name(load_compressed(rung)[0])

  def make() -> dict[str, Any]:
    path = setting.tflite(compressed.recipe)
    figures = export(
      compressed,
      setting.config,
      setting.known_speech,
      "synthetic speech",
      path,
      static_activations=True,
    )
    return {"of": recipe.name, **_figures(figures, _recognized(setting, path))}

  return setting.kept(compressed.recipe, "static", make)


def control_row(setting: Setting, like: Recipe) -> dict[str, Any]:
  """Returns what the float model is when it is trained on, nothing taken away.

  What heals on transcripts also learns: this tells the one from the other.

  Args:
    setting: whose model it is.
    like: how long, at which rate and from what it is trained.
  """
  recipe = dataclasses.replace(like, name=CONTROL)

  def make() -> dict[str, Any]:
    model = tf.keras.models.clone_model(setting.model)
    model.set_weights(setting.model.get_weights())
    loss_fn = fine_tuning_loss(model, setting.model, like.transcript_fraction)
    losses = FineTuning(
      model,
      gradients_of(model, loss_fn),
      like.fine_tune_steps,
      like.learning_rate,
    ).run(setting.make_batches(), CONTROL)
    trained = CompressedModel(
      model, Recipe(CONTROL), {}, (), losses=tuple(losses)
    )
    path = setting.tflite(recipe)
    figures = export(
      trained, setting.config, setting.known_speech, "synthetic speech", path
    )
    recognized = _recognized(setting, path)
    return {
      "fine_tune_steps": like.fine_tune_steps,
      **_figures(figures, recognized),
      **_on_held_out(setting, trained),
      "edits": [_edits(*pair) for pair in recognized],
    }

  return setting.kept(recipe, "control", make)


def choice_row(setting: Setting, recipe: Recipe) -> dict[str, Any]:
  """Returns how a recipe does on held-out speech of the server."""

  def make() -> dict[str, Any]:
    compressed = compress(setting.model, recipe, setting.make_batches)
    return _on_held_out(setting, compressed)

  return setting.kept(recipe, "choice", make)


def _recognized(setting: Setting, path: str) -> list[tuple[str, str]]:
  """Returns what was said and what a file makes of it, in pairs."""
  name = os.path.basename(path)
  texts = transcribe_all(path, setting.evaluation, setting.workers, name)
  references = [one.utterance.transcript for one in setting.evaluation]
  return list(zip(references, texts, strict=True))


def _figures(
  exported: dict[str, Any], recognized: Sequence[tuple[str, str]]
) -> dict[str, Any]:
  found = accuracy(
    [reference for reference, _ in recognized], [text for _, text in recognized]
  )
  return {
    "wer": round(found.wer, 5),
    "wer_interval": [round(end, 5) for end in found.wer_interval],
    "cer": round(found.cer, 5),
    **{
      key: exported[key]
      for key in ("bytes", "gzip_bytes", "transport_bytes", "bytes_by_kind")
    },
    "relative_error_vs_keras": round(exported["parity"]["relative_error"], 5),
  }


def _on_held_out(
  setting: Setting, compressed: CompressedModel
) -> dict[str, Any]:
  losses, churn = compressed.losses[-10:], compressed.mask_churn
  return {
    "held_out_wer": round(setting.held_out_wer(compressed.model), 5),
    "last_loss": round(sum(losses) / len(losses), 5) if losses else None,
    "mask_updates": 1 + len(churn),
    "mask_churn": [round(each, 5) for each in (churn[:3] + churn[-1:])],
  }


def _edits(reference: str, text: str) -> int:
  counts = jiwer.process_words(reference, text)
  return counts.substitutions + counts.deletions + counts.insertions
