"""How much a picture may be: pixels, metadata, blocks."""

from __future__ import annotations

import dataclasses
import mmap
from typing import Final

from media_service.core.errors import BrokenFile, MetadataTooLarge, TooComplex, TooManyPixels
from media_service.core.renditions import (
    MAX_FRAME_PIXELS,
    MAX_MOVING_FRAME_PIXELS,
    MAX_SIDE,
    MAX_TOTAL_PIXELS,
)

Buffer = bytes | mmap.mmap

MAX_METADATA_BYTES: Final = 1024 * 1024
MAX_FRAMES: Final = 10_000
"""Tiny frames stay within the pixels in any number, but each costs its own overhead."""
MAX_DURATION_MS: Final = 2**31 - 1
"""What a database's integer holds: 24 days."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A picture as stored: `orientation` (EXIF, 1 to 8) says how to turn it upright."""

    width: int
    height: int
    frames: int = 1
    orientation: int = 1
    profile: bytes = b""

    def __post_init__(self) -> None:
        check_pixels(self.width, self.height, frames=self.frames)


def check_pixels(width: int, height: int, *, frames: int = 1) -> None:
    """Raise BrokenFile, TooManyPixels or TooComplex for what must not be decoded."""
    if width <= 0 or height <= 0 or frames <= 0:
        raise BrokenFile
    pixels = width * height
    most_a_frame = MAX_FRAME_PIXELS if frames == 1 else MAX_MOVING_FRAME_PIXELS
    if max(width, height) > MAX_SIDE or pixels > most_a_frame:
        raise TooManyPixels
    if pixels * frames > MAX_TOTAL_PIXELS:
        raise TooManyPixels
    if frames > MAX_FRAMES:
        raise TooComplex


class MetadataBudget:
    """Counts the bytes that are not pixels."""

    def __init__(self) -> None:
        self.left_bytes = MAX_METADATA_BYTES

    def spend(self, size_bytes: int) -> None:
        """Raise MetadataTooLarge once it is more than is allowed in all."""
        self.left_bytes -= size_bytes
        if self.left_bytes < 0:
            raise MetadataTooLarge
