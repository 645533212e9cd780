"""Opening pictures: a file's header is checked when it is opened, its pixels wait to be asked for.

Which decoder meets which format:
- JPEG: simplejpeg (libjpeg-turbo), which takes three quarters of the time libvips does; libvips
  for what it can't do (CMYK, harmless blemishes).
- PNG, WebP, GIF: libvips.
- What moves in a PNG: libvips, frame by frame, as it only sees the first one by itself.
- What moves in a WebP: Pillow's own libwebp, frame by frame, as libvips would hold all at once.
- AVIF: Pillow's own libavif with dav1d. Not libvips, whose bundled libheif doesn't tell its
  version.
- HEIC: pillow-heif, if the libheif in it is of a version without known holes.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import io
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import pillow_heif
import simplejpeg
from PIL import (
    AvifImagePlugin,
    TiffImagePlugin,  # noqa: F401 - AVIF's would import it to read EXIF: too late in a cell
    features,
)

from media_service.core.errors import BrokenFile, TooComplex
from media_service.core.formats import Format
from media_service.core.sniffing import SNIFF_BYTES, sniff
from media_service.infra.codecs.headers import read_header
from media_service.infra.codecs.headers.exif import read_orientation
from media_service.infra.codecs.headers.limits import (
    Buffer,
    Header,
    MetadataBudget,
    check_pixels,
)
from media_service.infra.codecs.headers.png import animation_of
from media_service.infra.codecs.pictures.colour import is_srgb
from media_service.infra.codecs.pictures.moving import Frame, WebpFrames, apng_frames, webp_of
from media_service.infra.codecs.pictures.raster import Raster, VipsError, vips_version

SAFE_LIBHEIF: Final = (1, 23, 5)
"""Older ones write and read out of bounds (CVE-2026-84383 and its followers)."""

_STRIP_ROWS: Final = 256

AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1
pillow_heif.options.THUMBNAILS = False
pillow_heif.options.DEPTH_IMAGES = False
pillow_heif.options.AUX_IMAGES = False


def decoder_versions() -> dict[str, str]:
    """Name and version of every library that meets strangers' bytes, as far as it tells."""
    versions = {
        "libvips": vips_version(),
        "simplejpeg": simplejpeg.__version__,
        "pillow": features.version("pil"),
        "libavif": features.version("avif"),
        "dav1d": AvifImagePlugin.SUPPORTED and AvifImagePlugin.get_codec_version("dav1d"),
        "libheif": pillow_heif.libheif_version(),
    }
    return {name: str(version) for name, version in versions.items() if version}


def _is_libheif_safe() -> bool:
    numbers = (int(number) for number in pillow_heif.libheif_version().split("."))
    return tuple(numbers) >= SAFE_LIBHEIF


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels of a picture that `Picture.decode` gave for this shrink."""

    raster: Raster
    shrink: int


class Frames(NamedTuple):
    """The alpha of the most transparent pixel of any frame, of 255; how long all are shown."""

    lowest_alpha: int
    duration_ms: int


class Picture(abc.ABC):
    """An opened file within limits."""

    shrinks: ClassVar[tuple[int, ...]] = (1,)
    """By how much its decoder can scale it down while decoding, for less than doing it after."""

    def __init__(self, data: Buffer, header: Header) -> None:
        self._data = data
        self.header = header

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as people see it."""
        width, height = self.header.width, self.header.height
        return (height, width) if self.header.orientation > 4 else (width, height)

    @property
    def is_plain(self) -> bool:
        """Whether its pixels are upright and sRGB as they are stored."""
        profile = self.header.profile
        return self.header.orientation == 1 and (not profile or is_srgb(profile))

    @abc.abstractmethod
    def decode(self, shrink: int = 1) -> Raster:
        """The first frame as stored, sides divided by one of `shrinks` and rounded up."""

    def look_at_frames(self) -> Frames:
        """What all frames tell; each is decoded."""
        return Frames(self.decode().lowest_alpha(), 0)

    def moving_webp(self, size: tuple[int, int], *, quality: int) -> bytes:
        """All frames in this size, sRGB, with their timing."""
        raise NotImplementedError


def open_picture(data: Buffer, *, format: Format) -> Picture:
    """Raises BrokenFile, TooManyPixels, TooComplex, MetadataTooLarge."""
    if sniff(data[:SNIFF_BYTES]) is not format:
        raise BrokenFile  # no decoder sees what another is for
    with decoding():
        return _OPENERS[format](data)


