"""Pictures made in code: sound ones of every format, and hostile ones that are made to hurt.

Sound ones carry `CANARY` in all their metadata, where no rendition may.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pillow_heif
import pyvips
from media_service.core.formats import Format
from media_service.core.media import MediaType
from PIL import ExifTags, Image, PngImagePlugin

Pixels = npt.NDArray[np.uint8]

CANARY: Final = b"canary 51.5007 N 0.1246 W"
ORIENTATIONS: Final = range(1, 9)
MOVING: Final = (Format.GIF, Format.WEBP, Format.PNG, Format.AVIF)

PICTURE_FORMATS: Final = [format for format in Format if format.media_type is MediaType.IMAGE]
_PILLOW_NAMES: Final = {format: format.name for format in PICTURE_FORMATS} | {Format.HEIC: "HEIF"}
_BASE83: Final = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
)
_XMP: Final = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,30.04N" exif:UserComment="'
    + CANARY
    + b'"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)

pillow_heif.register_heif_opener()


def scene(width: int = 400, height: int = 300, *, noise: float = 0, seed: int = 1) -> Pixels:
    """Colours that differ from corner to corner, and a red disc on the left; sRGB."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = x / width, y / height
    pixels = np.stack([60 + 120 * across, 40 + 160 * down, 200 - 150 * across * down], axis=-1)
    side = min(width, height)
    disc = (x - 0.25 * width) ** 2 + (y - 0.5 * height) ** 2 < (0.2 * side) ** 2
    pixels[disc] = (230, 40, 30)
    if noise:
        grain = np.random.default_rng(seed).normal(0, noise, (height, width, 1))
        pixels = pixels + grain.astype(np.float32)
    clipped: Pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return clipped


def turned_away(upright: Pixels, orientation: int) -> Pixels:
    """What a camera stores so that this EXIF orientation turns it upright again."""
    away = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    return np.ascontiguousarray(away)


def exif(*, orientation: int = 1) -> bytes:
    """A photographer's EXIF: position, name, serial number."""
    fields = Image.Exif()
    fields[ExifTags.Base.Orientation] = orientation
    fields[ExifTags.Base.Artist] = CANARY.decode()
    details = fields.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.BodySerialNumber] = CANARY.decode()
    position = fields.get_ifd(ExifTags.IFD.GPSInfo)
    position[ExifTags.GPS.GPSLatitudeRef] = "N"
    position[ExifTags.GPS.GPSLatitude] = (51.0, 30.0, 2.5)
    return bytes(fields.tobytes())


def profile(name: str = "p3") -> bytes:
    """An ICC profile: `p3` (wide), `srgb` or `cmyk`."""
    return bytes(pyvips.Operation.call("profile_load", name))


def picture(
    pixels: Pixels | Image.Image | None = None,
    *,
    format: Format = Format.JPEG,
    orientation: int = 0,
    icc: bytes = b"",
    **options: Any,
) -> bytes:
    """A file of these pixels; with all the metadata there is if an orientation is given."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(_or_scene(pixels))
    if orientation:
        options |= _metadata(format, orientation)
    if icc:
        options["icc_profile"] = icc
    if format is Format.JPEG:
        options.setdefault("quality", 95)
    if format is Format.AVIF:
        options.setdefault("speed", 10)
    file = io.BytesIO()
    image.save(file, _PILLOW_NAMES[format], **options)
    return file.getvalue()


def _or_scene(pixels: Pixels | None) -> Pixels:
    return scene() if pixels is None else pixels


def _metadata(format: Format, orientation: int) -> dict[str, Any]:
    if format is Format.GIF:
        return {"comment": CANARY}
    if format is Format.PNG:
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", _XMP.decode())
        texts.add_text("Comment", CANARY.decode(), zip=True)
        return {"exif": exif(orientation=orientation), "pnginfo": texts}
    options: dict[str, Any] = {"exif": exif(orientation=orientation), "xmp": _XMP}
    if format is Format.JPEG:
        options["comment"] = CANARY
    return options


def photograph(
    width: int = 400, height: int = 300, *, orientation: int = 1, icc: bytes = b"", noise: float = 3
) -> bytes:
    """A JPEG as a camera makes it: upright it is this wide and high; every kind of metadata."""
    pixels = turned_away(scene(width, height, noise=noise), orientation)
    jpeg = picture(pixels, orientation=orientation, icc=icc, subsampling=2, quality=90)
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(CANARY)) + CANARY
    return with_segment(jpeg, marker=0xED, payload=iptc)


def transparent(width: int = 400, height: int = 300) -> Pixels:
    """The scene with a transparent left upper quarter; RGBA."""
    alpha = np.full((height, width, 1), 255, np.uint8)
    alpha[: height // 2, : width // 2] = 0
    return np.concatenate([scene(width, height), alpha], axis=2)


def moving(
    count: int = 5,
    *,
    format: Format = Format.GIF,
    size: tuple[int, int] = (120, 90),
    orientation: int = 0,
) -> bytes:
    """An animation that shows each frame for 70 ms, three times over."""
    width, height = size
    frames = [Image.fromarray(np.roll(scene(width, height), 9 * i, axis=1)) for i in range(count)]
    plays: dict[str, Any] = {} if format is Format.AVIF else {"loop": 3}
    return picture(
        frames[0],
        format=format,
        orientation=orientation,
        save_all=True,
        append_images=frames[1:],
        duration=70,
        **plays,
    )


def blurhash_numbers(text: str) -> list[int]:
    """What a BlurHash of 4 x 3 consists of: the peak, the average colour, 11 times 3 waves."""
    digits = [_BASE83.index(letter) for letter in text]
    average = digits[2] * 83**3 + digits[3] * 83**2 + digits[4] * 83 + digits[5]
    numbers = [*digits[:2], average >> 16, average >> 8 & 255, average & 255]
    for high, low in zip(digits[6::2], digits[7::2], strict=True):
        wave = high * 83 + low
        numbers += [wave // 361, wave // 19 % 19, wave % 19]
    return numbers


def are_alike(one: str, other: str) -> bool:
    """Whether two BlurHashes differ by no more than roundings."""
    pairs = zip(blurhash_numbers(one), blurhash_numbers(other), strict=True)
    return all(abs(a - b) <= 1 for a, b in pairs)


# Blocks of formats, to build what no encoder would.


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A PNG chunk."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(*chunks: bytes, width: int = 8, height: int = 8, bits: int = 8, colours: int = 2) -> bytes:
    """A PNG that says it is this large, made of these chunks."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND")


