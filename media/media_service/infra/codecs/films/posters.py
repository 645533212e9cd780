"""The poster of a film: one of its first keyframes, as a picture that renditions are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from media_service.core.errors import BrokenFile
from media_service.core.renditions import MAX_FRAME_PIXELS
from media_service.infra.codecs.containers import demuxing
from media_service.infra.codecs.films.hdr import is_srgb_alike, to_srgb
from media_service.infra.codecs.headers.limits import Header, check_pixels
from media_service.infra.codecs.pictures.opening import Picture
from media_service.infra.codecs.pictures.raster import Raster

_MOST_SECONDS_IN: Final = 1.0
_SHARE_IN: Final = 0.1
_CANDIDATES: Final = 4
"""So many keyframes are looked at for one that isn't black."""
_MOST_PACKETS: Final = 5000
_BLACK, _BRIGHT_SHARE = 24, 0.02
"""A frame is black if fewer than this share of its pixels have more luma, of 255, than this."""
_HD_ROWS: Final = 720
_SANE_ASPECTS: Final = (Fraction(1, 16), Fraction(16))
_UNSPECIFIED: Final = 2
_ROTATIONS: Final = {
    # Signs of a, b, c, d of the display matrix, and the EXIF orientation of the same turn.
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


class Poster(Picture):
    """A decoded frame."""

    shrinks = (1, 2, 4, 8)

    def __init__(self, frame: VideoFrame, *, aspect: Fraction) -> None:
        width, height = square_size(frame.width, frame.height, aspect)
        super().__init__(b"", Header(width=width, height=height, orientation=_orientation(frame)))
        self._frame = frame

    @property
    def is_interlaced(self) -> bool:
        """Whether every other line of it is of a later moment."""
        return self._frame.interlaced_frame

    def decode(self, shrink: int = 1) -> Raster:
        """In sRGB, as stored, its pixels square."""
        frame = self._frame
        size = -(-self.header.width // shrink), -(-self.header.height // shrink)
        colours = {"transfer": frame.color_trc, "primaries": frame.color_primaries}
        with demuxing():
            if is_srgb_alike(**colours):
                return Raster.of_array(_rgb(frame, size, "rgb24"))
            return Raster.of_array(to_srgb(_rgb(frame, size, "rgb48le"), **colours))


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """In square pixels instead of ones of this aspect ratio, no side smaller than it was."""
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def check_size(stream: VideoStream) -> None:
    """By the header, before a decoder sees any of it. Raises TooManyPixels, BrokenFile."""
    check_pixels(stream.codec_context.width, stream.codec_context.height)


def find_poster(container: InputContainer, stream: VideoStream, *, duration_ms: int) -> Poster:
    """A keyframe about a second in, or one soon after it if that is black.

    Raises BrokenFile if no frame can be decoded, TooManyPixels.
    """
    check_size(stream)
    seconds = min(_MOST_SECONDS_IN, duration_ms / 1000 * _SHARE_IN)
    with demuxing():
        context = stream.codec_context
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        frame = _best_frame(container, stream, seconds=seconds)
        return Poster(frame, aspect=_aspect(stream))


def _best_frame(container: InputContainer, stream: VideoStream, *, seconds: float) -> VideoFrame:
    stream.codec_context.skip_frame = "NONKEY"
    _seek(container, stream, seconds)
    first = None
    for frame in _frames(container, stream, most=_CANDIDATES):
        if not _is_black(frame):
            return frame
        first = first or frame
    if first is None:  # some films mark no frame as a key, or have only one at the very start
        stream.codec_context.skip_frame = "DEFAULT"
        _seek(container, stream, 0)
        first = next(_frames(container, stream, most=1), None)
    if first is None:
        raise BrokenFile
    return first


def _seek(container: InputContainer, stream: VideoStream, seconds: float) -> None:
    start, base = stream.start_time or 0, stream.time_base or Fraction(1)
    for offset in (start + int(seconds / base), start, 0):
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(offset, stream=stream)
            return


def _frames(container: InputContainer, stream: VideoStream, *, most: int) -> Iterator[VideoFrame]:
    """The next frames that can be decoded; damage between them is passed over."""
    found = 0
    packets = container.demux(stream)
    for _ in range(_MOST_PACKETS):
        try:
            packet = next(packets)
            frames = packet.decode()
        except (StopIteration, av.error.EOFError):
            return
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            yield frame
            found += 1
            if found == most:
                return


def _is_black(frame: VideoFrame) -> bool:
    small = frame.reformat(width=32, height=32, format="gray", threads=1).to_ndarray()
    return bool((small > _BLACK).mean() < _BRIGHT_SHARE)


def _aspect(stream: VideoStream) -> Fraction:
    """How much wider than high its pixels are."""
    aspect = stream.sample_aspect_ratio
    least, most = _SANE_ASPECTS
    return aspect if aspect and least <= aspect <= most else Fraction(1)


def _orientation(frame: VideoFrame) -> int:
    """The EXIF orientation that says the same as its display matrix; 1 for skewed ones."""
    found: Any = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(found), np.int32)[:5].astype(np.int64)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = np.int64(0)
    else:
        a = d = np.int64(0)
    signs = np.sign([a, b, c, d]).tolist()
    return _ROTATIONS.get((signs[0], signs[1], signs[2], signs[3]), 1)


def _rgb(frame: VideoFrame, size: tuple[int, int], format: str) -> np.ndarray:
    """Its pixels; films of high definition that don't name their matrix mean that of BT.709."""
    is_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_ROWS
    return frame.reformat(
        width=size[0],
        height=size[1],
        format=format,
        src_colorspace=Colorspace.ITU709 if is_hd else None,
        interpolation="AREA" if size != (frame.width, frame.height) else "BICUBIC",
        threads=1,
    ).to_ndarray()
