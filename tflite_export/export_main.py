"""Exports compressed models to .tflite files.

  ./bazelw run //tflite_export:export -- --model=DIR --out=DIR

writes RECIPE.tflite, the same in transport form (RECIPE.tflite.zip, see
docs/compression.md), `export.json` (bytes by kind, nearness to Keras) and
`manifest.json`. With several models (`--model=DIR,DIR`) each writes into a
folder named after its recipe below `--out`. With `--static_activations` all are
called RECIPE_static.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
import time
from collections.abc import Sequence

from absl import flags, logging

from lingvo_lite.data.default_corpus import corpus_description, find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import spread
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import write_manifest
from tflite_export.compress import CompressedModel
from tflite_export.compressed_file import MODEL, RECIPE, load_compressed
from tflite_export.export import export, with_static_name
from tflite_export.speech import load_speech
from tflite_export.transport import transport_path

_MODEL = flags.DEFINE_list(
  "model", None, "Folder of a compressed model, or several.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with speech below server/, in the LibriSpeech layout, on which the"
  " file is compared with Keras and static ranges are set. Left out: the"
  " default corpus.",
)
_FULL_CONTEXT = flags.DEFINE_bool(
  "full_context",
  False,
  "Export a streaming model for whole utterances: attention sees all frames.",
)
_STATIC_ACTIVATIONS = flags.DEFINE_bool(
  "static_activations",
  False,
  "Round what goes into a matrix in a range that is measured on the corpus now;"
  " left out, in the range of each row as it runs, which is nearer to Keras."
  " docs/compression.md says what either costs.",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write into.", required=True)
_UTTERANCES = 8


def main(argv: Sequence[str]) -> None:
  """Exports and writes the artifacts."""
  del argv
  folders = [entry_point.user_path(folder) for folder in _MODEL.value]
  models = [load_compressed(folder) for folder in folders]
  if _FULL_CONTEXT.value:
    models = [_with_full_context(*model) for model in models]
  corpus = find_corpus(_CORPUS.value)
  training_data = corpus_description(_CORPUS.value)
  utterances = load_librispeech(os.path.join(corpus, "server"))
  chosen = spread(utterances, _UTTERANCES)
  speech, skipped = load_speech(chosen, max_bad_fraction=0.5)
  out = entry_point.user_path(_OUT.value)
  for folder, (compressed, config) in zip(folders, models, strict=True):
    started = time.monotonic()
    if _STATIC_ACTIVATIONS.value:
      compressed = with_static_name(compressed)
    name = compressed.recipe.name
    into = out if len(models) == 1 else os.path.join(out, name)
    path = os.path.join(into, f"{name}.tflite")
    figures = export(
      compressed,
      config,
      [s.pcm for s in speech],
      training_data,
      path,
      _STATIC_ACTIVATIONS.value,
    )
    report = os.path.join(into, "export.json")
    write_json(report, {"schema_version": 1, **figures})
    write_manifest(
      into,
      stage="export",
      config={
        "recipe": dataclasses.asdict(compressed.recipe),
        "static_activations": _STATIC_ACTIVATIONS.value,
        "model": config.to_dict(),
        "utterances": [s.utterance.id for s in speech],
      },
      seed=0,
      inputs=[os.path.join(folder, MODEL), os.path.join(folder, RECIPE)],
      outputs=[path, transport_path(path), report],
      seconds=time.monotonic() - started,
      metrics=figures,
      skipped_utterances=skipped,
    )
    parity = figures["parity"]
    logging.info(
      "%s: %d bytes, %d in transport form; off Keras by %.2g of the logits'"
      " spread; %s",
      name,
      figures["bytes"],
      figures["transport_bytes"],
      parity["relative_error"],
      path,
    )


def _with_full_context(
  compressed: CompressedModel, config: ConformerConfig
) -> tuple[CompressedModel, ConformerConfig]:
  """Returns the other mode of a model that was trained for both."""
  config = dataclasses.replace(
    config, left_context_frames=None, chunk_frames=None
  )
  model = build_ctc_model(config)
  model.set_weights(compressed.model.get_weights())
  return dataclasses.replace(compressed, model=model), config


if __name__ == "__main__":
  entry_point.run(main)