class ApngFrame(NamedTuple):
    """A frame of an animated PNG as it is stored: where, how long, what before and after it."""

    pixels: Pixels
    left: int = 0
    top: int = 0
    delay: tuple[int, int] = (7, 100)
    disposal: int = 0
    blend: int = 0


def apng_of(
    *frames: ApngFrame, size: tuple[int, int], plays: int = 0, hidden: Pixels | None = None
) -> bytes:
    """An animated PNG of these RGBA frames, the first as large as all; or behind a hidden one."""
    chunks = [chunk(b"acTL", struct.pack(">II", len(frames), plays))]
    if hidden is not None:
        chunks.append(chunk(b"IDAT", _packed(hidden)))
    number = 0
    for at, frame in enumerate(frames):
        height, width = frame.pixels.shape[:2]
        place = (width, height, frame.left, frame.top, *frame.delay, frame.disposal, frame.blend)
        chunks.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *place)))
        number += 1
        if at == 0 and hidden is None:
            chunks.append(chunk(b"IDAT", _packed(frame.pixels)))
        else:
            chunks.append(chunk(b"fdAT", struct.pack(">I", number) + _packed(frame.pixels)))
            number += 1
    return png(*chunks, width=size[0], height=size[1], colours=6)


def _packed(pixels: Pixels) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def png_pixels(width: int = 8, height: int = 8) -> bytes:
    """The IDAT chunk of a black RGB picture."""
    return chunk(b"IDAT", zlib.compress((b"\0" + b"\0\0\0" * width) * height))


