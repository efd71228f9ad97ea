"""Reads what an audio file says about itself, before anything is decoded.

The header gives the decoder what tensorflow-io does not (format, sample rate)
and lets a far too long file be refused without decoding it.
"""

import dataclasses
import mmap
import struct

from lingvo_lite.stage.errors import InputError

Buffer = bytes | mmap.mmap

# What `decode` knows how to decode, in the order of its branches.
KINDS = (
  "wav_uint8",
  "wav_int16",
  "wav_int24",
  "wav_int32",
  "wav_float32",
  "flac",
  "vorbis",
  "mp3",
)

_EXPECTED = "expected WAV, FLAC, Ogg/Vorbis or MP3: convert it to one of them"


@dataclasses.dataclass(frozen=True)
class AudioHeader:
  """What the header of an audio file says.

  Attributes:
    kind: one of `KINDS`.
    sample_rate_hz: samples a second and channel.
    channels: how many.
    frames: samples a channel; of MP3 with what the codec adds at its ends.
    data_start: first byte of the samples (WAV only, else 0).
    data_bytes: how many bytes of samples (WAV only, else 0).
  """

  kind: str
  sample_rate_hz: int
  channels: int
  frames: int
  data_start: int = 0
  data_bytes: int = 0

  def __post_init__(self) -> None:
    if not 1_000 <= self.sample_rate_hz <= 384_000:
      raise InputError(
        f"found a sample rate of {self.sample_rate_hz} Hz, expected 1000 to "
        "384000: the header is damaged, make the file again"
      )
    if not 1 <= self.channels <= 64:
      raise InputError(
        f"found {self.channels} channels, expected 1 to 64: the header is "
        "damaged, make the file again"
      )

  @property
  def duration_s(self) -> float:
    """Seconds of audio."""
    return self.frames / self.sample_rate_hz


def parse_header(contents: Buffer) -> AudioHeader:
  """Reads the header of a whole audio file, told apart by its magic bytes.

  Args:
    contents: all bytes of the file; a memory map is read only where needed.

  Returns:
    What the header says.

  Raises:
    InputError: if the file is empty, truncated, damaged or of another format.
  """
  if not len(contents):
    raise InputError("found an empty file, " + _EXPECTED)
  magic = bytes(contents[:12])
  try:
    if magic[:4] == b"RIFF" and magic[8:12] == b"WAVE":
      return _parse_wav(contents)
    if magic[:4] == b"fLaC":
      return _parse_flac(contents)
    if magic[:4] == b"OggS":
      return _parse_vorbis(contents)
    if magic[:3] == b"ID3" or _is_mp3_frame(magic):
      return _parse_mp3(contents)
  except (struct.error, IndexError):
    raise truncated("in its header") from None
  raise InputError(f"found a file that begins with {magic[:4]!r}, {_EXPECTED}")


def truncated(where: str) -> InputError:
  """Returns the error for a file that ends before its audio does."""
  return InputError(
    f"found a truncated or damaged file ({where}), expected whole audio: "
    "copy or record it again"
  )


