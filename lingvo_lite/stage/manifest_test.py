"""Tests of the manifest."""

import os

from absl.testing import absltest

from lingvo_lite.stage.files import read_json
from lingvo_lite.stage.manifest import sha256, write_manifest

# SHA-256 of "abc", from FIPS 180-4's examples.
_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class ManifestTest(absltest.TestCase):
  def test_digests_and_configuration_are_recorded(self):
    folder = self.create_tempdir().full_path
    path = os.path.join(folder, "input.bin")
    with open(path, "wb") as file:
      file.write(b"abc")
    write_manifest(
      folder,
      stage="test",
      config={"steps": 3},
      seed=7,
      inputs=[path],
      outputs=[],
      seconds=1.23456,
      metrics={"wer": 0.5},
      skipped_utterances=[{"id": "1-1-0001", "reason": "silent"}],
    )
    manifest = read_json(os.path.join(folder, "manifest.json"), "a manifest")
    self.assertEqual(sha256(path), _ABC)
    self.assertEqual(
      manifest["inputs"], [{"file": "input.bin", "sha256": _ABC}]
    )
    self.assertEqual(manifest["config"], {"steps": 3})
    self.assertEqual(manifest["seed"], 7)
    self.assertEqual(manifest["skipped_utterances"][0]["reason"], "silent")
    self.assertIn("tensorflow", manifest["environment"]["versions"])


if __name__ == "__main__":
  absltest.main()
