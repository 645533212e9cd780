"""`ImageCodecs` on real cells: what sound pictures are taken for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import pyvips
from contract.studio import Studio, difference, opened, pixels_of, recipe
from fakes import pictures
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, Shape
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from PIL import Image

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


async def test_every_format_is_decoded_here(codecs: ImageCodecs) -> None:
    assert codecs.formats() == frozenset(pictures.PICTURE_FORMATS)


async def test_versions_are_told(codecs: ImageCodecs) -> None:
    assert {"libvips", "pillow", "libavif", "dav1d", "libheif"} <= set(codecs.versions())


@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_a_picture_of_every_format(studio: Studio, format: Format) -> None:
    content = pictures.picture(format=format)

    inspection = await studio.inspect(content, format)
    (developed,) = await studio.develop(content, format, recipe(FIT, 2048, 2048))

    assert (inspection.width, inspection.height, inspection.frames) == (400, 300, 1)
    assert not inspection.has_transparency
    assert difference(pixels_of(developed), pictures.scene()) < 5


CHANNELS: dict[str, Callable[[], bytes]] = {
    "grey": lambda: pictures.picture(Image.fromarray(pictures.scene()).convert("L")),
    "CMYK": lambda: pictures.picture(Image.fromarray(pictures.scene()).convert("CMYK")),
    "CMYK with a profile": lambda: pictures.picture(
        Image.fromarray(pictures.scene()).convert("CMYK"), icc=pictures.profile("cmyk")
    ),
    "bytes between segments": lambda: pictures.picture()[:-2] + bytes(40) + b"\xff\xd9",
    "bytes after the end": lambda: pictures.picture() + b"ftypmp42 a motion picture" * 1000,
    "progressive": lambda: pictures.picture(progressive=True),
    "4:4:4": lambda: pictures.picture(subsampling=0),
}


@pytest.mark.parametrize("name", CHANNELS)
async def test_every_kind_of_jpeg(studio: Studio, name: str) -> None:
    content = CHANNELS[name]()

    inspection = await studio.inspect(content, Format.JPEG)
    (developed,) = await studio.develop(content, Format.JPEG, recipe(FIT, 200, 200))

    assert (inspection.width, inspection.height) == (400, 300)
    wanted = opened(content).convert("RGB").resize((200, 150))
    assert difference(pixels_of(developed), np.asarray(wanted)) < (40 if "CMYK" in name else 5)


MODES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "black and white": lambda image: image.convert("1"),
    "grey": lambda image: image.convert("L"),
    "grey with alpha": lambda image: image.convert("LA"),
    "palette": lambda image: image.convert("RGB").quantize(),
    "palette with alpha": lambda image: image.quantize(),
    "RGB": lambda image: image.convert("RGB"),
    "RGBA": lambda image: image,
}


@pytest.mark.parametrize("mode", MODES)
async def test_every_kind_of_png(studio: Studio, mode: str) -> None:
    image = MODES[mode](Image.fromarray(pictures.transparent()))
    content = pictures.picture(image, format=Format.PNG)

    inspection = await studio.inspect(content, Format.PNG)
    (developed,) = await studio.develop(content, Format.PNG, recipe(FIT, 200, 200, encoding=WEBP))

    is_transparent = "alpha" in mode or mode == "RGBA"
    assert inspection.has_transparency == is_transparent
    wanted = np.asarray(image.convert("RGBA").resize((200, 150)), dtype=float)
    found = pixels_of(developed, "RGBA")
    assert difference(found[:, :, 3], wanted[:, :, 3]) < 2
    assert difference(found[80:], wanted[80:]) < 5


async def test_sixteen_bits_are_the_same_colours(studio: Studio) -> None:
    scene = pictures.scene()
    sixteen = pyvips.Image.new_from_array(scene.astype(np.uint16) * 257)
    content = sixteen.copy(interpretation="rgb16").pngsave_buffer()

    (developed,) = await studio.develop(content, Format.PNG, recipe(FIT, 2048, 2048))

    assert difference(pixels_of(developed), scene) < 5


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (7, 3), (3, 2000)])
@pytest.mark.parametrize("format", pictures.PICTURE_FORMATS)
async def test_odd_proportions(studio: Studio, format: Format, size: tuple[int, int]) -> None:
    content = pictures.picture(pictures.scene(*size), format=format)
    recipes = [recipe(FIT, 2048, 2048), recipe(CROP, 150, 150), recipe(FIT, 320, 16_384)]

    inspection = await studio.inspect(content, format)
    developed = await studio.develop(content, format, *recipes)

    assert (inspection.width, inspection.height) == size
    assert [opened(one).size for one in developed] == [r.size_of(*size) for r in recipes]


@pytest.mark.parametrize("orientation", pictures.ORIENTATIONS)
@pytest.mark.parametrize("format", TURNABLE)
async def test_a_turned_picture_comes_out_upright(
    studio: Studio, format: Format, orientation: int
) -> None:
    scene = pictures.scene(320, 240)
    content = pictures.picture(
        pictures.turned_away(scene, orientation), format=format, orientation=orientation
    )

    inspection = await studio.inspect(content, format)
    full, thumbnail = await studio.develop(
        content, format, recipe(FIT, 2048, 2048), recipe(CROP, 100, 50)
    )

    assert (inspection.width, inspection.height) == (320, 240)
    assert difference(pixels_of(full), scene) < 5
    assert opened(thumbnail).size == (100, 50)


@pytest.mark.parametrize("format", TURNABLE)
async def test_turned_pictures_have_one_blurhash(studio: Studio, format: Format) -> None:
    scene = pictures.scene(320, 240)
    upright = await studio.inspect(pictures.picture(scene, format=format), format)

    for orientation in pictures.ORIENTATIONS:
        stored = pictures.turned_away(scene, orientation)
        content = pictures.picture(stored, format=format, orientation=orientation)
        turned = await studio.inspect(content, format)

        assert pictures.are_alike(turned.blurhash, upright.blurhash)


async def test_size_does_not_change_the_blurhash(studio: Studio) -> None:
    small = await studio.inspect(pictures.photograph(800, 600, noise=0), Format.JPEG)
    large = await studio.inspect(pictures.photograph(3200, 2400, noise=0), Format.JPEG)

    assert pictures.are_alike(small.blurhash, large.blurhash)


async def test_transparency_is_hashed_as_white(studio: Studio) -> None:
    rgba = pictures.transparent()
    white = np.where(rgba[:, :, 3:] == 0, 255, rgba[:, :, :3]).astype(np.uint8)

    ours = await studio.inspect(pictures.picture(rgba, format=Format.PNG), Format.PNG)
    same = await studio.inspect(pictures.picture(white, format=Format.PNG), Format.PNG)

    assert pictures.are_alike(ours.blurhash, same.blurhash)


@pytest.mark.parametrize("format", [Format.PNG, Format.WEBP, Format.AVIF])
async def test_an_opaque_alpha_channel_is_no_transparency(studio: Studio, format: Format) -> None:
    opaque = np.dstack([pictures.scene(), np.full((300, 400), 255, np.uint8)])

    inspection = await studio.inspect(pictures.picture(opaque, format=format), format)

    assert not inspection.has_transparency


async def test_one_transparent_pixel_is_transparency(studio: Studio) -> None:
    rgba = np.dstack([pictures.scene(2000, 1500), np.full((1500, 2000), 255, np.uint8)])
    rgba[700, 700, 3] = 254

    inspection = await studio.inspect(pictures.picture(rgba, format=Format.PNG), Format.PNG)

    assert inspection.has_transparency


async def test_wide_colours_become_srgb(studio: Studio) -> None:
    wide = np.full((64, 64, 3), (60, 200, 90), np.uint8)

    inside, untagged, tagged = [
        (
            await studio.develop(
                pictures.picture(wide, format=Format.PNG, icc=icc),
                Format.PNG,
                recipe(FIT, 2048, 2048, quality=100),
            )
        )[0]
        for icc in (pictures.profile("p3"), b"", pictures.profile("srgb"))
    ]

    assert difference(pixels_of(inside)[:1, :1], np.array([[[0, 204, 80]]])) < 8
    assert difference(pixels_of(untagged), wide) < 2
    assert difference(pixels_of(tagged), wide) < 2


async def test_a_damaged_profile_is_ignored(studio: Studio) -> None:
    content = pictures.picture(icc=b"no profile at all")

    (developed,) = await studio.develop(content, Format.JPEG, recipe(FIT, 2048, 2048))

    assert difference(pixels_of(developed), pictures.scene()) < 5


async def test_grey_heic_of_more_than_8_bits(studio: Studio) -> None:
    grey = Image.fromarray(pictures.scene(64, 48)).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    content = pictures.picture(deep, format=Format.HEIC)

    (developed,) = await studio.develop(content, Format.HEIC, recipe(FIT, 2048, 2048))

    assert difference(pixels_of(developed, "L"), np.asarray(grey)) < 5


async def test_of_a_sequence_of_heic_the_first_picture_counts(studio: Studio) -> None:
    format = Format.HEIC
    frames = [Image.fromarray(np.roll(pictures.scene(64, 48), 9 * i, axis=1)) for i in range(3)]
    content = pictures.picture(frames[0], format=format, save_all=True, append_images=frames[1:])

    inspection = await studio.inspect(content, format)
    (developed,) = await studio.develop(content, format, recipe(FIT, 2048, 2048))

    assert inspection.frames == 1
    assert difference(pixels_of(developed), np.asarray(frames[0])) < 8