def _parse_wav(contents: Buffer) -> AudioHeader:
  """Walks the RIFF chunks up to the samples."""
  position, form = 12, None
  while True:
    name, size = struct.unpack("<4sI", contents[position : position + 8])
    position += 8
    if name == b"fmt ":
      form = struct.unpack("<HHIIHH", contents[position : position + 16])
      if form[0] == 0xFFFE:  # Extensible: the real format begins its GUID.
        guid = contents[position + 24 : position + 26]
        form = struct.unpack("<H", guid) + form[1:]
    elif name == b"data":
      break
    position += size + size % 2
  if form is None:
    raise truncated("no format before the samples")
  code, channels, rate, _, block_bytes, bits = form
  kind = {
    (1, 8): "wav_uint8",
    (1, 16): "wav_int16",
    (1, 24): "wav_int24",
    (1, 32): "wav_int32",
    (3, 32): "wav_float32",
  }.get((code, bits))
  if kind is None or block_bytes != channels * bits // 8:
    raise InputError(
      f"found a WAV file of format {code} with {bits} bits, expected PCM of "
      "8, 16, 24 or 32 bits or 32-bit float: convert it"
    )
  if position + size > len(contents):
    missing = position + size - len(contents)
    raise truncated(f"{missing} of {size} bytes of samples are missing")
  return AudioHeader(kind, rate, channels, size // block_bytes, position, size)


def _parse_flac(contents: Buffer) -> AudioHeader:
  """Reads the STREAMINFO block, which comes first."""
  # 20 bits rate, 3 bits channels - 1, 5 bits (bits a sample) - 1, 36 bits
  # frames.
  (packed,) = struct.unpack(">Q", contents[18:26])
  frames = packed & (1 << 36) - 1
  if not frames:
    raise InputError(
      "found a FLAC stream of unknown length, expected a finished FLAC file: "
      "encode it again into a file"
    )
  return AudioHeader(
    "flac",
    sample_rate_hz=packed >> 44,
    channels=(packed >> 41 & 7) + 1,
    frames=frames,
  )


def _parse_vorbis(contents: Buffer) -> AudioHeader:
  """Reads the identification header and the last page's position."""
  segments = contents[26]
  start = 27 + segments
  if bytes(contents[start : start + 7]) != b"\x01vorbis":
    codec = bytes(contents[start : start + 8])
    raise InputError(f"found an Ogg file that holds {codec!r}, {_EXPECTED}")
  channels, rate = struct.unpack("<BI", contents[start + 11 : start + 16])
  # The stream ends with a whole page that is marked as the last one.
  page = contents.rfind(b"OggS")
  flags, frames = struct.unpack("<Bq", contents[page + 5 : page + 14])
  sizes = contents[page + 27 : page + 27 + contents[page + 26]]
  if not flags & 4 or page + 27 + len(sizes) + sum(sizes) > len(contents):
    raise truncated("its last page is missing")
  return AudioHeader("vorbis", rate, channels, frames)


# Bit rates in kbit/s of layer III, by MPEG version 1 and 2 (also 2.5).
_MP3_KBPS = {
  1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
  2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000)}
_MP3_RATES_HZ[0] = (11025, 12000, 8000)


def _is_mp3_frame(head: bytes) -> bool:
  """Whether `head` begins an MPEG audio frame of layer III."""
  return (
    len(head) >= 4
    and head[0] == 0xFF
    and head[1] & 0xE6 == 0xE2
    and head[1] >> 3 & 3 != 1
    and 0 < head[2] >> 4 < 15
    and head[2] >> 2 & 3 < 3
  )


def _parse_mp3(contents: Buffer) -> AudioHeader:
  """Walks the frames: MP3 has no header that tells the length."""
  position = 0
  if bytes(contents[:3]) == b"ID3":
    a, b, c, d = struct.unpack("4B", contents[6:10])
    position = 10 + (a << 21 | b << 14 | c << 7 | d)
  while contents[position] == 0:  # Some writers pad the tag.
    position += 1
  head = bytes(contents[position : position + 4])
  if not _is_mp3_frame(head):
    raise truncated("no MP3 frame at its beginning")
  version = head[1] >> 3 & 3
  rate = _MP3_RATES_HZ[version][head[2] >> 2 & 3]
  channels = 1 if head[3] >> 6 == 3 else 2
  frame_samples = 1152 if version == 3 else 576
  frames = 0
  while _is_mp3_frame(head):
    kbps = _MP3_KBPS[1 if version == 3 else 2][head[2] >> 4]
    size = frame_samples // 8 * kbps * 1000 // rate + (head[2] >> 1 & 1)
    if position + size > len(contents):
      raise truncated("its last MP3 frame is cut")
    frames += frame_samples
    position += size
    head = bytes(contents[position : position + 4])
  return AudioHeader("mp3", rate, channels, frames)
