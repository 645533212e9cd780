"""Pictures to send that are like no others, and bytes that rot."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def noisy_picture(seed: int, *, size: tuple[int, int] = (64, 48), format: str = "JPEG") -> bytes:
    """A picture like no other seed's, hard to make smaller."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    kept = io.BytesIO()
    Image.fromarray(noise).save(kept, format, quality=85)
    return kept.getvalue()


def noisy_pictures(count: int, *, size: tuple[int, int] = (700, 900)) -> list[bytes]:
    """Different pictures that take a moment."""
    return [noisy_picture(seed, size=size) for seed in range(count)]


def flip_a_byte(file: Path, *, at: int | None = None) -> None:
    """One bit of the file is another from now on; one in the middle, unless told where."""
    with file.open("r+b") as opened:
        place = file.stat().st_size // 2 if at is None else at
        opened.seek(place)
        [byte] = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte ^ 0x10]))
