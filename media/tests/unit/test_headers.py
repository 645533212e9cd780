from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from fakes import damage, pictures
from media_service.core.errors import (
    BrokenFile,
    MediaError,
    MetadataTooLarge,
    TooComplex,
    TooManyPixels,
)
from media_service.core.formats import Format
from media_service.infra.codecs.headers import read_header
from media_service.infra.codecs.headers.exif import read_orientation
from media_service.infra.codecs.headers.limits import MAX_FRAMES, check_pixels

WALKED = (Format.JPEG, Format.PNG, Format.WEBP, Format.GIF)
TURNED = (Format.JPEG, Format.PNG, Format.WEBP)


@pytest.mark.parametrize("format", WALKED)
def test_the_size_is_read(format: Format) -> None:
    header = read_header(pictures.picture(pictures.scene(123, 45), format=format), format=format)

    assert (header.width, header.height, header.frames) == (123, 45, 1)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"x"}, {"quality": 20}])
def test_the_size_of_every_kind_of_webp_is_read(options: dict[str, Any]) -> None:
    webp = pictures.picture(pictures.transparent(123, 45), format=Format.WEBP, **options)

    header = read_header(webp, format=Format.WEBP)

    assert (header.width, header.height) == (123, 45)


@pytest.mark.parametrize("format", [Format.GIF, Format.WEBP, Format.PNG])
def test_frames_are_counted(format: Format) -> None:
    header = read_header(pictures.moving(7, format=format), format=format)

    assert (header.width, header.height, header.frames) == (120, 90, 7)


@pytest.mark.parametrize("orientation", pictures.ORIENTATIONS)
@pytest.mark.parametrize("format", TURNED)
def test_the_orientation_is_read(format: Format, orientation: int) -> None:
    content = pictures.picture(format=format, orientation=orientation)

    assert read_header(content, format=format).orientation == orientation


@pytest.mark.parametrize("format", TURNED)
def test_the_profile_is_read(format: Format) -> None:
    profile = pictures.profile("p3")

    assert read_header(pictures.picture(format=format, icc=profile), format=format).profile == (
        profile
    )


def test_a_profile_in_several_segments_is_joined_in_order() -> None:
    jpeg = pictures.picture()
    for number, part in ((1, b"one, "), (2, b"two")):
        payload = b"ICC_PROFILE\0" + bytes([number, 2]) + part
        jpeg = pictures.with_segment(jpeg, marker=0xE2, payload=payload)

    assert read_header(jpeg, format=Format.JPEG).profile == b"one, two"


@pytest.mark.parametrize("tiff", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*", b"x" * 100])
def test_damaged_exif_is_upright(tiff: bytes) -> None:
    assert read_orientation(tiff) == 1


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_is_none_is_upright(value: int) -> None:
    tiff = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, value, 0)

    assert read_orientation(tiff) == 1


@pytest.mark.parametrize("tiff", [pictures.exif_loop(), pictures.exif_of_lies()])
def test_exif_that_leads_nowhere_is_upright(tiff: bytes) -> None:
    assert read_orientation(tiff) == 1


@pytest.mark.parametrize(
    ("format", "content"),
    [
        pytest.param(Format.PNG, pictures.png_that_lies(50_000, 50_000), id="B01"),
        pytest.param(Format.PNG, pictures.png_that_lies(60_000, 60_000), id="B02"),
        pytest.param(Format.PNG, pictures.png_that_lies(2**31, 2**31), id="B03"),
        pytest.param(Format.JPEG, pictures.jpeg_that_claims(65_500, 65_500), id="B08"),
        pytest.param(Format.GIF, pictures.gif_that_claims((65_535,) * 2, (1, 1)), id="B13"),
        pytest.param(Format.GIF, pictures.gif_that_claims((1, 1), (65_535,) * 2), id="B14"),
        pytest.param(Format.GIF, pictures.gif_of_frames(100_000, canvas=(4000, 4000)), id="B15"),
        pytest.param(Format.WEBP, pictures.webp_of_268_megapixels(), id="B21"),
        pytest.param(
            Format.GIF,
            pictures.gif_of_frames(2, canvas=(4097, 4096)),
            id="moving, a frame too large",
        ),
        pytest.param(Format.PNG, pictures.png_that_lies(16_385, 1), id="one side too long"),
    ],
)
def test_more_pixels_than_allowed_are_refused(format: Format, content: bytes) -> None:
    with pytest.raises(TooManyPixels):
        read_header(content, format=format)


@pytest.mark.parametrize(
    ("format", "content"),
    [
        (Format.PNG, pictures.png_that_lies(0, 0)),
        (Format.JPEG, pictures.jpeg_that_claims(8, 0)),
        (Format.GIF, pictures.gif_that_claims((0, 0), (0, 0))),
    ],
)
def test_a_picture_without_area_is_broken(format: Format, content: bytes) -> None:
    with pytest.raises(BrokenFile):
        read_header(content, format=format)


