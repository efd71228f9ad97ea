"""Packages: made, checked, attacked; and the page that runs them."""

import hashlib
import json
import os
import pathlib
import shutil
import tracemalloc
import zipfile

import numpy as np
from absl.testing import absltest
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.accuracy import Accuracy
from tflite_export.flatbuffer import read_flatbuffer, seal
from tflite_export.flatbuffer_seal import check_seal
from tflite_export.fuzz_runtime import RuntimeProcess
from tflite_export.fuzz_samples import small_streaming_file
from tflite_export.fuzzing import fuzz_files, fuzz_packages
from tflite_export.model_card import MeasuredModel
from tflite_export.package import build_package
from tflite_export.package_check import check_package
from tflite_export.speaker_groups import read_speaker_groups
from tflite_export.web_page import build_page

_LABELS = (" ", "A", "B")
_GOOD = Accuracy(0.1, 0.05, (0.08, 0.125), 300, 40)
_BAD = Accuracy(0.25, 0.1, (0.2, 0.3), 100, 10)


def _measured(name, size):
  return MeasuredModel(
    name,
    f"models/{name}.tflite",
    size,
    80,
    0.01234,
    5.67,
    {"all": _GOOD, "sex F": _BAD},
  )


class PackageTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.model = small_streaming_file()
    paths = []
    for name in ("float32", "int8"):
      paths.append(os.path.join(self.folder, f"{name}.tflite"))
      pathlib.Path(paths[-1]).write_bytes(self.model)
    self.paths = paths

  def build(self, name):
    out = os.path.join(self.folder, name)
    build_package(
      self.paths,
      [_measured(name, len(self.model)) for name in ("float32", "int8")],
      _LABELS,
      {
        "licence": "Apache-2.0",
        "sample_rate_hz": 16_000,
        "training_data": "synthetic speech",
      },
      "noise",
      out,
    )
    return out

  def assert_refused(self, path, words):
    with self.assertRaisesRegex(InputError, words) as caught:
      check_package(path)
    self.assertNotIn("\n", str(caught.exception))
    self.assertIn(path, str(caught.exception))

  def test_folder_and_archive_hold_the_same(self):
    folder, archive = self.build("a"), self.build("a.zip")
    for path in (folder, archive):
      models = check_package(path)
      self.assertEqual([m.recipe for m in models], ["float32", "int8"])
      self.assertEqual(models[0].size, len(self.model))
      self.assertEqual(models[1].chunk_samples, 1280)
    with zipfile.ZipFile(archive) as found:
      for name in found.namelist():
        whole = pathlib.Path(folder, name).read_bytes()
        self.assertEqual(found.read(name), whole)
      self.assertLen(found.namelist(), 6)
    again = self.build("b.zip")
    self.assertEqual(
      pathlib.Path(again).read_bytes(), pathlib.Path(archive).read_bytes()
    )

  def test_the_card_tells_the_figures(self):
    card = pathlib.Path(self.build("a"), "model_card.md").read_text()
    self.assertIn("| sex F | 100 | 0.250 [0.200, 0.300] |", card)
    self.assertIn("| all | 300 | 0.100 [0.080, 0.125] |", card)
    self.assertIn(f"(int8) | {len(self.model)} | 0.0123 | 5.7 |", card)
    self.assertIn("synthetic speech", card)
    self.assertIn("chunk of 80 ms", card)

  def test_a_full_folder_is_left_alone(self):
    out = self.build("a")
    with self.assertRaisesRegex(InputError, "expected a folder to write"):
      self.build("a")
    check_package(out)
    self.assertNoCommonElements(
      [".partial"], [name[:8] for name in os.listdir(self.folder)]
    )

  def test_what_was_changed_is_told(self):
    out = self.build("a")
    model = pathlib.Path(out, "models", "int8.tflite")
    card = pathlib.Path(out, "model_card.md")
    index = pathlib.Path(out, "package.json")
    whole = {path: path.read_bytes() for path in (model, card, index)}
    flipped = bytearray(whole[model])
    flipped[100] ^= 1
    cases = (
      (model, bytes(flipped), "SHA-256 does not match"),
      (model, whole[model][:-1], "SHA-256 does not match"),
      (model, whole[model] + b"x", "more than"),
      (card, b"", "SHA-256 does not match"),
      (index, b"{", "no valid JSON"),
      (index, b"[" * 100_000, "no valid JSON"),
      (index, b'{"schema_version": 2}', "schema_version 2"),
      (index, b'{"schema_version": true}', "schema_version True"),
      (index, b" " * (1 << 21), "more than"),
      (index, whole[index].replace(b'"A"', b'"C"'), "other labels"),
      (index, whole[index].replace(b"1280", b"1281"), "other signatures"),
    )
    for path, contents, words in cases:
      path.write_bytes(contents)
      self.assert_refused(out, words)
      path.write_bytes(whole[path])
    check_package(out)
    card.unlink()
    self.assert_refused(out, "1 files missing")
    card.write_bytes(whole[card])
    extra = pathlib.Path(out, "run_me.sh")
    extra.write_text("echo")
    self.assert_refused(out, "1 not listed")
    extra.unlink()
    os.symlink("/etc/hostname", extra)
    self.assert_refused(out, "link")

  def test_a_hostile_model_with_right_hashes_is_refused(self):
    out = self.build("a")
    index_path = pathlib.Path(out, "package.json")
    index = json.loads(index_path.read_text())

    def replace(model):
      pathlib.Path(out, "models", "int8.tflite").write_bytes(model)
      index["files"]["models/int8.tflite"] = {
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
      }
      index_path.write_text(json.dumps(index))

    def changed(change):
      model = read_flatbuffer(self.model)
      model.metadata = model.metadata[:-1]  # `seal` puts its own.
      change(model)
      return seal(model)

    def operation(model):
      model.operatorCodes[0].builtinCode = 32  # CUSTOM
      model.operatorCodes[0].deprecatedBuiltinCode = 32

    def tensor(model):
      model.subgraphs[0].operators[0].inputs = np.array([99], np.int32)

    def signature(model):
      model.signatureDefs[0].signatureKey = b"other"

    def constant(model):
      model.subgraphs[0].tensors[7].shape = np.array([4, 7], np.int32)

    def huge(model):
      model.subgraphs[0].tensors[0].shape = np.array([1, 2**30], np.int32)

    def unready(model):
      model.subgraphs[0].operators[0].inputs = np.array([6], np.int32)

    def twice(model):
      model.subgraphs[0].operators *= 2

    def few(model):
      model.subgraphs[0].operators[1].inputs = np.array([9], np.int32)

    def idle(model):
      del model.subgraphs[0].operators[1]

    def others_options(model):
      model.operatorCodes[0].builtinCode = 45  # STRIDED_SLICE
      model.operatorCodes[0].deprecatedBuiltinCode = 45
      model.subgraphs[0].operators[0].inputs = np.array([2] * 4, np.int32)

    def narrow(model):
      model.subgraphs[0].tensors[8].type = schema.TensorType.INT4

    def large(model):
      fill = model.subgraphs[0].operators[1]
      sizes = model.subgraphs[0].tensors[fill.inputs[0]].buffer
      model.buffers[sizes].data = np.array([2**30], "<i4").view(np.uint8)

    def counted(model):
      others_options(model)
      model.operatorCodes[0].builtinCode = 88  # UNPACK
      model.operatorCodes[0].deprecatedBuiltinCode = 88
      squeeze = model.subgraphs[0].operators[0]
      squeeze.inputs = np.array([2], np.int32)
      squeeze.builtinOptionsType = schema.BuiltinOptions.UnpackOptions
      squeeze.builtinOptions = schema.UnpackOptionsT()
      squeeze.builtinOptions.num = 7

    replace(changed(lambda model: None))
    self.assertLen(check_package(out), 2)
    for change, words in (
      (operation, "operation 32"),
      (tensor, "tensor 99 of 17"),
      (signature, "other signatures"),
      (constant, "24 bytes for a constant"),
      (huge, "elements"),
      (unready, "read before it is computed"),
      (twice, "computed twice"),
      (few, "1 inputs or outputs of FILL"),
      (idle, "output nothing computes"),
      (others_options, "STRIDED_SLICE with options of the kind 30"),
      (narrow, "SQUEEZE from types .0. to .17."),
      (large, "FILL to .1073741824"),
      (counted, "1 tensors of UNPACK, whose options say 7"),
    ):
      replace(changed(change))
      self.assert_refused(out, words)

  def test_archives_that_are_none_are_refused(self):
    whole = pathlib.Path(self.build("a.zip"))
    contents = whole.read_bytes()
    whole.write_bytes(contents[: len(contents) // 2])
    self.assert_refused(str(whole), "damaged zip")
    for name in ("../a", "/a", "a b", "a//b", "a\\b", ".hidden"):
      with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(name, b"")
      self.assert_refused(str(whole), "found a file named")
    with zipfile.ZipFile(whole, "w") as archive:
      for number in range(300):
        archive.writestr(str(number), b"")
    self.assert_refused(str(whole), "found 300 files")
    self.assert_refused(os.path.join(self.folder, "none"), "found nothing")

  def test_an_archive_that_unfolds_without_end_is_refused(self):
    bomb = pathlib.Path(self.folder, "bomb.zip")
    block = bytes(1 << 20)

    def write(files, blocks, **index):
      listed = {}
      with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
          with archive.open(name, "w") as member:
            for _ in range(blocks):
              member.write(block)
          listed[name] = {"bytes": blocks << 20, "sha256": _sha256(blocks)}
        index = {"schema_version": 1, "files": listed, **index}
        archive.writestr("package.json", json.dumps(index))
      return os.path.getsize(bomb)

    def _sha256(blocks):
      return hashlib.sha256(block * blocks).hexdigest()

    needed = ["labels.txt", "model_card.md", "LICENSE"]
    names = [*needed, *(f"models/{n}.tflite" for n in range(97))]
    # 200 MB in 200 kB.
    self.assertLess(write(names, 2), 300_000)
    self.assert_refused(str(bomb), "unfolds to 2097")
    # The sizes that it claims are small: it is told at the first file.
    folded = bomb.read_bytes()
    for claimed in (1, 2**31 - 1):
      bomb.write_bytes(
        folded.replace(
          (2 << 20).to_bytes(4, "little"), claimed.to_bytes(4, "little")
        )
      )
      self.assert_refused(str(bomb), "unfolds to|changed|damaged|more than")
    # A list of files that takes much more memory than its 5 MB.
    with zipfile.ZipFile(bomb, "w") as archive:
      for number in range(60_000):
        archive.writestr(f"{number:05}", b"")
    tracemalloc.start()
    self.assert_refused(str(bomb), "damaged zip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertLess(peak, 2 << 20)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_LZMA) as archive:
      archive.writestr("package.json", b"{}")
    self.assert_refused(str(bomb), "folded by method 14")
    # All files together count, also those of a folder.
    out = self.build("a")
    path = pathlib.Path(out, "package.json")
    index = json.loads(path.read_text())
    for one in index["files"].values():
      one["bytes"] = 1 << 28
    path.write_text(json.dumps(index))
    self.assert_refused(out, "bytes in all files")

  def test_fuzzed_files_and_packages_get_an_error_or_pass(self):
    check_seal(self.model)
    with RuntimeProcess() as runtime:
      self.assertTrue(runtime.runs(self.model))
      files = fuzz_files(800, 77, self.model, runtime)
    for count in (files, fuzz_packages(300, 77)):
      self.assertEqual(count.refused + count.passed, count.cases)
      self.assertGreater(count.refused, 0.5 * count.cases)
      self.assertLess(count.slowest_s, 5.0)
    # Not all of them fall at the digest.
    self.assertGreater(files.run, 100)
    self.assertEqual(files.run + files.not_run, files.passed)

  def test_fuzzing_a_file_that_is_refused_unchanged_is_told(self):
    broken = bytearray(self.model)
    broken[4:8] = b"XXXX"
    with RuntimeProcess() as runtime, self.assertRaises(InputError):
      fuzz_files(1, 0, bytes(broken), runtime)

  def test_a_crash_of_the_runtime_is_told_with_its_file(self):
    with RuntimeProcess() as runtime:
      runtime._process.kill()
      with self.assertRaisesRegex(RuntimeError, "status -9 by .*hostile-") as e:
        runtime.runs(self.model)
    kept = pathlib.Path(str(e.exception).rpartition(" ")[2])
    self.assertEqual(kept.read_bytes(), self.model)
    kept.unlink()

  def test_speaker_groups_are_read(self):
    path = pathlib.Path(self.folder, "SPEAKERS.TXT")
    self.assertEqual(read_speaker_groups(self.folder), {})
    path.write_text("; ID | SEX | SUBSET | ACCENT\n7 | F | eval | en-gb\n")
    self.assertEqual(
      read_speaker_groups(self.folder), {"7": ("sex F", "accent en-gb")}
    )
    path.write_text(";comment | more\n14 | M | train | 25.03 | A Name\n")
    self.assertEqual(read_speaker_groups(self.folder), {"14": ("sex M",)})

  def test_the_page_holds_the_package_and_the_runtime(self):
    litertjs = os.path.join(self.folder, "node_modules")
    with self.assertRaisesRegex(InputError, "npm install"):
      build_page(self.build("a"), litertjs, os.path.join(self.folder, "p"))
    for name in (
      "core/dist/index.js",
      "wasm-utils/dist/index.js",
      *(
        f"core/wasm/litert_wasm_{kind}.{end}"
        for kind in ("internal", "compat_internal")
        for end in ("js", "wasm")
      ),
    ):
      file = pathlib.Path(litertjs, name)
      file.parent.mkdir(parents=True, exist_ok=True)
      file.write_text(name)
    page = os.path.join(self.folder, "p")
    build_page(self.build("a.zip"), litertjs, page)
    check_package(os.path.join(page, "package"))
    html = pathlib.Path(page, "index.html").read_text()
    for name in ("litert/core.js", "litert/wasm-utils.js", "page.js"):
      self.assertIn(name, html)
      self.assertTrue(os.path.isfile(os.path.join(page, name)))
    self.assertNotIn("//", html)
    shutil.rmtree(page)
    pathlib.Path(self.folder, "a.zip").write_bytes(b"x")
    with self.assertRaisesRegex(InputError, "damaged zip"):
      build_page(os.path.join(self.folder, "a.zip"), litertjs, page)
    self.assertFalse(os.path.exists(page))


if __name__ == "__main__":
  absltest.main()
