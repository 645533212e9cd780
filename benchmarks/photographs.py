"""Noisy photographs of 12 megapixels, as phones take them; each different, so none deduplicates."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 4000, 3000


def photograph(seed: int, *, quality: int = 80) -> bytes:
    """A JPEG of about 3 MB: shapes, gradients and a sensor's grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    picture = np.stack(
        [
            120 + 80 * np.sin(x / rng.uniform(200, 900) + k) * np.cos(y / rng.uniform(200, 900))
            for k in range(3)
        ],
        axis=-1,
    )
    for _ in range(60):
        left, top = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        size = rng.integers(40, 500)
        picture[top : top + size, left : left + size] += rng.uniform(-60, 60, 3)
    grain = rng.normal(0, 11, (HEIGHT // 2, WIDTH // 2, 1)).repeat(2, 0).repeat(2, 1)
    picture += grain + rng.normal(0, 3, (HEIGHT, WIDTH, 1))
    buffer = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def small_picture(seed: int) -> bytes:
    """A JPEG of 160 × 120 pixels: so little to decode that everything else shows."""
    noise = np.random.default_rng(seed).integers(0, 255, (120, 160, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def variant(base: bytes, number: int | str) -> bytes:
    """The same picture with other bytes: a comment is put in after the JPEG's first marker."""
    text = f"variant {number}".encode()
    return base[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + base[2:]
