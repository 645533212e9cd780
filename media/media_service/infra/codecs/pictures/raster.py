"""Pixels in memory: libvips behind a typed face, and the one place that knows it.

Measured on libvips 8.18.7; each of these cost or broke something:
- Loaders are switched off as a class and those we mean are switched on by name: the switch for
  untrusted ones (`block_untrusted_set`) still lets AVIF, TIFF and MATLAB files in.
- The operation cache keeps pictures alive between jobs, so it is off.
- `thumbnail_*` ignores `fail_on`, so files are opened by their loaders.
- Converting pixels that carry no profile to sRGB is seven times slower than leaving them alone.
- libvips saves JPEG at quality 90 and above without chroma subsampling; simplejpeg always
  subsamples, and is 20 % quicker.
"""

from __future__ import annotations

import io
import mmap
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyvips
import simplejpeg
from PIL import AvifImagePlugin, Image

from media_service.infra.codecs.pictures.colour import is_srgb

VipsError: Final[type[Exception]] = pyvips.Error
Array = npt.NDArray[np.uint8]

_SAFE_LOADERS: Final = (
    "VipsForeignLoadJpeg",
    "VipsForeignLoadPng",
    "VipsForeignLoadWebp",
    "VipsForeignLoadNsgif",
)
_WHITE: Final = 255.0
_PROFILE_FIELD: Final = "icc-profile-data"
_WEBP_EFFORT: Final = 2
"""340 ms for 3 megapixels with alpha; half of that with 0, for a fifth more bytes."""
_AVIF_QUALITY: Final = 0.8
"""Of that of a JPEG that looks as good: 85 becomes 68."""
_AVIF_SPEED: Final = 9
"""6 ms of CPU for 600 x 450 pixels, 9 at 8 for 5 % fewer bytes; 10 is the same as 9."""
_MOVING_WEBP_EFFORT: Final = 0
"""18 megapixels a second, so that 250 stay within the CPU limit. More effort gains nothing."""

pyvips.cache_set_max(0)
pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in _SAFE_LOADERS:
    pyvips.operation_block_set(_loader, False)


def vips_version() -> str:
    """The version of libvips."""
    return ".".join(str(pyvips.version(part)) for part in range(3))


