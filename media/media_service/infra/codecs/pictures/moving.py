"""Pictures that move, frame by frame: what libvips takes for still ones, or holds all at once.

Each frame is on its way from the decoder to the encoder by itself, so that memory does not grow
with their number. A large one is held by nobody while the next is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, _webp

from media_service.core.errors import BrokenFile
from media_service.infra.codecs.headers.apng import Animation
from media_service.infra.codecs.headers.apng import Frame as Piece
from media_service.infra.codecs.headers.limits import Buffer, Header
from media_service.infra.codecs.pictures.raster import Raster

Canvas = npt.NDArray[np.uint8]

_TO_TRANSPARENT, _TO_BEFORE = 1, 2
_OPAQUE: Final = 255
_NEVER: Final = 2**31 - 1
"""A whole frame so seldom: others are what has changed."""
_EFFORT: Final = 0
_MOST_LOOPS: Final = 65_535
_MIXED_PIXELS: Final = 65_536


class Frame(NamedTuple):
    """One frame as it is shown."""

    raster: Raster
    duration_ms: int


def apng_frames(data: Buffer, animation: Animation) -> Iterator[Frame]:
    """Every frame of an animated PNG as it is shown: put onto what was there before.

    A frame is good until the next one is asked for, which is drawn onto the same canvas.
    """
    across, down = (int.from_bytes(animation.header[at : at + 4], "big") for at in (0, 4))
    canvas: Canvas = np.zeros((down, across, 4), np.uint8)
    for number, piece in enumerate(animation.frames):
        place = np.s_[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width]
        before = canvas[place].copy() if piece.disposal == _TO_BEFORE and number else None
        _put(_pixels(data, animation, piece), canvas[place], is_over=piece.is_over)
        yield Frame(Raster.of_array(canvas), piece.duration_ms)
        _dispose(canvas, place, piece, before)


def _pixels(data: Buffer, animation: Animation, piece: Piece) -> Canvas:
    return Raster.of_file("pngload", animation.still(data, piece)).to_8_bits().array()


def _put(pixels: Canvas, canvas: Canvas, *, is_over: bool) -> None:
    """Piece by piece: mixing takes several times the memory of what is mixed."""
    rows = max(1, _MIXED_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        strip, below = _rgba(pixels[top : top + rows]), canvas[top : top + rows]
        below[:] = _over(strip, below) if is_over else strip


def _dispose(canvas: Canvas, place: Any, piece: Piece, before: Canvas | None) -> None:
    """What the next frame is put onto. Before the first there is nothing to come back."""
    if before is not None:
        canvas[place] = before
    elif piece.disposal in (_TO_TRANSPARENT, _TO_BEFORE):
        canvas[place] = 0


def _rgba(pixels: Canvas) -> Canvas:
    channels = pixels.shape[2]
    colours = pixels[:, :, : channels - 1 + channels % 2]
    rgba = np.full((*pixels.shape[:2], 4), _OPAQUE, np.uint8)
    rgba[:, :, :3] = colours
    if channels in (2, 4):
        rgba[:, :, 3] = pixels[:, :, -1]
    return rgba


def _over(above: Canvas, below: Canvas) -> Canvas:
    """Alpha compositing of colours that are not premultiplied (PNG, section 13.16)."""
    alpha = above[:, :, 3]
    if not (alpha[alpha < _OPAQUE] > 0).any():  # all or nothing, as mostly
        shown: Canvas = np.where(alpha[:, :, None] > 0, above, below)
        return shown
    share = alpha[:, :, None].astype(np.float32) / _OPAQUE
    rest = below[:, :, 3:].astype(np.float32) / _OPAQUE * (1 - share)
    total = share + rest
    colours = (above[:, :, :3] * share + below[:, :, :3] * rest) / np.maximum(total, 1e-6)
    mixed: Canvas = np.rint(np.concatenate([colours, total * _OPAQUE], axis=2)).astype(np.uint8)
    return mixed


class WebpFrames:
    """The frames of a moving WebP, and how often they are played (0: for ever)."""

    def __init__(self, data: Buffer) -> None:
        # Not Image.open: it would first import all plugins, which a cell can't any more.
        self._decoder = _webp.WebPAnimDecoder(bytes(data))
        self._size, self.plays, _, self._count, _ = self._decoder.get_info()
        self._at_ms = 0

    def shown(self, header: Header) -> Iterator[Frame]:
        """Every frame as it is shown. Raises BrokenFile if they aren't what the header says."""
        if (*self._size, self._count) != (header.width, header.height, header.frames):
            raise BrokenFile
        self._decoder.reset()
        self._at_ms = 0
        for _ in range(self._count):
            yield self._next(header)  # and held here no longer

    def _next(self, header: Header) -> Frame:
        pixels, until_ms = self._decoder.get_next()
        lasting_ms, self._at_ms = until_ms - self._at_ms, until_ms
        canvas = np.frombuffer(pixels, np.uint8).reshape(header.height, header.width, 4)
        return Frame(Raster.of_array(canvas), max(1, lasting_ms))


def webp_of(frames: Iterator[Frame], *, size: tuple[int, int], plays: int, quality: int) -> bytes:
    """A moving WebP of frames that have this size; no metadata."""
    # Not Image.save: it would hold all frames at once.
    encoder = _webp.WebPAnimEncoder(
        size, 0, min(plays, _MOST_LOOPS), False, _NEVER - 1, _NEVER, False, False
    )
    at_ms = 0
    for frame in frames:
        image = _image(frame.raster)
        encoder.add(image.getim(), at_ms, False, quality, 100, _EFFORT)
        at_ms += frame.duration_ms
        del frame, image  # large, and the next one is decoded beside them
    encoder.add(None, at_ms, False, quality, 100, _EFFORT)
    encoded: bytes | None = encoder.assemble("", "", "")
    if encoded is None:
        raise ValueError("no animation came of it")
    return encoded


def _image(raster: Raster) -> Image.Image:
    pixels = raster.array()
    if pixels.shape[2] < 3:
        pixels = _rgba(pixels)
    return Image.fromarray(pixels)
