"""`ImageCodecs` on real cells: sound pictures."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pictures
import pytest
import pytest_asyncio
import pyvips
from media_service.core.formats import Format
from media_service.core.renditions import Encoding, Inspection, Recipe, Shape
from media_service.infra.codecs.cells import Cells
from media_service.infra.codecs.images import ImageCodecs
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIT, CROP = Shape.FIT, Shape.CROP
JPEG, WEBP = Encoding.JPEG, Encoding.WEBP
TURNABLE = (Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.HEIC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def codecs() -> AsyncIterator[ImageCodecs]:
    async with Cells(size=2) as cells:
        yield ImageCodecs(cells)


class Studio:
    """Puts pictures into files, and renditions out of them."""

    def __init__(self, codecs: ImageCodecs, folder: Path) -> None:
        self.codecs = codecs
        self._source = folder / "source"
        self._folder = folder

    async def inspect(self, content: bytes, format: Format) -> Inspection:
        self._source.write_bytes(content)
        return await self.codecs.inspect(self._source, format=format)

    async def develop(self, content: bytes, format: Format, *recipes: Recipe) -> list[bytes]:
        self._source.write_bytes(content)
        targets = [(recipe, self._folder / str(i)) for i, recipe in enumerate(recipes)]
        sizes = await self.codecs.develop(self._source, format=format, targets=targets)
        developed = [path.read_bytes() for _, path in targets]
        assert [Image.open(io.BytesIO(content)).size for content in developed] == sizes
        return developed


@pytest.fixture
def studio(codecs: ImageCodecs, tmp_path: Path) -> Studio:
    return Studio(codecs, tmp_path)


def recipe(
    shape: Shape, width: int, height: int, *, encoding: Encoding = JPEG, **changes: Any
) -> Recipe:
    fields = {"quality": 90, **changes}
    return Recipe(shape=shape, width=width, height=height, encoding=encoding, **fields)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def pixels_of(content: bytes, mode: str = "RGB") -> npt.NDArray[np.float64]:
    return np.asarray(opened(content).convert(mode), dtype=float)


def difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


async def test_every_format_is_decoded_here(codecs: ImageCodecs) -> None:
    assert codecs.formats() == frozenset(Format)


async def test_versions_are_told(codecs: ImageCodecs) -> None:
    assert {"libvips", "pillow", "libavif", "dav1d", "libheif"} <= set(codecs.versions())


@pytest.mark.parametrize("format", list(Format))
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
@pytest.mark.parametrize("format", list(Format))
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


@pytest.mark.parametrize("format", list(Format))
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
    studio: Studio, original: tuple[int, int], full: tuple[int, int], others: list[Recipe]
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


async def test_grey_heic_of_more_than_8_bits(studio: Studio) -> None:
    grey = Image.fromarray(pictures.scene(64, 48)).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    content = pictures.picture(deep, format=Format.HEIC)

    (developed,) = await studio.develop(content, Format.HEIC, recipe(FIT, 2048, 2048))

    assert difference(pixels_of(developed, "L"), np.asarray(grey)) < 5


@pytest.mark.parametrize("format", [Format.AVIF, Format.HEIC])
async def test_of_a_sequence_the_first_picture_counts(studio: Studio, format: Format) -> None:
    frames = [Image.fromarray(np.roll(pictures.scene(64, 48), 9 * i, axis=1)) for i in range(3)]
    content = pictures.picture(frames[0], format=format, save_all=True, append_images=frames[1:])

    inspection = await studio.inspect(content, format)
    (developed,) = await studio.develop(content, format, recipe(FIT, 2048, 2048))

    assert inspection.frames == 1
    assert difference(pixels_of(developed), np.asarray(frames[0])) < 8


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
    assert image.info["loop"] == opened(content).info["loop"] + (format is Format.GIF)
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
