"""The wave of a sound: its peaks, gathered while it is decoded, as numbers and as a picture."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import numpy.typing as npt

from media_service.core.recipes import PictureRecipe, WaveformRecipe
from media_service.infra.codecs.pictures.raster import Raster

Amplitudes = npt.NDArray[np.float32]

_MOST_BLOCKS: Final = 1 << 16
_GATHERED: Final = 1 << 16
"""So many amplitudes are taken at a time: numpy's calls cost more than their work."""
_DECIMALS: Final = 3

_PITCH: Final = 10
"""Pixels from one bar to the next; of these a bar takes six."""
_BAR: Final = 6
_COLOUR: Final = (96, 128, 224)
"""A blue with more than 3:1 to white and 4:1 to black, so that it shows on light and dark."""


class Peaks:
    """The loudest sample of each block; blocks double when there are too many of them.

    So the memory it takes doesn't grow, and each bucket of `buckets` is right to 1/32768 of the
    whole length.
    """

    def __init__(self) -> None:
        self._blocks: Amplitudes = np.zeros(_MOST_BLOCKS, np.float32)
        self._count = 0
        self._samples_a_block = 1
        self._gathered: list[Amplitudes] = []
        self._gathered_samples = 0

    def add(self, amplitudes: Amplitudes) -> None:
        """What comes next: the amplitude of each sample, that of its loudest channel."""
        self._gathered.append(amplitudes)
        self._gathered_samples += len(amplitudes)
        if self._gathered_samples >= _GATHERED:
            self._condense(is_last=False)

    def buckets(self, count: int) -> Amplitudes:
        """The highest amplitude of each of so many equal parts, from 0 to 1 (full scale)."""
        self._condense(is_last=True)
        if not self._count:
            return np.zeros(count, np.float32)
        starts = np.arange(count) * self._count // count
        return np.maximum.reduceat(self._blocks[: self._count], starts)

    def _condense(self, *, is_last: bool) -> None:
        amplitudes = np.concatenate(self._gathered) if self._gathered else self._blocks[:0]
        # Files of floating point can hold any number, and none.
        amplitudes = np.clip(np.nan_to_num(amplitudes, nan=0.0), 0.0, 1.0)
        while self._count + len(amplitudes) // self._samples_a_block >= _MOST_BLOCKS:
            self._fold()
        size = self._samples_a_block
        whole = len(amplitudes) // size * size
        self._append(amplitudes[:whole].reshape(-1, size).max(axis=1, initial=0.0))
        rest = amplitudes[whole:]
        if is_last and len(rest):
            self._append(rest.max(keepdims=True))
            rest = rest[:0]
        self._gathered, self._gathered_samples = [rest], len(rest)

    def _append(self, blocks: Amplitudes) -> None:
        self._blocks[self._count : self._count + len(blocks)] = blocks
        self._count += len(blocks)

    def _fold(self) -> None:
        pairs = self._blocks[: self._count + self._count % 2]
        pairs[self._count :] = 0.0
        folded = np.maximum(pairs[::2], pairs[1::2])
        self._count, self._samples_a_block = len(folded), self._samples_a_block * 2
        self._blocks[: self._count] = folded


def waveform_json(peaks: Peaks, recipe: WaveformRecipe, *, duration_ms: int) -> bytes:
    """The peaks as numbers: those of a sound that is nowhere loud are small."""
    values = [round(float(value), _DECIMALS) for value in peaks.buckets(recipe.points)]
    content = {"version": 1, "duration_ms": duration_ms, "peaks": values}
    return json.dumps(content, separators=(",", ":")).encode()


def wave_picture(peaks: Peaks, recipe: PictureRecipe) -> bytes:
    """Bars on nothing, as a WebP that fills the recipe's box.

    The loudest bar fills the height, however loud it is: who whispers has a wave, too.
    """
    heights = peaks.buckets(max(1, recipe.width // _PITCH))
    loudest = float(heights.max())
    shares = heights / loudest if loudest > 0 else heights
    alpha = _bars(shares, width=recipe.width, height=recipe.height)
    colour = np.broadcast_to(np.array(_COLOUR, np.uint8), (*alpha.shape, 3))
    return Raster.of_array(np.dstack([colour, alpha])).to_webp(recipe.quality)


def _bars(shares: Amplitudes, *, width: int, height: int) -> npt.NDArray[np.uint8]:
    """How opaque each pixel is: round-ended bars around the middle, as high as their shares."""
    pitch = width / len(shares)
    radius = min(_BAR / 2, pitch / 2, height / 2)
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    bar = np.minimum((x / pitch).astype(int), len(shares) - 1)
    beside = x - (bar + 0.5) * pitch
    half = shares[bar] * (height / 2 - radius)
    beyond = np.maximum(np.abs(y[:, None] - height / 2) - half[None, :], 0.0)
    distance = np.hypot(beside[None, :], beyond) - radius
    opaque: npt.NDArray[np.uint8] = (np.clip(0.5 - distance, 0.0, 1.0) * 255).astype(np.uint8)
    return opaque
