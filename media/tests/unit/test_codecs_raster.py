from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pyvips
from fakes import damage, pictures
from media_service.core.formats import Format
from media_service.infra.codecs.pictures.colour import is_srgb
from media_service.infra.codecs.pictures.raster import Raster, VipsError
from PIL import Image, ImageCms

ALLOWED = (Format.JPEG, Format.PNG, Format.WEBP, Format.GIF)


@pytest.mark.parametrize("format", ALLOWED)
def test_formats_we_mean_are_loaded(format: Format) -> None:
    image: Any = pyvips.Image.new_from_buffer(pictures.picture(format=format), "")

    assert (image.width, image.height) == (400, 300)


@pytest.mark.parametrize(
    "content",
    [
        *pictures.NOT_PICTURES,
        pictures.tiff(),
        pictures.picture(format=Format.AVIF),
        pictures.picture(format=Format.HEIC),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_nothing_else_is_loaded(content: bytes) -> None:
    with pytest.raises(VipsError):
        pyvips.Image.new_from_buffer(content, "")


@pytest.mark.parametrize("loader", ["heifload", "tiffload", "svgload", "pdfload", "magickload"])
def test_other_loaders_are_switched_off_by_name_too(loader: str) -> None:
    with pytest.raises((VipsError, AttributeError)):
        Raster.of_file(loader, pictures.tiff())


@pytest.mark.parametrize("orientation", pictures.ORIENTATIONS)
def test_turning_is_exact(orientation: int) -> None:
    scene = pictures.scene(30, 20)

    turned = Raster.of_array(pictures.turned_away(scene, orientation)).turned(orientation)

    assert np.array_equal(turned.array(), scene)


@pytest.mark.parametrize("size", [(1, 1), (29, 7), (30, 20), (3, 20)])
@pytest.mark.parametrize("make", [pictures.scene, pictures.transparent])
def test_scaling_is_exact(
    make: Callable[[int, int], pictures.Pixels], size: tuple[int, int]
) -> None:
    scaled = Raster.of_array(make(30, 20)).scaled(*size)

    assert (scaled.width, scaled.height) == size
    assert scaled.array().shape[:2] == size[::-1]


def test_hidden_colours_do_not_bleed() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, :20] = (255, 0, 0, 0)
    pixels[:, 20:] = (0, 0, 255, 255)

    scaled = Raster.of_array(pixels).scaled(9, 9).array()

    assert scaled[scaled[:, :, 3] > 40][:, 0].max() < 10


def test_what_is_transparent_shows_white() -> None:
    white = Raster.of_array(pictures.transparent()).on_white().array()

    assert white[0, 0].tolist() == [255, 255, 255]
    assert white.shape[2] == 3


def test_srgb_is_known_by_its_numbers() -> None:
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    assert is_srgb(made)
    assert is_srgb(pictures.profile("srgb"))


@pytest.mark.parametrize("name", ["p3", "cmyk"])
def test_other_profiles_are_not_srgb(name: str) -> None:
    assert not is_srgb(pictures.profile(name))


def test_no_damaged_profile_is_srgb_by_accident() -> None:
    profile = pictures.profile("srgb")

    assert not any(is_srgb(prefix) for prefix in damage.prefixes(profile, count=100))
    for flipped in damage.bit_flips(profile, count=500, seed=3):
        is_srgb(flipped)


def test_a_profile_is_applied_to_grey_pictures_too() -> None:
    grey = np.asarray(Image.fromarray(pictures.scene()).convert("L"))[:, :, np.newaxis]

    assert Raster.of_array(grey).to_srgb(pictures.profile("p3")).array().shape[:2] == (300, 400)
