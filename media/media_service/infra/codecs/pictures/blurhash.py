"""BlurHash: a picture's colours in 28 letters, shown until the picture itself has arrived.

The algorithm of https://github.com/woltapp/blurhash, as a few matrix products.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

COLUMNS: Final = 4
ROWS: Final = 3

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_Floats = npt.NDArray[np.float64]


def encode_blurhash(pixels: npt.NDArray[np.uint8]) -> str:
    """The hash of sRGB pixels (rows x columns x 3), in 4 x 3 components."""
    height, width, _ = pixels.shape
    linear = _TO_LINEAR[pixels]
    across, down = _cosines(width, COLUMNS), _cosines(height, ROWS)
    bands = (down @ linear.reshape(height, -1)).reshape(ROWS, width, 3)
    weights: _Floats = (across @ bands).reshape(-1, 3) / (width * height)
    average, rest = weights[0], 2 * weights[1:]

    quantised_peak = int(np.clip(np.floor(np.abs(rest).max() * 166 - 0.5), 0, 82))
    peak = (quantised_peak + 1) / 166
    letters = [_base83((COLUMNS - 1) + (ROWS - 1) * 9, length=1), _base83(quantised_peak, length=1)]
    letters.append(_base83(_pack(_to_srgb(average), base=256), length=4))
    roots = np.sign(rest) * np.sqrt(np.abs(rest / peak))
    steps = np.clip(np.floor(roots * 9 + 9.5), 0, 18).astype(int)
    letters.extend(_base83(_pack(triple, base=19), length=2) for triple in steps)
    return "".join(letters)


def _linear_table() -> _Floats:
    values = np.arange(256) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


_TO_LINEAR = _linear_table()


def _to_srgb(linear: _Floats) -> npt.NDArray[np.int_]:
    values = np.clip(linear, 0, 1)
    curved = np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
    return (curved * 255 + 0.5).astype(int)


def _cosines(length: int, components: int) -> _Floats:
    """One row for each component: its wave along a side of this length."""
    return np.cos(np.pi * np.outer(np.arange(components), np.arange(length)) / length)


def _pack(digits: npt.NDArray[np.int_], *, base: int) -> int:
    red, green, blue = (int(digit) for digit in digits)
    return (red * base + green) * base + blue


def _base83(value: int, *, length: int) -> str:
    return "".join(_ALPHABET[value // 83**place % 83] for place in reversed(range(length)))
