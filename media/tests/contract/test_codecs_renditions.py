"""`ImageCodecs` on real cells: what is made of sound pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from contract.studio import Studio, difference, opened, pixels_of, recipe
from fakes import pictures
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.pictures.codecs import ImageCodecs

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIT, CROP = Shape.FIT, Shape.CROP
JPEG, WEBP = Encoding.JPEG, Encoding.WEBP
TURNABLE = (Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.HEIC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def codecs() -> AsyncIterator[ImageCodecs]:
    async with Cells(size=2) as cells:
        yield ImageCodecs(cells)


@pytest.fixture
def studio(codecs: ImageCodecs, tmp_path: Path) -> Studio:
    return Studio(codecs, tmp_path)


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_no_rendition_carries_metadata(studio: Studio, format: Format) -> None:
    icc = b"" if format is Format.GIF else pictures.profile("p3")
    content = pictures.picture(pictures.scene(), format=format, orientation=1, icc=icc)
    if format is Format.JPEG:
        content = pictures.photograph(icc=icc)
    assert pictures.CANARY in content or format is Format.PNG

    developed = await studio.develop(
        content,
        format,
        recipe(FIT, 2048, 2048),
        recipe(CROP, 50, 50),
        recipe(FIT, 2048, 2048, encoding=WEBP),
        recipe(FIT, 100, 100, encoding=WEBP),
    )

    _assert_clean(developed)


@pytest.mark.parametrize("format", pictures.MOVING)
async def test_no_moving_rendition_carries_metadata(studio: Studio, format: Format) -> None:
    content = pictures.moving(format=format, orientation=1)

    developed = await studio.develop(
        content, format, recipe(FIT, 2048, 2048, encoding=WEBP, animated=True)
    )

    _assert_clean(developed)


def _assert_clean(developed: list[bytes]) -> None:
    for one in developed:
        for mark in (b"Exif", b"EXIF", b"GPS", b"xmp", b"XMP", b"ICC", b"8BIM", b"canary"):
            assert mark not in one
        told = {"exif", "xmp", "icc_profile", "comment", "photoshop"} & set(opened(one).info)
        assert not told
        assert not opened(one).getexif()


async def test_renditions_have_the_sizes_that_were_planned(studio: Studio) -> None:
    content = pictures.photograph(2500, 1700)
    recipes = [
        recipe(FIT, 1080, 16_384),
        recipe(FIT, 640, 16_384),
        recipe(CROP, 400, 150),
        recipe(CROP, 150, 150),
        recipe(CROP, 300, 300),
        recipe(FIT, 1200, 900),
        recipe(FIT, 4096, 4096),
        recipe(CROP, 1600, 600),
    ]

    developed = await studio.develop(content, Format.JPEG, *recipes)

    assert [opened(one).size for one in developed] == [r.size_of(2500, 1700) for r in recipes]


@pytest.mark.parametrize(
    ("original", "full"),
    [
        ((4000, 3000), (2000, 1500)),  # half of it is near enough
        ((3000, 2000), (2048, 1365)),
        ((4096, 2048), (2048, 1024)),
        ((7900, 100), (1975, 25)),
        ((2048, 2048), (2048, 2048)),
    ],
)
@pytest.mark.parametrize("others", [[], [recipe(CROP, 1600, 600)]])
async def test_a_large_box_is_met_or_nearly_so(
    studio: Studio, original: tuple[int, int], full: tuple[int, int], others: list[PictureRecipe]
) -> None:
    content = pictures.picture(pictures.scene(*original))

    developed, *_ = await studio.develop(content, Format.JPEG, recipe(FIT, 2048, 2048), *others)

    assert opened(developed).size == full


async def test_nothing_is_made_larger(studio: Studio) -> None:
    content = pictures.picture(pictures.scene(90, 60))

    developed = await studio.develop(
        content, Format.JPEG, recipe(FIT, 2048, 2048), recipe(CROP, 150, 150)
    )

    assert [opened(one).size for one in developed] == [(90, 60), (60, 60)]


async def test_webp_has_no_side_of_16384(studio: Studio) -> None:
    content = pictures.picture(pictures.transparent(20, 16_384), format=Format.PNG)

    (developed,) = await studio.develop(
        content, Format.PNG, recipe(FIT, 320, 16_384, encoding=WEBP)
    )

    assert opened(developed).size == (20, 16_383)


async def test_a_crop_shows_what_draws_the_eye(studio: Studio) -> None:
    pixels = np.full((400, 1200, 3), 120, np.uint8)
    pixels[100:300, 900:1100] = (230, 40, 30)
    content = pictures.picture(pixels)

    (developed,) = await studio.develop(content, Format.JPEG, recipe(CROP, 100, 100))

    is_red = (pixels_of(developed) * (1, -1, -1)).sum(axis=2) > 80
    assert 0.2 < is_red.mean() < 0.3  # all of it: a quarter of the square


async def test_renditions_are_baseline_and_subsampled(studio: Studio) -> None:
    (developed,) = await studio.develop(
        pictures.picture(), Format.JPEG, recipe(FIT, 2048, 2048, quality=95)
    )

    image: Any = opened(developed)
    assert "progressive" not in image.info
    assert [component[1:3] for component in image.layer] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("format", pictures.MOVING)
async def test_a_moving_picture_keeps_moving(studio: Studio, format: Format) -> None:
    content = pictures.moving(6, format=format, size=(120, 90))

    inspection = await studio.inspect(content, format)
    full, still = await studio.develop(
        content,
        format,
        recipe(FIT, 60, 60, encoding=WEBP, animated=True),
        recipe(CROP, 40, 40),
    )

    assert inspection.frames == 6
    image: Any = opened(full)
    image.load()
    assert (image.size, image.n_frames, image.info["duration"]) == ((60, 45), 6, 70)
    assert inspection.duration_ms == 6 * 70
    plays = opened(content).info.get("loop", 0)
    assert image.info["loop"] == plays + (format is Format.GIF)
    assert difference(pixels_of(full), _shrunk(content)) < 8
    image.seek(5)
    last: Any = opened(content)
    last.seek(5)
    assert (
        difference(
            np.asarray(image.convert("RGB")), np.asarray(last.convert("RGB").resize((60, 45)))
        )
        < 8
    )
    assert opened(still).size == (40, 40)


def _shrunk(content: bytes) -> npt.NDArray[Any]:
    return np.asarray(opened(content).convert("RGB").resize((60, 45)))


async def test_a_moving_recipe_of_a_still_picture_is_still(studio: Studio) -> None:
    (developed,) = await studio.develop(
        pictures.picture(), Format.JPEG, recipe(FIT, 60, 60, encoding=WEBP, animated=True)
    )

    image: Any = opened(developed)
    assert (image.size, image.n_frames) == ((60, 45), 1)


async def test_equal_originals_and_recipes_give_equal_bytes(studio: Studio) -> None:
    recipes = [recipe(FIT, 2048, 2048), recipe(CROP, 150, 150), recipe(FIT, 99, 99, encoding=WEBP)]
    content = pictures.photograph(1000, 800)

    assert await studio.develop(content, Format.JPEG, *recipes) == await studio.develop(
        content, Format.JPEG, *recipes
    )


@pytest.mark.parametrize("size", [(64, 48), (900, 700), (2400, 1800)])
@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_what_an_inspection_kept_gives_the_same_renditions(
    studio: Studio, format: Format, size: tuple[int, int]
) -> None:
    content = pictures.picture(pictures.scene(*size), format=format, orientation=1)
    recipes = recipe(FIT, 2048, 2048), recipe(CROP, 50, 50)

    fresh = await studio.develop(content, format, *recipes)
    kept = await studio.develop_after_inspecting(content, format, *recipes)

    for one, other in zip(fresh, kept, strict=True):
        assert difference(pixels_of(one), pixels_of(other)) < 1