_COMPLAINTS: Final = (
    VipsError,
    ValueError,
    OSError,
    EOFError,
    SyntaxError,
    RuntimeError,
    LookupError,
)
_NO_MEMORY: Final = ("out of memory", "insufficient memory", "memory alloc", "not allocate")


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Whatever a decoder complains of is the file's fault."""
    try:
        yield
    except MemoryError as cause:
        raise TooComplex from cause
    except _COMPLAINTS as cause:
        complaint = str(cause).lower()
        no_memory = any(words in complaint for words in _NO_MEMORY)
        raise (TooComplex if no_memory else BrokenFile) from cause


# What libjpeg says of files that lack pixels, or have wrong ones. It complains of harmless things
# too (some cameras leave bytes between segments), which libvips then overlooks.
_DAMAGE: Final = ("premature end", "bad huffman", "bad arithmetic", "instead of rst")


class _Jpeg(Picture):
    shrinks = (1, 2, 4, 8)

    def __init__(self, data: Buffer) -> None:
        super().__init__(data, read_header(data, format=Format.JPEG))

    def decode(self, shrink: int = 1) -> Raster:
        with decoding():
            try:
                return self._decode_quickly(shrink)
            except ValueError as cause:
                if any(words in str(cause).lower() for words in _DAMAGE):
                    raise
            return Raster.of_file("jpegload", self._data, shrink=shrink)

    def _decode_quickly(self, shrink: int) -> Raster:
        header = self.header
        height, width, colours, _ = simplejpeg.decode_jpeg_header(self._data)
        if colours not in ("YCbCr", "RGB", "Gray") or (width, height) != (
            header.width,
            header.height,
        ):
            raise ValueError(colours)
        pixels = simplejpeg.decode_jpeg(
            self._data,
            colorspace="GRAY" if colours == "Gray" else "RGB",
            min_width=-(-width // shrink),
            min_height=-(-height // shrink),
            min_factor=shrink,
        )
        return Raster.of_array(pixels)


class _VipsPicture(Picture):
    format: ClassVar[Format]
    loader: ClassVar[str]

    def __init__(self, data: Buffer) -> None:
        stated = read_header(data, format=self.format)
        opened = Raster.of_file(self.loader, data)
        # The decoder's own numbers are what it will act on, so they are checked too.
        super().__init__(
            data,
            Header(
                width=opened.width,
                height=opened.height,
                frames=max(opened.frames, stated.frames),
                orientation=stated.orientation if max(opened.frames, stated.frames) == 1 else 1,
                profile=stated.profile,
            ),
        )

    def decode(self, shrink: int = 1) -> Raster:
        assert shrink == 1
        with decoding():
            return Raster.of_file(self.loader, self._data)


class _ByFrames(Picture):
    """A picture whose frames come one by one, without end or with so many `plays`."""

    plays = 0

    @abc.abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Every frame, as stored."""

    def look_at_frames(self) -> Frames:
        with decoding():
            told = list(map(_told, self.frames()))
            return Frames(min(alpha for alpha, _ in told), sum(lasting for _, lasting in told))

    def moving_webp(self, size: tuple[int, int], *, quality: int) -> bytes:
        with decoding():
            ready = map(functools.partial(self._ready, size=size), self.frames())
            return webp_of(ready, size=size, plays=self.plays, quality=quality)

    def _ready(self, frame: Frame, *, size: tuple[int, int]) -> Frame:
        stored = (
            size if self.upright_size == (self.header.width, self.header.height) else size[::-1]
        )
        scaled = frame.raster.scaled(*stored).to_srgb(self.header.profile)
        return frame._replace(raster=scaled.turned(self.header.orientation))


def _told(frame: Frame) -> tuple[int, int]:
    return frame.raster.to_8_bits().lowest_alpha(), frame.duration_ms


class _Png(_VipsPicture, _ByFrames):
    format = Format.PNG
    loader = "pngload"

    def __init__(self, data: Buffer) -> None:
        super().__init__(data)
        self._animation = animation_of(data) if self.header.frames > 1 else None
        self.plays = self._animation.plays if self._animation else 0

    def frames(self) -> Iterator[Frame]:
        if self._animation is None:
            return iter((Frame(self.decode(), 0),))
        return apng_frames(self._data, self._animation)


class _Webp(_VipsPicture, _ByFrames):
    format = Format.WEBP
    loader = "webpload"

    def __init__(self, data: Buffer) -> None:
        super().__init__(data)
        self._moving = WebpFrames(data) if self.header.frames > 1 else None
        self.plays = self._moving.plays if self._moving else 0

    def decode(self, shrink: int = 1) -> Raster:
        if self._moving is None:
            return super().decode(shrink)
        with decoding():  # by the decoder that is there: another would take as much once more
            return next(self.frames()).raster

    def frames(self) -> Iterator[Frame]:
        if self._moving is None:
            return iter((Frame(self.decode(), 0),))
        return self._moving.shown(self.header)


class _Gif(_VipsPicture):
    format = Format.GIF
    loader = "gifload"

    def look_at_frames(self) -> Frames:
        with decoding():
            strip = self._strip()
            return Frames(strip.lowest_alpha(), strip.duration_ms)

    def moving_webp(self, size: tuple[int, int], *, quality: int) -> bytes:
        with decoding():
            strip = self._strip().frames_scaled(*size).to_srgb(self.header.profile)
            return strip.to_webp(quality)

    def _strip(self) -> Raster:
        """All frames, below each other."""
        return Raster.of_file(self.loader, self._data, n=-1)


class _Avif(_ByFrames):
    def __init__(self, data: Buffer) -> None:
        file: Any = io.BytesIO(data) if isinstance(data, bytes) else data
        # Not Image.open: it would first import all plugins, which a cell can't any more.
        self._opened = AvifImagePlugin.AvifImageFile(file)
        # Pillow has put the file's own turns (irot, imir) in the place of those in its EXIF.
        opened = self._opened
        header = _container_header(opened.size, opened.info, turn=True, frames=opened.n_frames)
        super().__init__(data, header)

    def decode(self, shrink: int = 1) -> Raster:
        assert shrink == 1
        with decoding():
            return self._frame(0).raster

    def frames(self) -> Iterator[Frame]:
        return map(self._frame, range(self.header.frames))

    def _frame(self, number: int) -> Frame:
        # Not load: it would hold the frame three times.
        pixels, scale, _, lasting = self._opened._decoder.get_frame(number)  # noqa: SLF001
        array = np.frombuffer(pixels, np.uint8)
        raster = Raster.of_array(array.reshape(self.header.height, self.header.width, -1))
        return Frame(raster, max(1, round(1000 * lasting / scale)))


class _Heic(Picture):
    def __init__(self, data: Buffer) -> None:
        if not _is_libheif_safe():
            raise BrokenFile
        self._opened = pillow_heif.open_heif(data)
        # libheif turns the pixels itself, and what EXIF says is to be ignored (ISO 23008-12).
        super().__init__(data, _container_header(self._opened.size, self._opened.info, turn=False))

    def decode(self, shrink: int = 1) -> Raster:
        assert shrink == 1
        with decoding():
            opened = self._opened
            if opened.mode not in ("RGB", "RGBA", "L", "I;16"):
                return _raster_of_pillow(opened.to_pillow())
            pixels = np.asarray(opened)
            if pixels.dtype == np.uint16:  # grey of more than 8 bits, the one kind left so
                pixels = (pixels >> 8).astype(np.uint8)
            return Raster.of_array(np.atleast_3d(pixels))


def _container_header(
    size: tuple[int, int], info: Mapping[Any, Any], *, turn: bool, frames: int = 1
) -> Header:
    exif = info.get("exif") or b""
    profile = info.get("icc_profile") or b""
    budget = MetadataBudget()
    for block in (exif, profile, info.get("xmp") or b""):
        budget.spend(len(block))
    check_pixels(*size, frames=frames)
    return Header(
        width=size[0],
        height=size[1],
        frames=frames,
        orientation=read_orientation(exif) if turn else 1,
        profile=profile,
    )


def _raster_of_pillow(image: Any) -> Raster:
    if image.mode not in ("RGB", "RGBA", "L", "LA"):
        image = image.convert("RGBA" if "A" in image.mode.upper() else "RGB")
    image.load()
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    # Piece by piece: numpy's own way holds three copies of the whole for a moment.
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        pixels[top : top + _STRIP_ROWS] = np.atleast_3d(np.asarray(strip))
    return Raster.of_array(pixels)


_OPENERS: Final[dict[Format, type[_Jpeg | _Png | _Webp | _Gif | _Avif | _Heic]]] = {
    Format.JPEG: _Jpeg,
    Format.PNG: _Png,
    Format.WEBP: _Webp,
    Format.GIF: _Gif,
    Format.AVIF: _Avif,
    Format.HEIC: _Heic,
}
