"""Paints `photo.jpg`: a picture as a phone would send it, and nobody's copyright.

It lies on its side with an EXIF orientation, and tells a position and a serial number that must
not leave the house.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

WIDTH, HEIGHT = 1600, 1200
ROTATED_LEFT = 6


def ridge(x: np.ndarray, *, seed: int, height: float, roughness: float) -> np.ndarray:
    """The outline of a mountain range, by a sum of waves."""
    rng = np.random.default_rng(seed)
    waves = sum(
        np.sin(x * f * 2 * np.pi + rng.uniform(0, 7)) * roughness / f for f in (1, 2, 5, 11, 23, 47)
    )
    return height + waves


def paint() -> Image.Image:
    """An evening over a lake."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / np.array([HEIGHT, WIDTH]).reshape(2, 1, 1)
    dusk, glow = np.array([46, 58, 112]), np.array([250, 170, 98])
    picture = dusk + (glow - dusk) * np.clip(y / 0.62, 0, 1)[..., None] ** 1.6
    sun = np.exp(-(((x - 0.68) * 4 / 3) ** 2 + (y - 0.47) ** 2) / 0.0035)[..., None]
    picture = picture + (np.array([255, 244, 214]) - picture) * np.clip(sun * 1.4, 0, 1)
    layers = (
        (3, 0.50, 0.05, (96, 74, 110)),
        (8, 0.56, 0.04, (62, 50, 84)),
        (21, 0.61, 0.02, (34, 32, 58)),
    )
    for seed, height, roughness, colour in layers:
        line = ridge(x, seed=seed, height=height, roughness=roughness)
        picture = np.where((y > line)[..., None], np.array(colour, float), picture)
    mirror = picture[::-1][: int(HEIGHT * 0.36)] * 0.72 + np.array([8, 14, 30])
    ripples = np.sin(y * 900 + np.sin(x * 40) * 3)[int(HEIGHT * 0.64) :, :, None] * 7
    picture[int(HEIGHT * 0.64) :] = mirror[: HEIGHT - int(HEIGHT * 0.64)] + ripples
    noise = np.random.default_rng(1).normal(0, 4, picture.shape)
    return Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))


def exif() -> Image.Exif:
    """What a phone says about where and by what a picture was taken."""
    told = Image.Exif()
    told[0x0112] = ROTATED_LEFT
    told[0x010F], told[0x0110] = "Example", "Phone 1"
    told.get_ifd(0x8769)[0xA431] = "SERIAL-0042"
    degrees = tuple(IFDRational(n) for n in (46, 33, 12))
    told.get_ifd(0x8825).update({1: "N", 2: degrees, 3: "E", 4: degrees})
    return told


if __name__ == "__main__":
    stored = paint().transpose(Image.Transpose.ROTATE_90)
    stored.save(Path(__file__).with_name("photo.jpg"), quality=82, exif=exif())
