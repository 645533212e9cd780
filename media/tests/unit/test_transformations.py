from __future__ import annotations

import random

import pytest
from fakes.samples import a_media
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.errors import InvalidTransformation
from media_service.core.media import MediaType
from media_service.core.recipes import Encoding, Shape
from media_service.core.transformations import (
    DEFAULT_QUALITY,
    Offer,
    Operation,
    Transformation,
    parse_sides,
    parse_transformation,
    require_picture,
)
from media_service.entrypoints.http_api.negotiation import encoding_for

ODD = [
    "",
    ":",
    "fit",
    "fit:",
    "fit:640",
    "fit:640:",
    "fit:640:480:1",
    "fit:-1:480",
    "fit:0:480",
    "fit:640:0",
    "fit:640:NaN",
    "fit:640:1e9",
    "fit:640:1000000000",
    "fit:640:99999999999999999999999999",
    "fit:0640:480",
    "fit:+640:480",
    "fit:6_40:480",
    "fit:640.0:480",
    "fit: 640:480",
    "fit:640:480 ",
    "fit:640:480\n",
    "fit:٦٤٠:480",
    "fit:６40:480",
    "FIT:640:480",
    "Fit:640:480",
    "scale:640:480",
    "fit:640:480,",
    "fit:640:480,,q:70",
    "fit:640:480,q:",
    "fit:640:480,q:0",
    "fit:640:480,q:101",
    "fit:640:480,q:-1",
    "fit:640:480,q:070",
    "fit:640:480,q:70,q:70",
    "fit:640:480,q:70,q:71",
    "fit:640:480,fit:64:64",
    "fit:640:480,fmt:../x",
    "fit:640:480,fmt:webp",
    "fit:640:480.png",
    "fit:640:480.svg",
    "fit:640:480.jpeg",
    "fit:640:480.JPG",
    "fit:640:480..jpg",
    "fit:640:480.jpg.webp",
    "fit:640:480/../x",
    "fit:640%3A480",
    "fit%3A640:480",
    "crop:640:480,q:70,focus:0.2:0.5",
    "crop:640:480,focus:0.2",
    "crop:640:480,focus:0.20:0.5",
    "crop:640:480,focus:.2:0.5",
    "crop:640:480,focus:0.:0.5",
    "crop:640:480,focus:1.1:0.5",
    "crop:640:480,focus:-0.1:0.5",
    "crop:640:480,focus:2:0.5",
    "crop:640:480,focus:0.255:0.5",
    "crop:640:480,focus:00.2:0.5",
    "crop:640:480,focus:0.0:0.5",
    "crop:640:480,focus:1.0:0.5",
    "crop:640:480,focus:nan:inf",
    "crop:640:480,focus:1e-1:0.5",
    "crop:640:480,focus:0.2:0.5,focus:0.2:0.5",
]
"""What is no transformation, or one spelled otherwise than it must be."""
SUPERFLUOUS = [
    f"fit:640:480,q:{DEFAULT_QUALITY}",
    "crop:640:480,focus:0.5:0.5",
    "fit:640:480,focus:0.2:0.5",
    "fill:640:480,focus:0.2:0.5",
]
"""What says what would be so without it, or what the operation has no use for."""

transformations = st.builds(
    Transformation,
    operation=st.sampled_from([Operation.FIT, Operation.FILL]),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    quality=st.integers(1, 100),
    encoding=st.sampled_from([None, *Encoding]),
) | st.builds(
    Transformation,
    operation=st.just(Operation.CROP),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    focus=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    quality=st.integers(1, 100),
    encoding=st.sampled_from([None, *Encoding]),
)


@given(transformations)
def test_every_transformation_is_read_as_it_is_spelled(transformation: Transformation) -> None:
    assert parse_transformation(transformation.spelled) == transformation


@given(transformations, transformations)
def test_two_transformations_have_two_spellings_and_two_versions(
    one: Transformation, other: Transformation
) -> None:
    assert (one == other) == (one.spelled == other.spelled)
    if one.spelled.partition(".")[0] != other.spelled.partition(".")[0]:
        assert one.version != other.version


