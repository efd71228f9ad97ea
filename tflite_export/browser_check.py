"""Runs the web page in headless Chromium, as a user would."""

import base64
import dataclasses
import functools
import http.server
import json
import os
import queue
import subprocess
import tempfile
import threading
from typing import Any

from lingvo_lite.stage.errors import InputError

_TIMEOUT_S = 240
_DRIVER = """<!doctype html>
<iframe id="page" src="/index.html" allow="microphone" style="border: 0;
  width: 700px; height: 520px"></iframe>
<script type="module">
const settings = await (await fetch('/settings')).json();
const frame = document.getElementById('page');
await new Promise((done) => { frame.onload = done; });
const find = (id) => frame.contentDocument.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const status = async (wanted) => {
  for (;;) {
    const text = find('status')?.textContent ?? '';
    if (wanted.test(text)) return text;
    if (/^Error/.test(text)) throw new Error(text);
    await wait(50);
  }
};
const result = {files: [], microphone: null, error: null};
try {
  await status(/ready/);
  const sound = await (await fetch('/sound.wav')).blob();
  const select = find('model');
  const choose = async (option) => {
    select.value = option.value;
    select.onchange();
    await wait(200);
    return status(/ready/);
  };
  for (const option of [...select.options]) {
    const loaded = await choose(option);
    const files = new DataTransfer();
    files.items.add(new File([sound], 'sound.wav'));
    find('file').files = files.files;
    find('file').onchange();
    await status(/Done/);
    result.files.push({model: option.textContent, loaded,
      text: find('text').textContent, speed: find('speed').textContent});
  }
  await choose(select.options[0]);
  find('speak').onclick();
  await status(/Listening/);
  const partial = [];
  for (let passed = 0; passed < settings.listen_ms; passed += 200) {
    await wait(200);
    const text = find('text').textContent;
    if (text && text !== partial.at(-1)) partial.push(text);
  }
  find('speak').onclick();
  await status(/Done/);
  const heard = await (await fetch(find('heard').href)).arrayBuffer();
  let bytes = '';
  for (const byte of new Uint8Array(heard)) bytes += String.fromCharCode(byte);
  result.microphone = {partial, text: find('text').textContent,
    speed: find('speed').textContent, wav_base64: btoa(bytes)};
} catch (error) {
  result.error = String(error.stack ?? error);
}
await fetch('/result', {method: 'POST', body: JSON.stringify(result)});
</script>
"""

# The page with a file recognised. A picture is taken once nothing loads and
# this much of the browser's own time has passed.
_PICTURE = """<!doctype html>
<iframe id="page" src="/index.html" style="border: 0; width: 700px;
  height: 520px"></iframe>
<script type="module">
const frame = document.getElementById('page');
await new Promise((done) => { frame.onload = done; });
const find = (id) => frame.contentDocument.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
while (!/ready/.test(find('status')?.textContent ?? '')) await wait(50);
const sound = await (await fetch('/sound.wav')).blob();
const files = new DataTransfer();
files.items.add(new File([sound], 'sound.wav'));
find('file').files = files.files;
find('file').onchange();
while (!/Done/.test(find('status').textContent)) await wait(50);
// The clock of this picture runs as it likes: the speed would be wrong.
find('speed').textContent = '';
</script>
"""


@dataclasses.dataclass(frozen=True)
class MicrophoneResult:
  """What the page made of the microphone's sound.

  Attributes:
    text: the transcript in the end.
    partial: the transcripts that were shown while it listened.
    speed: what the page says of its speed.
    wav: the sound that it got, a WAV file.
  """

  text: str
  partial: tuple[str, ...]
  speed: str
  wav: bytes


@dataclasses.dataclass(frozen=True)
class BrowserResult:
  """What the page did.

  Attributes:
    files: of each model of the ladder: what the list says of it, how long it
      took to load, the text of the file, the speed.
    microphone: with the first model.
  """

  files: tuple[dict[str, str], ...]
  microphone: MicrophoneResult


def run_page(
  page: str, wav: str, chromium: str, listen_s: float, picture: str | None
) -> BrowserResult:
  """Gives a sound to the page, as a file to each model and by microphone.

  Args:
    page: what `build_page` wrote.
    wav: a 16-bit mono WAV file; also what Chromium's fake microphone hears.
    chromium: the browser's command.
    listen_s: how long to listen.
    picture: where a picture of the page goes, PNG; None: no picture.

  Raises:
    InputError: Chromium is missing, or the page failed or took too long.
  """
  answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
  with open(wav, "rb") as file:
    sound = file.read()
  extra = {
    "/driver.html": ("text/html", _DRIVER.encode()),
    "/picture.html": ("text/html", _PICTURE.encode()),
    "/settings": (
      "application/json",
      json.dumps({"listen_ms": listen_s * 1000}).encode(),
    ),
    "/sound.wav": ("audio/wav", sound),
  }
  handler = functools.partial(_Handler, extra, answers, directory=page)
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  address = f"http://127.0.0.1:{server.server_port}"
  try:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
      command = [
        chromium,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        f"--user-data-dir={profile}",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={os.path.abspath(wav)}%noloop",
      ]
      answer = _drive([*command, f"{address}/driver.html"], answers)
      if picture is not None:
        shot = [
          f"--screenshot={os.path.abspath(picture)}",
          "--window-size=720,540",
          "--virtual-time-budget=30000",
        ]
        subprocess.run(
          [*command, *shot, f"{address}/picture.html"],
          capture_output=True,
          timeout=_TIMEOUT_S,
          check=True,
        )
  finally:
    server.shutdown()
    server.server_close()
  if answer["error"]:
    raise InputError(f"found the page to fail ({answer['error']})")
  heard = answer["microphone"]
  return BrowserResult(
    tuple(answer["files"]),
    MicrophoneResult(
      heard["text"],
      tuple(heard["partial"]),
      heard["speed"],
      base64.b64decode(heard["wav_base64"]),
    ),
  )


def _drive(
  command: list[str], answers: queue.SimpleQueue[dict[str, Any]]
) -> dict[str, Any]:
  try:
    browser = subprocess.Popen(
      command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
  except OSError as error:
    raise InputError(
      f"found no browser {command[0]} ({error.strerror}), expected Chromium:"
      " install it or name it with --chromium"
    ) from None
  try:
    return answers.get(timeout=_TIMEOUT_S)
  except queue.Empty:
    raise InputError(
      f"found no answer of the page in {_TIMEOUT_S} s, expected one: open it in"
      " a browser to see what it says"
    ) from None
  finally:
    browser.terminate()
    browser.wait(30)


class _Handler(http.server.SimpleHTTPRequestHandler):
  """Serves the page, the driver, and takes the answer."""

  def __init__(self, extra, answers, *args, **kwargs):
    self._extra = extra
    self._answers = answers
    super().__init__(*args, **kwargs)

  def do_GET(self) -> None:
    found = self._extra.get(self.path)
    if found is None:
      super().do_GET()
      return
    kind, contents = found
    self.send_response(200)
    self.send_header("Content-Type", kind)
    self.send_header("Content-Length", str(len(contents)))
    self.end_headers()
    self.wfile.write(contents)

  def do_POST(self) -> None:
    size = int(self.headers["Content-Length"])
    answer = json.loads(self.rfile.read(size))
    self.send_response(204)
    self.end_headers()
    self._answers.put(answer)

  def log_message(self, *args) -> None:
    """Says nothing: the page's own messages are what counts."""