class Raster:
    """A picture, or a strip of all frames of one below each other. Never changes."""

    def __init__(self, image: Any, *, array: Array | None = None) -> None:
        self._image = image
        self._array = array
        self._is_in_memory = array is not None

    @classmethod
    def of_array(cls, array: Array) -> Self:
        """Rows x columns x 1 to 4 channels: grey or RGB, the last of an even number is alpha."""
        height, width, bands = array.shape
        array = np.ascontiguousarray(array)
        image = pyvips.Image.new_from_memory(array, width, height, bands, "uchar")
        image = image.copy(interpretation="b-w" if bands < 3 else "srgb")
        return cls(image, array=array)

    @classmethod
    def of_file(cls, loader: str, data: bytes | mmap.mmap, **options: object) -> Self:
        """What a loader (`pngload`) makes of a file; read once, from top to bottom."""
        load = getattr(pyvips.Image, f"{loader}_buffer")
        return cls(load(data, access="sequential", fail_on="truncated", **options))

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self._image.width)

    @property
    def height(self) -> int:
        """In pixels; that of the whole strip for moving pictures."""
        return int(self._image.height)

    @property
    def frames(self) -> int:
        """How many frames the file has, loaded or not."""
        image = self._image
        return int(image.get("n-pages")) if image.get_typeof("n-pages") else 1

    @property
    def duration_ms(self) -> int:
        """How long all frames together are shown; 0 if nothing moves."""
        image = self._image
        return sum(image.get("delay")) if image.get_typeof("delay") else 0

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha channel, be it opaque."""
        return bool(self._image.hasalpha())

    @property
    def is_in_memory(self) -> bool:
        """Whether it was made of pixels: others come from a stream that can be read once."""
        return self._is_in_memory

    def in_memory(self) -> Self:
        """The same, decoded and computed, so that it can be used more than once."""
        return self if self._array is not None else type(self).of_array(self.array())

    def array(self) -> Array:
        """Rows x columns x channels."""
        if self._array is None:
            array: Array = self._image.numpy()
            self._array = array.reshape(self.height, self.width, -1)
        return self._array

    def rgb(self) -> Array:
        """Rows x columns x 3, of a picture without alpha channel."""
        array = self.array()
        return array if array.shape[2] == 3 else np.repeat(array, 3, axis=2)

    def lowest_alpha(self) -> int:
        """The alpha of the most transparent pixel, of 255. Decodes every pixel."""
        image = self._image
        if self._array is not None:
            return int(self._array[:, :, -1].min()) if self.has_alpha else 255
        if not self.has_alpha:
            image.avg()
            return 255
        return int(image.extract_band(image.bands - 1).min())

    def to_srgb(self, profile: bytes) -> Self:
        """8 bits a channel, sRGB or grey; the profile is the one the file carries, if any."""
        if not profile or is_srgb(profile):
            return self.to_8_bits()
        return type(self)(_converted(self._image, profile)).to_8_bits()

    def to_8_bits(self) -> Self:
        """The same colours in 8 bits a channel; CMYK as RGB."""
        image = self._image
        if image.interpretation in ("cmyk", "rgb16"):
            image = image.colourspace("srgb")
        elif image.interpretation == "grey16":
            image = image.colourspace("b-w")
        if image.format != "uchar":
            image = image.cast("uchar")
        return self if image is self._image else type(self)(image)

    def turned(self, orientation: int) -> Self:
        """Upright, given its EXIF orientation."""
        image = self._image
        if orientation in (2, 4, 5, 7):
            image = image.fliphor()
        angle = {3: "d180", 4: "d180", 5: "d270", 6: "d90", 7: "d90", 8: "d270"}.get(orientation)
        if angle:
            image = image.rot(angle)
        return self if image is self._image else type(self)(image)

    def scaled(self, width: int, height: int) -> Self:
        """Exactly this size."""
        image = self._image
        if (image.width, image.height) == (width, height):
            return self
        across, down = width / image.width, height / image.height
        if not self.has_alpha:
            return type(self)(image.resize(across, vscale=down))
        # Colours of transparent pixels must not bleed into their neighbours. Scaling the floats
        # that premultiplying makes would take three times as long.
        depth = image.format
        image = image.premultiply().cast(depth).resize(across, vscale=down).unpremultiply()
        return type(self)(image.cast(depth))

    def frames_scaled(self, width: int, height: int) -> Self:
        """A strip with each frame exactly this size."""
        return type(self)(self._image.thumbnail_image(width, height=height, size="force"))

    def cropped(self, left: int, top: int, *, width: int, height: int) -> Self:
        """A rectangle of it."""
        return type(self)(self._image.crop(left, top, width, height))

    def attention(self, width: int, height: int) -> tuple[float, float]:
        """The middle, as shares of the sides, of what draws the eye for a crop of this size."""
        _, found = self._image.smartcrop(
            width, height, interesting="attention", attention_x=True, attention_y=True
        )
        return found["attention_x"] / self.width, found["attention_y"] / self.height

    def on_white(self) -> Self:
        """Without alpha channel: what is transparent shows white, as most pages would."""
        if not self.has_alpha:
            return self
        return type(self)(self._image.flatten(background=_WHITE).cast("uchar"))

    def to_jpeg(self, quality: int) -> bytes:
        """Baseline, 4:2:0, without any metadata."""
        pixels = self.on_white().array()
        is_grey = pixels.shape[2] == 1
        encoded: bytes = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels),
            quality=quality,
            colorspace="GRAY" if is_grey else "RGB",
            colorsubsampling="Gray" if is_grey else "420",
        )
        return encoded

    def to_webp(self, quality: int) -> bytes:
        """Lossy, with alpha if there is any, frames with their timing; no metadata."""
        effort = _MOVING_WEBP_EFFORT if self._is_strip() else _WEBP_EFFORT
        encoded: bytes = self._image.webpsave_buffer(Q=quality, effort=effort, keep="none")
        return encoded

    def to_avif(self, quality: int) -> bytes:
        """With alpha if there is any; no metadata. Qualities are those of JPEG."""
        pixels = self.array()
        image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
        if image.mode == "LA":
            image = image.convert("RGBA")
        file = io.BytesIO()
        image.encoderinfo = {
            "quality": round(_AVIF_QUALITY * quality),
            "speed": _AVIF_SPEED,
            "subsampling": "4:2:0",
            "max_threads": 1,
        }
        # Not Image.save: it would first import other plugins, which a cell can't any more.
        Image.SAVE[AvifImagePlugin.AvifImageFile.format](image, file, "")
        return file.getvalue()

    def _is_strip(self) -> bool:
        return int(self._image.get_page_height()) < self.height


def _converted(image: Any, profile: bytes) -> Any:
    """By its profile; as it is if that is damaged or of another colour space."""
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, _PROFILE_FIELD, profile)
    try:
        return image.icc_transform("srgb", embedded=True)
    except VipsError:
        return image