@pytest.mark.parametrize(
    ("format", "content"),
    [
        pytest.param(Format.JPEG, pictures.jpeg_with_segments(900), id="B10"),
        pytest.param(Format.PNG, pictures.png_with_packed(b"zTXt", megabytes=64), id="B05"),
        pytest.param(Format.PNG, pictures.png_with_packed(b"iCCP", megabytes=64), id="B06"),
        pytest.param(
            Format.PNG, pictures.png(pictures.chunk(b"tEXt", bytes(2**20 + 1))), id="text"
        ),
        pytest.param(
            Format.WEBP,
            pictures.webp(pictures.riff(b"XMP ", bytes(2**20 + 1))),
            id="XMP",
        ),
        pytest.param(
            Format.GIF,
            pictures.gif_of_frames(1)[:-1] + b"\x21\xfe" + b"\xff".ljust(256, b"x") * 4200 + b"\0;",
            id="comment",
        ),
    ],
)
def test_more_metadata_than_allowed_is_refused(format: Format, content: bytes) -> None:
    with pytest.raises(MetadataTooLarge):
        read_header(content, format=format)


def test_packed_text_beyond_the_packed_itxt_flag_counts_too() -> None:
    packed = pictures.png_with_packed(b"zTXt", megabytes=2)
    text = packed[packed.index(b"name\0\0") + 6 : packed.index(b"IDAT") - 8]
    itxt = pictures.chunk(b"iTXt", b"name\0\1\0en\0name\0" + text)

    with pytest.raises(MetadataTooLarge):
        read_header(pictures.png(itxt, pictures.png_pixels()), format=Format.PNG)


def test_metadata_within_limits_is_fine() -> None:
    png = pictures.png(pictures.chunk(b"tEXt", bytes(2**20 - 12)), pictures.png_pixels())

    assert read_header(png, format=Format.PNG).width == 8


@pytest.mark.parametrize("scans", [101, 2000])
def test_too_many_scans_are_too_complex(scans: int) -> None:
    with pytest.raises(TooComplex):
        read_header(pictures.jpeg_of_scans(scans), format=Format.JPEG)


def test_progressive_pictures_have_few_scans() -> None:
    jpeg = pictures.picture(progressive=True)

    assert read_header(jpeg, format=Format.JPEG).width == 400


@pytest.mark.parametrize("filler", [b"\xff", b"\0"])
def test_filler_between_segments_is_skipped(filler: bytes) -> None:
    jpeg = pictures.picture()

    header = read_header(jpeg[:2] + filler * 1_000_000 + jpeg[2:], format=Format.JPEG)

    assert header.width == 400


@pytest.mark.parametrize("marker", [b"\xff\x01", b"\xff\xd8", b"\xff\xdb\0\2"])
def test_markers_without_end_are_too_complex(marker: bytes) -> None:
    jpeg = pictures.picture()

    with pytest.raises(TooComplex):
        read_header(jpeg[:2] + marker * 1_000_000 + jpeg[2:], format=Format.JPEG)


def test_too_many_frames_are_too_complex() -> None:
    with pytest.raises(TooComplex):
        read_header(pictures.gif_of_frames(MAX_FRAMES + 1), format=Format.GIF)


def test_a_png_of_too_many_frames_is_too_complex() -> None:
    with pytest.raises(TooComplex):
        read_header(pictures.apng(50_000), format=Format.PNG)


def test_a_png_of_one_frame_is_one_picture() -> None:
    assert read_header(pictures.apng(1), format=Format.PNG).frames == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pictures.apng(3).replace(b"acTL\0\0\0\x03", b"acTL\0\0\0\x04"), id="fewer"),
        pytest.param(
            pictures.apng_of(
                *[pictures.ApngFrame(np.zeros((8, 8, 4), np.uint8), left=1)] * 2, size=(8, 8)
            ),
            id="beyond the canvas",
        ),
        pytest.param(
            pictures.apng_of(
                *[pictures.ApngFrame(np.zeros((8, 8, 4), np.uint8), disposal=3)] * 2, size=(8, 8)
            ),
            id="no such disposal",
        ),
    ],
)
def test_frames_that_can_not_be_are_broken(content: bytes) -> None:
    with pytest.raises(BrokenFile):
        read_header(content, format=Format.PNG)


@pytest.mark.parametrize("format", WALKED)
def test_no_beginning_of_a_file_does_more_than_raise(format: Format) -> None:
    content = pictures.small_samples()[format]
    for prefix in damage.prefixes(content, count=400):
        try:
            read_header(prefix, format=format)
        except BrokenFile:
            continue
        assert format is Format.JPEG  # its header comes before most of it


@pytest.mark.parametrize("format", WALKED)
def test_no_flipped_bit_does_more_than_raise(format: Format) -> None:
    for flipped in damage.bit_flips(pictures.small_samples()[format], count=1000, seed=7):
        try:
            read_header(flipped, format=format)
        except MediaError:
            continue


@pytest.mark.parametrize(
    ("size", "frames", "error"),
    [
        ((7071, 7071), 1, None),
        ((7072, 7071), 1, TooManyPixels),
        ((16_384, 3051), 1, None),
        ((4096, 4096), 2, None),
        ((4097, 4096), 2, TooManyPixels),
        ((5000, 2500), 20, None),
        ((5000, 2500), 21, TooManyPixels),
        ((0, 1), 1, BrokenFile),
        ((1, 1), MAX_FRAMES, None),
        ((1, 1), MAX_FRAMES + 1, TooComplex),
    ],
)
def test_limits_of_pixels(
    size: tuple[int, int], frames: int, error: type[MediaError] | None
) -> None:
    if error is None:
        check_pixels(*size, frames=frames)
    else:
        with pytest.raises(error):
            check_pixels(*size, frames=frames)
