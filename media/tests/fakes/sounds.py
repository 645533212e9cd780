"""Sounds made by a real encoder, the wheel's ffmpeg: of every codec and container; hostile ones.

All are a tone of 440 Hz that swells and fades twice a second, at half of full scale at its loudest.
Each is made once per process.
"""

from __future__ import annotations

import functools
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Final

from fakes.boxes import overwritten
from fakes.films import run_ffmpeg
from media_service.core.formats import Format

LOUDEST: Final = 0.5
SECONDS: Final = 2.0
CANARY: Final = b"CanaryTitle at 51.5007"
COVER_CANARY: Final = b"canary-cover"

_KINDS: Final = {
    "mp3": (Format.MP3, "-c:a libmp3lame -b:a 64k -f mp3"),
    "m4a": (Format.M4A, "-c:a aac -b:a 96k -f ipod"),
    "adts": (Format.AAC, "-c:a aac -b:a 96k -f adts"),
    "opus": (Format.OGG, "-c:a libopus -b:a 32k -f ogg"),
    "vorbis": (Format.OGG, "-c:a libvorbis -q:a 2 -f ogg"),
    "flac in ogg": (Format.OGG, "-c:a flac -f ogg"),
    "weba": (Format.WEBA, "-c:a libopus -b:a 32k -f webm -live 1"),
    "wav": (Format.WAV, "-c:a pcm_s16le -f wav"),
    "wav of 8 bits": (Format.WAV, "-c:a pcm_u8 -f wav"),
    "wav of 24 bits": (Format.WAV, "-c:a pcm_s24le -f wav"),
    "wav of floats": (Format.WAV, "-c:a pcm_f32le -f wav"),
    "flac": (Format.FLAC, "-c:a flac -f flac"),
    "m4a in fragments": (Format.M4A, "-c:a aac -movflags +frag_keyframe+empty_moov -f ipod"),
    "alac": (Format.M4A, "-c:a alac -f ipod"),
}  # fmt: skip
DECODED: Final = tuple(name for name in _KINDS if name != "alac")


def format_of(kind: str) -> Format:
    """What `sniff` takes it for once it was inspected."""
    return _KINDS[kind][0]


@functools.cache
def sound(
    kind: str,
    *,
    seconds: float = SECONDS,
    rate: int = 44_100,
    channels: int = 1,
    tags: bool = False,
    loudness: float = LOUDEST,
) -> bytes:
    """A file of this kind; with `tags` it says CANARY, and has chapters where it can."""
    swell = f"{loudness}*sin(880*PI*t)*(0.1+0.9*abs(sin(2*PI*t)))"
    return _encoded(f"aevalsrc='{swell}':s={rate}:d={seconds}", kind, channels, tags=tags)


@functools.cache
def silence(kind: str = "opus") -> bytes:
    """Nothing to hear."""
    return _encoded(f"anullsrc=r=48000:cl=mono:d={SECONDS}", kind, 1, tags=False)


def _encoded(source: str, kind: str, channels: int, *, tags: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        said = Path(folder) / "said"
        text = CANARY.decode()
        said.write_text(
            f";FFMETADATA1\ntitle={text}\nartist={text}\ncomment={text}\n"
            f"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle={text}\n"
        )
        extra = ["-i", str(said), "-map_metadata", "1"] if tags else []
        layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[channels]
        run_ffmpeg(
            *("-f", "lavfi", "-i", source, *extra, "-map", "0:a"),
            *("-af", f"aformat=channel_layouts={layout}"),
            *_KINDS[kind][1].split(),
            str(made),
        )
        return made.read_bytes()


def cut_sound() -> bytes:
    """An M4A of which an edit list hides the first second."""
    content = sound("m4a")
    start = struct.pack(">I", 44_100)
    return overwritten(content, b"moov", b"trak", b"edts", b"elst", at=12, with_=start)


def beyond_full_scale() -> bytes:
    """A WAV of floating point with no number, infinity and far too large ones among its samples."""
    content = bytearray(sound("wav of floats", seconds=0.2))
    start = content.index(b"data") + 8
    for i, value in enumerate((float("nan"), float("inf"), -1e30, 7.0)):
        struct.pack_into("<f", content, start + 400 * i, value)
    return bytes(content)


def with_id3(content: bytes, tag: bytes) -> bytes:
    """An MP3 with this ID3v2.4 tag (of frames) before it."""
    return b"ID3\x04\0\0" + _synchsafe(len(tag)) + tag + content


def many_texts(size: int) -> bytes:
    """ID3 frames of text, each with a description of its own: so many bytes."""
    frames, total, i = [], 0, 0
    while total < size:
        frames.append(_frame(b"TXXX", b"\0%x\0v" % i))
        total, i = total + len(frames[-1]), i + 1
    return b"".join(frames)


def cover(picture: bytes) -> bytes:
    """An ID3 frame with a picture."""
    return _frame(b"APIC", b"\0image/png\0\x03" + COVER_CANARY + b"\0" + picture)


def png_bomb() -> bytes:
    """A PNG that unpacks to 2.5 gigabytes."""
    row = zlib.compress(bytes(30_000), 9)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def _frame(kind: bytes, body: bytes) -> bytes:
    return kind + _synchsafe(len(body)) + b"\0\0" + body


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def flac_with_block(kind: int, body: bytes, *, stated: int | None = None) -> bytes:
    """A FLAC with this metadata block after its first, whatever size it states."""
    content = sound("flac", seconds=0.5)
    size = len(body) if stated is None else stated
    return content[:42] + bytes([kind]) + size.to_bytes(3, "big") + body + content[42:]


def comments(count: int) -> bytes:
    """A Vorbis comment header's content: so many short ones."""
    listed = b"".join(struct.pack("<I", len(c)) + c for c in (b"%x=v" % i for i in range(count)))
    return struct.pack("<II", 0, count) + listed


def wav_that_says(
    *, rate: int = 8000, channels: int = 1, data_bytes: int = 8000, riff_bytes: int = 8036
) -> bytes:
    """One second of 8-bit samples under a header that says this."""
    align = channels % 65_536
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * align % 2**32, align, 8)
    head = b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
    body = bytes(128 + i % 64 for i in range(8000))
    return head + b"data" + struct.pack("<I", data_bytes) + body


def chained(count: int) -> bytes:
    """So many Ogg streams, one after the other, each with a serial number of its own."""
    link = sound("vorbis", seconds=0.05)
    return b"".join(_renumbered(link, serial) for serial in range(count))


def _renumbered(pages: bytes, serial: int) -> bytes:
    made, at = [], 0
    while at < len(pages):
        segments = pages[at + 26]
        length = 27 + segments + sum(pages[at + 27 : at + 27 + segments])
        page = bytearray(pages[at : at + length])
        struct.pack_into("<I", page, 14, serial)
        struct.pack_into("<I", page, 22, 0)
        struct.pack_into("<I", page, 22, _ogg_checksum(bytes(page)))
        made.append(bytes(page))
        at += length
    return b"".join(made)


@functools.cache
def _ogg_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


def _ogg_checksum(page: bytes) -> int:
    table, value = _ogg_table(), 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value
