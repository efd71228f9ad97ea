"""What a quickstart run is asked to do, checked before anything runs."""

import dataclasses
import os
import shutil

from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.errors import InputError
from tflite_export.recipe_lookup import find_recipes

CORPUS_SETS = ("server", "clients", "eval")

_BASELINE_RECIPE = "float32"
# Every stage's artifacts, logs and the extracted corpus, with room to spare.
_NEEDED_BYTES = 500_000_000


@dataclasses.dataclass(frozen=True)
class QuickstartConfig:
  """What to run, where, and on what.

  Attributes:
    out: folder for everything that the run writes.
    corpus: folder with `server/`, `clients/` and `eval/`, each in the
      LibriSpeech layout; None: the default corpus.
    from_scratch: whether to train the server model too, rather than to begin
      with the committed one.
    pretrain_steps: updates of that training; None: the stage's own choice.
    client_params_fraction: largest share of the server model's parameters that
      a client may be sent, in (0, 1].
    rounds: federated rounds; None: the stage's own choice.
    cohort: clients a round; None: the stage's own choice.
    recipes: compression recipes as `find_recipe` knows them, names or paths of
      files; the uncompressed `float32` among them.
    seed: where all randomness comes from.
    max_bad_fraction: more than this share of unusable utterances is an error.
  """

  out: str
  corpus: str | None = None
  from_scratch: bool = False
  pretrain_steps: int | None = None
  client_params_fraction: float = 0.75
  rounds: int | None = None
  cohort: int | None = None
  recipes: tuple[str, ...] = (_BASELINE_RECIPE,)
  seed: int = 0
  max_bad_fraction: float = 0.05

  def __post_init__(self):
    if not 0 < self.client_params_fraction <= 1:
      raise InputError(
        f"found --client_params_fraction={self.client_params_fraction},"
        " expected more than 0 and at most 1: it is the share of the server"
        " model's parameters that a client may be sent, such as 0.5"
      )
    if not 0 <= self.max_bad_fraction <= 1:
      raise InputError(
        f"found --max_bad_fraction={self.max_bad_fraction}, expected 0 to 1: it"
        " is a fraction, not a percentage"
      )
    for name in ("rounds", "cohort", "pretrain_steps"):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise InputError(f"found --{name}={value}, expected 1 or more")
    if self.seed < 0:
      raise InputError(f"found --seed={self.seed}, expected 0 or more")
    if self.pretrain_steps is not None and not self.from_scratch:
      raise InputError(
        f"found --pretrain_steps={self.pretrain_steps} without --from_scratch,"
        " expected both: the committed model is not trained again"
      )
    if _BASELINE_RECIPE not in self.recipe_names:
      raise InputError(
        f"found --recipes={','.join(self.recipes)}, expected {_BASELINE_RECIPE}"
        " among them: the others are compared with it"
      )

  @property
  def recipe_names(self) -> tuple[str, ...]:
    """What the recipes' folders and files are called."""
    return tuple(recipe.name for recipe in find_recipes(self.recipes))


def check_surroundings(config: QuickstartConfig) -> None:
  """Raises InputError unless the corpus is there and the disk has room."""
  if config.corpus is not None:
    for name in CORPUS_SETS:
      load_librispeech(os.path.join(config.corpus, name))
  free = shutil.disk_usage(_nearest_folder(config.out)).free
  if free < _NEEDED_BYTES:
    raise InputError(
      f"found {free / 1e6:.0f} MB free where {config.out} is to be written,"
      f" expected {_NEEDED_BYTES / 1e6:.0f} MB: free some or name another --out"
    )


def _nearest_folder(path: str) -> str:
  """Returns `path` or the nearest folder above it that exists."""
  while not os.path.isdir(path):
    if os.path.lexists(path):
      raise InputError(
        f"found {path} to be no folder, expected one to write to: name another"
        " --out"
      )
    path = os.path.dirname(path)
  return path