def segment(marker: int, payload: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def with_segment(jpeg: bytes, *, marker: int, payload: bytes) -> bytes:
    """The JPEG with one more segment, after its first two bytes."""
    return jpeg[:2] + segment(marker, payload) + jpeg[2:]


def riff(kind: bytes, content: bytes) -> bytes:
    """A chunk of a WebP file."""
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def webp(*chunks: bytes) -> bytes:
    """A WebP file of these chunks."""
    return riff(b"RIFF", b"WEBP" + b"".join(chunks))


# Hostile ones, by the numbers of the table in the reliability notes.


def png_of_one_bit(side: int = 50_000) -> bytes:
    """B01: a sound PNG of side x side pixels in some 300 kB."""
    row = b"\0" * (1 + (side + 7) // 8)
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(chunk(b"IDAT", packed), width=side, height=side, bits=1, colours=0)


def png_that_lies(width: int, height: int) -> bytes:
    """B02-04: a header with these sides, and hardly any pixels."""
    return png(png_pixels(), width=width, height=height)


def png_with_packed(kind: bytes, *, megabytes: int) -> bytes:
    """B05-06: a text or profile chunk that unpacks to so much."""
    packer = zlib.compressobj()
    zeros = bytes(2**20)
    packed = b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()
    return png(chunk(kind, b"name\0\0" + packed), png_pixels())


def apng(frames: int) -> bytes:
    """B07: an animated PNG."""
    control = struct.pack(">IIIIHHBB", 8, 8, 0, 0, 1, 10, 0, 0)
    pixels = zlib.compress((b"\0" + b"\0\0\0" * 8) * 8)
    chunks = [
        part
        for i in range(1, frames)
        for part in (
            chunk(b"fcTL", struct.pack(">I", 2 * i - 1) + control),
            chunk(b"fdAT", struct.pack(">I", 2 * i) + pixels),
        )
    ]
    start = chunk(b"acTL", struct.pack(">II", frames, 0))
    return png(start, chunk(b"fcTL", b"\0\0\0\0" + control), png_pixels(), *chunks)


def jpeg_that_claims(width: int, height: int) -> bytes:
    """B08: a frame header with these sides in a picture of 8 x 8."""
    jpeg = picture(scene(8, 8))
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def jpeg_of_scans(count: int, *, size: tuple[int, int] = (64, 64)) -> bytes:
    """B09: a progressive JPEG whose last scan comes again and again."""
    jpeg = picture(scene(*size), progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + jpeg[-2:]


def jpeg_with_segments(count: int) -> bytes:
    """B10: so many APP1 segments of 64 kB."""
    jpeg = picture(scene(8, 8))
    return jpeg[:2] + segment(0xE1, bytes(65_533)) * count + jpeg[2:]


def jpeg_with_exif(tiff: bytes) -> bytes:
    """B11-12: any EXIF structure."""
    return with_segment(picture(), marker=0xE1, payload=b"Exif\0\0" + tiff)


def exif_loop() -> bytes:
    """B11: a directory whose next one is itself."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)


def exif_of_lies(entries: int = 5400) -> bytes:
    """B12: entries that each claim 4 GB somewhere."""
    entry = struct.pack("<HHII", 0x9286, 7, 0xFFFF_FFFF, 0x7FFF_FFFF)
    return b"II*\0" + struct.pack("<IH", 8, entries) + entry * entries


def gif_that_claims(canvas: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """B13-14: a GIF of 43 bytes with these sides."""
    return gif_of_frames(1, canvas=canvas, frame=frame)


def gif_of_frames(
    count: int, *, canvas: tuple[int, int] = (4, 4), frame: tuple[int, int] = (1, 1)
) -> bytes:
    """B15: as many frames as you like, 23 bytes each."""
    header = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + bytes(6)
    control = b"\x21\xf9\x04\x00\x02\x00\x00\x00"
    image = control + b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\x00"
    return header + image * count + b"\x3b"


def avif_that_claims(width: int, height: int) -> bytes:
    """B20: an image size box with these sides."""
    avif = picture(scene(64, 48), format=Format.AVIF)
    at = avif.index(b"ispe") + 8
    return avif[:at] + struct.pack(">II", width, height) + avif[at + 8 :]


def webp_of_268_megapixels() -> bytes:
    """B21: 16384 x 16384 in 36 bytes."""
    bits = 16_383 | 16_383 << 14
    return webp(riff(b"VP8L", b"\x2f" + struct.pack("<I", bits) + b"\x07\x10\xfd\x03\x11"))


def webp_of_frames(count: int) -> bytes:
    """B22: an animation of so many frames of 8 x 8."""
    still = picture(scene(8, 8), format=Format.WEBP, lossless=True)
    pixels = still[12:]
    sides = (7).to_bytes(3, "little") * 2
    frame = bytes(6) + sides + (40).to_bytes(3, "little") + b"\0" + pixels
    canvas = riff(b"VP8X", b"\x02\0\0\0" + sides)
    return webp(canvas, riff(b"ANIM", bytes(6)), riff(b"ANMF", frame) * count)


@functools.cache
def small_samples() -> dict[Format, bytes]:
    """A small sound picture of each format, with metadata."""
    return {
        format: picture(scene(96, 64), format=format, orientation=1) for format in PICTURE_FORMATS
    }


NOT_PICTURES: Final[Sequence[bytes]] = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>',
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\ntrailer<</Root 1 0 R>>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n0 0 9 9 rectfill\nshowpage\n",
    b"P6 2 2 255\n" + bytes(12),
)
"""SVG, PDF, EPS, PPM."""


def tiff() -> bytes:
    """A sound TIFF, which nothing here may decode."""
    file = io.BytesIO()
    Image.fromarray(scene(16, 16)).save(file, "TIFF")
    return file.getvalue()