def test_a_transformation_says_what_is_made() -> None:
    recipe = parse_transformation("crop:640:480,focus:0.05:1,q:70.webp").recipe(Encoding.JPEG)

    assert (recipe.shape, recipe.width, recipe.height) == (Shape.CROP, 640, 480)
    assert (recipe.focus, recipe.quality, recipe.encoding) == ((5, 100), 70, Encoding.WEBP)
    assert recipe.key == "transformed-crop-640x480-at-5-100-q70-webp-1"


def test_without_an_extension_the_reader_decides_what_it_is_saved_as() -> None:
    open_ = parse_transformation("fill:64:64")

    assert {open_.recipe(encoding).encoding for encoding in Encoding} == set(Encoding)


@pytest.mark.parametrize("text", [*ODD, *SUPERFLUOUS])
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(InvalidTransformation):
        parse_transformation(text)


@given(st.text(max_size=80))
def test_whatever_is_read_is_spelled_just_so(text: str) -> None:
    try:
        transformation = parse_transformation(text)
    except InvalidTransformation:
        return

    assert transformation.spelled == text


def test_only_sides_of_the_list_are_offered() -> None:
    offer = parse_sides("64, 640,480")

    assert offer.require("fit:640:480").width == 640
    for text in ("fit:641:480", "fit:640:479", "crop:4096:64"):
        with pytest.raises(InvalidTransformation):
            offer.require(text)


def test_any_side_is_any_up_to_4096() -> None:
    offer = parse_sides("any")

    assert offer.require("fit:4096:1") == parse_transformation("fit:4096:1")
    with pytest.raises(InvalidTransformation):
        offer.require("fit:4097:1")


@pytest.mark.parametrize("text", ["", "0", "64,", "64,x", "-1", "5000", "64;65", "1e3", "all"])
def test_a_list_of_sides_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="pixels a side"):
        parse_sides(text)


def test_nothing_is_offered_of_what_has_no_picture() -> None:
    require_picture(a_media(media_type=MediaType.IMAGE))
    require_picture(a_media(media_type=MediaType.VIDEO))
    require_picture(a_media(media_type=MediaType.DOCUMENT, pages=3))
    for media in (a_media(media_type=MediaType.AUDIO), a_media(media_type=MediaType.DOCUMENT)):
        with pytest.raises(InvalidTransformation):
            require_picture(media)


def test_an_offer_without_sides_is_of_all() -> None:
    assert parse_sides("any") == Offer()


# Accept


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Encoding.JPEG),
        (b"", Encoding.JPEG),
        (b"*/*", Encoding.JPEG),
        (b"image/*", Encoding.JPEG),
        (b"text/html", Encoding.JPEG),
        (b"image/jpeg", Encoding.JPEG),
        (b"image/webp", Encoding.WEBP),
        (b"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Encoding.AVIF),
        (b"image/webp,image/png;q=0.8,*/*;q=0.5", Encoding.WEBP),
        (b"IMAGE/WebP ; q=0.1 , image/png", Encoding.WEBP),
        (b"image/avif;q=0, image/webp", Encoding.WEBP),
        (b"image/avif; q=0.000, image/webp;Q=0", Encoding.JPEG),
        (b"image/avif;q=0.001", Encoding.AVIF),
        (b"ximage/avif", Encoding.JPEG),
        (b"image/avifx", Encoding.JPEG),
        (b"image/avif" + b" " * 5000, Encoding.JPEG),
        (b",,;;,=,\xff\x00,image/webp", Encoding.WEBP),
    ],
)
def test_a_reader_gets_the_smallest_of_what_it_names(
    accept: bytes | None, expected: Encoding
) -> None:
    assert encoding_for(accept) is expected


def test_whatever_is_said_there_are_three_outcomes() -> None:
    generator = random.Random(7)
    words = [b"image/", b"avif", b"webp", b"*/*", b";q=", b"0", b".5", b",", b" ", b"\xff", b"png"]
    said = (b"".join(generator.choices(words, k=generator.randrange(30))) for _ in range(1000))

    assert {encoding_for(accept) for accept in said} <= set(Encoding)
