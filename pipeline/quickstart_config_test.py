"""Tests of quickstart_config."""

import collections
import os
import shutil
from unittest import mock

from absl.testing import absltest, parameterized

from lingvo_lite.stage.errors import InputError
from pipeline.quickstart_config import QuickstartConfig, check_surroundings

_DiskUsage = collections.namedtuple("_DiskUsage", ["total", "used", "free"])


class QuickstartConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"client_params_fraction": 0.0}, "more than 0 and at most 1"),
    ({"client_params_fraction": 1.01}, "more than 0 and at most 1"),
    ({"client_params_fraction": float("nan")}, "more than 0 and at most 1"),
    ({"max_bad_fraction": 5.0}, "not a percentage"),
    ({"rounds": 0}, "--rounds=0"),
    ({"cohort": -1}, "--cohort=-1"),
    ({"seed": -1}, "--seed=-1"),
    ({"pretrain_steps": 10}, "without --from_scratch"),
    ({"recipes": ("float32", "int9")}, "int9"),
    ({"recipes": ("int8",)}, "float32 among them"),
    ({"recipes": ("float32", "int8", "int8")}, "each once"),
  )
  def test_bad_values(self, values, message):
    with self.assertRaisesRegex(InputError, message):
      QuickstartConfig(out="out", **values)

  def test_whole_model_is_allowed(self):
    config = QuickstartConfig(out="out", client_params_fraction=1.0)
    self.assertEqual(config.client_params_fraction, 1.0)

  def test_full_disk(self):
    out = os.path.join(self.create_tempdir().full_path, "not", "yet")
    with mock.patch.object(
      shutil, "disk_usage", return_value=_DiskUsage(1, 1, 1_000_000)
    ):
      with self.assertRaisesRegex(InputError, "1 MB free"):
        check_surroundings(QuickstartConfig(out=out))

  def test_out_is_a_file(self):
    path = self.create_tempfile("file").full_path
    with self.assertRaisesRegex(InputError, "no folder"):
      check_surroundings(QuickstartConfig(out=path))

  def test_corpus_lacks_a_set(self):
    corpus = self.create_tempdir().full_path
    config = QuickstartConfig(out=corpus, corpus=corpus)
    with self.assertRaisesRegex(InputError, "server"):
      check_surroundings(config)


if __name__ == "__main__":
  absltest.main()
