from __future__ import annotations

from typing import Any

import blurhash
import numpy as np
import pytest
from fakes.pictures import Pixels, are_alike, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from media_service.infra.codecs.pictures.blurhash import COLUMNS, ROWS, encode_blurhash
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:blurhash")


def reference(pixels: Pixels) -> str:
    """What woltapp's C says."""
    return str(blurhash.encode(Image.fromarray(pixels), COLUMNS, ROWS))


def noise(draw: Any) -> Pixels:
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    low = draw(st.integers(0, 255))
    return generator.integers(low, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(pixels=st.composite(noise)())
def test_no_number_is_more_than_a_rounding_from_the_reference(pixels: Pixels) -> None:
    """The reference adds up in 32 bits, so that noise may tip a number that lies between two."""
    assert are_alike(encode_blurhash(pixels), reference(pixels))


@pytest.mark.parametrize("seed", range(40))
def test_scenes_equal_the_reference(seed: int) -> None:
    generator = np.random.default_rng(seed)
    width, height = generator.integers(1, 101, 2).tolist()
    pixels = np.roll(scene(width, height, noise=seed, seed=seed), seed, axis=seed % 3)

    assert encode_blurhash(pixels) == reference(pixels)


@pytest.mark.parametrize("size", [(100, 75), (75, 100), (100, 1), (1, 100), (1, 1), (33, 100)])
def test_a_scene_of_any_size_equals_the_reference(size: tuple[int, int]) -> None:
    pixels = scene(*size, noise=4)

    assert encode_blurhash(pixels) == reference(pixels)


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_one_colour_all_over_equals_the_reference(level: int) -> None:
    pixels = np.full((30, 40, 3), level, np.uint8)

    assert encode_blurhash(pixels) == reference(pixels)


def test_it_always_has_28_letters() -> None:
    assert len(encode_blurhash(scene(100, 75))) == 28
