"""HDR and wide colours to sRGB, for stills of films.

libswscale maps tones too, but computes a table of 1.3 CPU seconds for every picture.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorTrc

_Floats = npt.NDArray[np.float32]

_LEVELS: Final = 4096
_WHITE_NITS: Final = 203.0
"""What shows paper white in HDR (ITU-R BT.2408)."""
_HLG_PEAK_NITS: Final = 1000.0
_KNEE: Final = 0.7
"""Darker than this of white stays as it is; what is brighter is pressed into what remains."""
_STRIP_ROWS: Final = 128
_TO_BT709: Final = {
    ColorPrimaries.BT2020: (
        (1.6605, -0.5876, -0.0728),
        (-0.1246, 1.1329, -0.0083),
        (-0.0182, -0.1006, 1.1187),
    ),
    ColorPrimaries.SMPTE432: (
        (1.2249, -0.2247, 0.0),
        (-0.0420, 1.0419, 0.0),
        (-0.0197, -0.0786, 1.0979),
    ),
}


def is_srgb_alike(*, transfer: int, primaries: int) -> bool:
    """Whether the colours may be shown as they are."""
    is_hdr = transfer in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
    return not is_hdr and primaries not in _TO_BT709


def to_srgb(
    pixels: npt.NDArray[np.uint16], *, transfer: int, primaries: int
) -> npt.NDArray[np.uint8]:
    """Rows x columns x RGB in 16 bits a channel, as a film means them, in sRGB."""
    table = _linear_table(transfer)
    matrix = np.array(_TO_BT709.get(ColorPrimaries(primaries), np.eye(3)), np.float32)
    converted = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        light = table[strip >> 4] @ matrix.T
        converted[top : top + len(strip)] = _SRGB[_mapped(light)]
    return converted


def _mapped(light: _Floats) -> npt.NDArray[np.uint16]:
    """Highlights pressed below white, hues kept; in 16 bits."""
    brightest = light.max(axis=-1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    pressed = _KNEE + (1 - _KNEE) * over / (1 + over)
    share = np.where(over > 0, pressed / np.maximum(brightest, _KNEE), 1)
    return (np.clip(light * share, 0, 1) * 65535).astype(np.uint16)


def _linear_table(transfer: int) -> _Floats:
    """Light, where 1 is white, by the upper 12 bits of a value."""
    values = np.arange(_LEVELS) / (_LEVELS - 1)
    if transfer == ColorTrc.SMPTE2084:
        light = _pq_nits(values) / _WHITE_NITS
    elif transfer == ColorTrc.ARIB_STD_B67:
        light = _HLG_PEAK_NITS * _hlg_scene(values) ** 1.2 / _WHITE_NITS
    else:
        light = values**2.4 * _KNEE
    return light.astype(np.float32)


def _pq_nits(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """SMPTE ST 2084."""
    root = values ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
        1 / 0.1593017578125
    )


def _hlg_scene(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ITU-R BT.2100, hybrid log-gamma."""
    return np.where(
        values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12
    )


def _srgb_table() -> npt.NDArray[np.uint8]:
    values = np.arange(65536) / 65535
    curved = np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
    return (curved * 255 + 0.5).astype(np.uint8)


_SRGB: Final = _srgb_table()
