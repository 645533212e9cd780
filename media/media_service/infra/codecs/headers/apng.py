"""What moves in an animated PNG: the chunks of PNG (third edition), section 11.3.6.

A decoder for still pictures shows the first picture and skips the rest, so each frame is read
here as a still PNG of its own, put together of the file's own chunks.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterable
from typing import Final

from media_service.core.errors import BrokenFile
from media_service.infra.codecs.headers.limits import Buffer, check_pixels

Chunk = tuple[bytes, int, int]
"""Name, offset of the content, length."""

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SHARED: Final = frozenset({b"PLTE", b"tRNS"})
_HUNDREDTHS: Final = 100
"""What a delay is counted in whose denominator is zero."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame: where on the canvas, for how long, and what becomes of it afterwards."""

    width: int
    height: int
    left: int
    top: int
    duration_ms: int
    disposal: int
    """0: it stays; 1: its place becomes transparent; 2: what was there before comes back."""
    is_over: bool
    """Whether what is transparent in it shows what was there before."""
    pixels: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Offset and length of each piece of its compressed pixels."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Animation:
    """The frames of an animated PNG, and how often they are played (0: for ever)."""

    plays: int
    frames: list[Frame]
    shared: list[Chunk]
    header: bytes

    def still(self, data: Buffer, frame: Frame) -> bytes:
        """One frame as a PNG file, without metadata."""
        header = struct.pack(">II", frame.width, frame.height) + self.header[8:]
        shared = b"".join(_chunk(kind, data[at : at + length]) for kind, at, length in self.shared)
        pixels = b"".join(data[at : at + length] for at, length in frame.pixels)
        return b"".join(
            (SIGNATURE, _chunk(b"IHDR", header), shared, _chunk(b"IDAT", pixels), _chunk(b"IEND"))
        )


def read_animation(data: Buffer, chunks: Iterable[Chunk]) -> Animation | None:
    """What moves in a PNG of these chunks; None if nothing does.

    Raises BrokenFile, TooManyPixels, TooComplex.
    """
    reading = _Reading(data)
    for kind, at, length in chunks:
        reading.take(kind, at, length)
    return reading.done()


class _Reading:
    """Sorts chunks into frames. A file is animated only if it says so before its first picture."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._header = b""
        self._count = self._plays = 0
        self._has_pixels = False
        self._frames: list[Frame] = []
        self._shared: list[Chunk] = []

    def take(self, kind: bytes, at: int, length: int) -> None:
        """The next chunk."""
        if kind == b"IHDR":
            self._header = bytes(self._data[at : at + length])
        elif kind in _SHARED:
            self._shared.append((kind, at, length))
        elif kind == b"acTL" and not self._has_pixels:
            self._count, self._plays = struct.unpack_from(">II", self._data, at)
        elif kind == b"fcTL" and self._count:
            self._begin(at)
        elif kind == b"IDAT":
            self._has_pixels = True
            if self._frames:
                self._frames[-1].pixels.append((at, length))
        elif kind == b"fdAT" and self._frames:
            self._frames[-1].pixels.append((at + 4, length - 4))

    def _begin(self, at: int) -> None:
        _, width, height, left, top, delay, unit, disposal, blend = struct.unpack_from(
            ">IIIIIHHBB", self._data, at
        )
        across, down = struct.unpack_from(">II", self._header)
        if not (width and height) or left + width > across or top + height > down:
            raise BrokenFile
        if disposal > 2 or blend > 1:
            raise BrokenFile
        self._frames.append(
            Frame(
                width=width,
                height=height,
                left=left,
                top=top,
                duration_ms=max(1, round(1000 * delay / (unit or _HUNDREDTHS))),
                disposal=disposal,
                is_over=blend == 1,
            )
        )
        check_pixels(across, down, frames=len(self._frames))

    def done(self) -> Animation | None:
        """What all chunks together are. Raises BrokenFile if frames or their pixels are missing."""
        if self._count < 2 and len(self._frames) < 2:
            return None
        if len(self._frames) != self._count or not all(f.pixels for f in self._frames):
            raise BrokenFile
        return Animation(
            plays=self._plays, frames=self._frames, shared=self._shared, header=self._header
        )


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
