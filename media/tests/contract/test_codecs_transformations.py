"""`ImageCodecs` on real cells: pictures that a URL asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from contract.studio import Studio, difference, opened, pixels_of, recipe
from fakes import pictures
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, Shape
from media_service.core.transformations import parse_transformation
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISC = np.array([230, 40, 30])
"""The colour of the disc on the left of `pictures.scene`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def codecs() -> AsyncIterator[ImageCodecs]:
    async with Cells(size=1) as cells:
        yield ImageCodecs(cells)


@pytest.fixture
def studio(codecs: ImageCodecs, tmp_path: Path) -> Studio:
    return Studio(codecs, tmp_path)


async def _made(
    studio: Studio, content: bytes, *spelled: str, format: Format = Format.JPEG
) -> list[bytes]:
    recipes = [parse_transformation(each).recipe(Encoding.JPEG) for each in spelled]
    return await studio.develop(content, format, *recipes)


async def test_each_format_is_what_it_says_and_carries_no_metadata(studio: Studio) -> None:
    content = pictures.photograph(800, 600)

    made = await _made(studio, content, "fit:400:400.jpg", "fit:400:400.webp", "fit:400:400.avif")

    assert [opened(each).format for each in made] == ["JPEG", "WEBP", "AVIF"]
    for each in made:
        assert opened(each).size == (400, 300)
        assert difference(pixels_of(each), pixels_of(made[0])) < 4
        for mark in (b"Exif", b"EXIF", b"GPS", b"xmp", b"canary"):
            assert mark not in each


async def test_avif_is_the_smallest_of_a_photograph(studio: Studio) -> None:
    content = pictures.picture(pictures.scene(1200, 900, noise=6))

    jpeg, avif = await _made(studio, content, "fit:640:480.jpg", "fit:640:480.avif")

    assert len(avif) < len(jpeg)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
async def test_the_focus_is_a_point_of_the_upright_picture(
    studio: Studio, orientation: int
) -> None:
    stored = pictures.turned_away(pictures.scene(600, 300), orientation)
    content = pictures.picture(stored, orientation=orientation)

    left, middle, corner = await _made(
        studio,
        content,
        "crop:100:100,focus:0.25:0.5",
        "crop:100:100",
        "crop:100:100,focus:1:0",
    )

    assert np.abs(pixels_of(left)[50, 50] - DISC).max() < 12
    whole = pictures.scene(600, 300)
    assert np.abs(pixels_of(middle)[50, 50] - whole[150, 300]).max() < 12
    assert np.abs(pixels_of(corner)[3, 96] - whole[9, 588]).max() < 12


async def test_filling_looks_where_thumbnails_look(studio: Studio) -> None:
    content = pictures.picture(pictures.scene(900, 300))
    thumbnail = recipe(Shape.CROP, 100, 100, quality=85)

    [filled] = await _made(studio, content, "fill:100:100")
    [cropped] = await studio.develop(content, Format.JPEG, thumbnail)

    assert filled == cropped


@pytest.mark.parametrize("spelled", ["fit:640:480", "fill:640:480", "crop:640:480"])
async def test_nothing_is_enlarged(studio: Studio, spelled: str) -> None:
    content = pictures.picture(pictures.scene(120, 90))

    [made] = await _made(studio, content, spelled)

    assert opened(made).size == (120, 90)


async def test_what_is_transparent_stays_so_or_becomes_white(studio: Studio) -> None:
    image = Image.fromarray(pictures.scene(200, 100)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((200, 100)).point(lambda v: 255 * (v > 127)))
    content = pictures.picture(image, format=Format.PNG)

    jpeg, webp, avif = await _made(
        studio, content, "fit:64:64.jpg", "fit:64:64.webp", "fit:64:64.avif", format=Format.PNG
    )

    assert pixels_of(jpeg)[2, 2].min() > 245
    for each in (webp, avif):
        assert pixels_of(each, "RGBA")[2, 2, 3] < 10
        assert pixels_of(each, "RGBA")[-3, 2, 3] > 245


async def test_grey_stays_grey(studio: Studio) -> None:
    grey = Image.fromarray(pictures.scene(80, 60)).convert("L")

    [avif] = await _made(studio, pictures.picture(grey), "fit:64:64.avif")

    pixels = pixels_of(avif)
    assert np.ptp(pixels, axis=2).max() <= 3
    assert np.ptp(pixels) > 50


@pytest.mark.parametrize("format", pictures.MOVING)
async def test_what_moves_shows_its_first_frame(studio: Studio, format: Format) -> None:
    [made] = await _made(studio, pictures.moving(format=format), "fit:64:64.webp", format=format)

    assert getattr(opened(made), "n_frames", 1) == 1
