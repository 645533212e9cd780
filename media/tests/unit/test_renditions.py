from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from fakes.samples import a_recipe, an_inspection, recipe_of
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.blobs import parse_key, rendition_key
from media_service.core.errors import InvalidOptions
from media_service.core.formats import Format
from media_service.core.media import Purpose, Sha256
from media_service.core.planning import plan_renditions
from media_service.core.purposes import DEFAULT_POLICIES
from media_service.core.recipes import (
    Encoding,
    FilmRecipe,
    PictureRecipe,
    Shape,
    StreamPart,
    StreamRecipe,
    is_version,
    key_beside,
    stream_name,
)
from media_service.core.renditions import Inspection, ProcessingOptions, Rendition, Stage

FACE = DEFAULT_POLICIES.of[Purpose.PROFILE_PICTURE].developing
sides = st.integers(1, 16_384)
recipes = st.builds(
    PictureRecipe,
    shape=st.sampled_from(Shape),
    width=sides,
    height=sides,
    quality=st.integers(1, 100),
    encoding=st.sampled_from(Encoding),
    animated=st.booleans(),
)


def _options(**changes: Any) -> ProcessingOptions:
    return ProcessingOptions(**{"generate_thumbnails": True, "generate_blurhash": True, **changes})


def _plan(
    options: ProcessingOptions | None = None, inspection: Inspection | None = None
) -> tuple[Rendition, ...]:
    return plan_renditions(
        FACE, format=Format.JPEG, options=options, inspection=inspection or an_inspection()
    )


# Sizes


@given(recipes, sides, sides)
def test_no_rendition_is_larger_than_its_original(
    recipe: PictureRecipe, width: int, height: int
) -> None:
    made = recipe.size_of(width, height)

    assert 1 <= made[0] <= width
    assert 1 <= made[1] <= height


@given(recipes, sides, sides)
def test_every_rendition_is_within_its_box(recipe: PictureRecipe, width: int, height: int) -> None:
    made = recipe.size_of(width, height)

    assert made[0] <= recipe.width
    assert made[1] <= recipe.height


@given(sides, sides, sides, sides)
def test_what_fits_keeps_its_proportions(box_w: int, box_h: int, width: int, height: int) -> None:
    made = a_recipe(width=box_w, height=box_h).size_of(width, height)

    assert made[0] == pytest.approx(width * made[1] / height, abs=1 + width / height)
    if width > box_w or height > box_h:
        assert made[0] == box_w or made[1] == box_h
    else:
        assert made == (width, height)


@given(sides, sides, sides, sides)
def test_what_is_cut_has_the_proportions_of_the_box(
    box_w: int, box_h: int, width: int, height: int
) -> None:
    made = a_recipe(shape=Shape.CROP, width=box_w, height=box_h).size_of(width, height)

    assert made[0] == pytest.approx(box_w * made[1] / box_h, abs=1 + box_w / box_h)
    if width >= box_w and height >= box_h:
        assert made == (box_w, box_h)


@pytest.mark.parametrize(
    ("shape", "box", "size", "made"),
    [
        (Shape.FIT, (2048, 2048), (4000, 3000), (2048, 1536)),
        (Shape.FIT, (2048, 2048), (640, 480), (640, 480)),
        (Shape.FIT, (320, 16384), (4000, 3000), (320, 240)),
        (Shape.FIT, (320, 320), (16384, 1), (320, 1)),
        (Shape.CROP, (150, 150), (4000, 3000), (150, 150)),
        (Shape.CROP, (150, 150), (100, 80), (80, 80)),
        (Shape.CROP, (400, 150), (200, 200), (200, 75)),
        (Shape.CROP, (150, 150), (1, 1), (1, 1)),
    ],
)
def test_sizes_are_those_one_would_expect(
    shape: Shape, box: tuple[int, int], size: tuple[int, int], made: tuple[int, int]
) -> None:
    assert a_recipe(shape=shape, width=box[0], height=box[1]).size_of(*size) == made


# Recipes


@given(recipes, recipes)
def test_keys_and_versions_differ_exactly_if_recipes_do(
    one: PictureRecipe, other: PictureRecipe
) -> None:
    assert (one.key == other.key) == (one == other)
    assert (one.version == other.version) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": Shape.CROP},
        {"width": 321},
        {"height": 319},
        {"quality": 86},
        {"encoding": Encoding.WEBP},
        {"animated": True},
    ],
)
def test_any_change_of_a_recipe_changes_its_key_and_version(change: dict[str, Any]) -> None:
    changed = dataclasses.replace(a_recipe(), **change)

    assert changed.key != a_recipe().key
    assert changed.version != a_recipe().version


def test_keys_and_versions_are_those_that_are_in_use() -> None:
    assert a_recipe().key == "fit-320x320-q85-jpeg-1"
    assert a_recipe(animated=True, encoding=Encoding.WEBP).key == "fit-320x320-q85-webp-moving-1"
    assert a_recipe().version == "f99db0a573"


@given(recipes)
def test_a_key_names_a_file_that_can_be_told_again(recipe: PictureRecipe) -> None:
    source = Sha256("ab" * 32)

    assert re.fullmatch(r"[a-z0-9-]{1,64}", recipe.key)
    assert parse_key(rendition_key(source, recipe.key, checksum=source)) == (source, recipe.key)


@given(recipes)
def test_a_version_is_told_from_other_text(recipe: PictureRecipe) -> None:
    assert is_version(recipe.version)
    assert not is_version(recipe.version + "\0")
    assert not is_version(recipe.version[:-1])
    assert not is_version(recipe.version.upper() + "\n")


# Options


@pytest.mark.parametrize(
    "change",
    [
        {"quality": -1},
        {"quality": 101},
        {"max_width": -1},
        {"max_width": 4097},
        {"max_height": -(2**31)},
        {"max_height": 2**31 - 1},
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InvalidOptions):
        _options(**change)


@pytest.mark.parametrize(
    "change",
    [{"quality": 0}, {"quality": 1}, {"quality": 100}, {"max_width": 1}, {"max_height": 4096}],
)
def test_options_at_the_edge_are_taken(change: dict[str, int]) -> None:
    _options(**change)


# Plans


def test_without_options_the_policy_decides() -> None:
    planned = [(r.name, r.recipe.key, r.width, r.height) for r in _plan()]

    assert planned == [
        ("full", "fit-2048x2048-q92-jpeg-1", 1200, 800),
        ("small", "crop-150x150-q85-jpeg-1", 150, 150),
        ("medium", "crop-300x300-q85-jpeg-1", 300, 300),
        ("large", "crop-600x600-q85-jpeg-1", 600, 600),
    ]


def test_options_of_zero_mean_the_policy() -> None:
    assert _plan(_options()) == _plan(None)


def test_a_quality_goes_for_full_and_thumbnails() -> None:
    assert {recipe_of(r).quality for r in _plan(_options(quality=50))} == {50}


def test_a_box_goes_for_full_alone() -> None:
    full, *thumbnails = _plan(_options(max_width=100, max_height=4000))

    assert (recipe_of(full).width, recipe_of(full).height) == (100, 4000)
    assert thumbnails == list(_plan()[1:])


def test_one_side_of_the_box_may_be_left_to_the_policy() -> None:
    full = _plan(_options(max_height=100))[0]

    assert (recipe_of(full).width, recipe_of(full).height) == (2048, 100)


def test_thumbnails_can_be_declined() -> None:
    assert _plan(_options(generate_thumbnails=False)) == _plan()[:1]


def test_a_blurhash_is_no_matter_of_renditions() -> None:
    assert _plan(_options(generate_blurhash=False)) == _plan()


def test_what_has_transparency_is_saved_as_webp() -> None:
    planned = _plan(inspection=an_inspection(has_transparency=True))

    assert {(recipe_of(r).encoding, recipe_of(r).animated) for r in planned} == {
        (Encoding.WEBP, False)
    }


def test_what_moves_is_kept_moving_in_full_only() -> None:
    full, *thumbnails = _plan(inspection=an_inspection(frames=2))

    assert (recipe_of(full).encoding, recipe_of(full).animated) == (Encoding.WEBP, True)
    assert {(recipe_of(r).encoding, recipe_of(r).animated) for r in thumbnails} == {
        (Encoding.JPEG, False)
    }


def test_what_moves_for_long_is_a_silent_film_too() -> None:
    motion = _plan(inspection=an_inspection(frames=10))[-1]

    assert (motion.name, motion.stage) == ("motion", Stage.COMPLETE)
    assert motion.recipe == FilmRecipe(short_side=720, frame_rate=60, silent=True)


@pytest.mark.parametrize("told", [{"frames": 9}, {"frames": 50, "has_transparency": True}])
def test_what_is_short_or_transparent_is_no_film(told: dict[str, Any]) -> None:
    assert "motion" not in {r.name for r in _plan(inspection=an_inspection(**told))}


def test_only_what_plays_is_made_anew_at_another_loudness() -> None:
    plain, normalized = (
        {
            rendition.name: rendition.recipe.key
            for rendition in plan_renditions(
                FACE,
                format=Format.OGG,
                options=_options(normalize_loudness=is_normalized),
                inspection=an_inspection(width=0, height=0, duration_ms=1000, has_audio=True),
            )
        }
        for is_normalized in (False, True)
    )

    assert list(plain) == ["full", "waveform", "wave", "opus"]
    assert {name for name in plain if plain[name] != normalized[name]} == {"full", "opus"}


def test_planned_sizes_are_those_that_will_be_made() -> None:
    for rendition in _plan(inspection=an_inspection(width=100, height=50)):
        assert (rendition.width, rendition.height) == rendition.recipe.size_of(100, 50)
        assert rendition.size_bytes == 0


STREAM = StreamRecipe(part=StreamPart.MASTER, short_side=0, rungs=(360, 720), frame_rate=30)
PARTS = [(StreamPart.MASTER, 0), (StreamPart.PLAYLIST, 360), (StreamPart.SEGMENTS, 720)]


@pytest.mark.parametrize(("part", "short_side"), PARTS)
def test_each_part_of_a_stream_leads_to_the_others(part: StreamPart, short_side: int) -> None:
    this = dataclasses.replace(STREAM, part=part, short_side=short_side)

    for other, other_side in PARTS:
        beside = dataclasses.replace(STREAM, part=other, short_side=other_side)
        assert key_beside(this.key, stream_name(other, other_side)) == beside.key


@pytest.mark.parametrize("size", [(1, 1), (16, 1), (3, 1001), (640, 359)])
def test_a_stream_of_the_smallest_film_has_parts_too(size: tuple[int, int]) -> None:
    told = an_inspection(width=size[0], height=size[1], duration_ms=1000, has_video=True)

    planned = plan_renditions(FACE, format=Format.MP4, options=None, inspection=told)

    keys = {r.name: r.recipe.key for r in planned if r.name.startswith("hls")}
    assert len(keys) == 3
    assert {name: key_beside(keys["hls"], name) for name in keys} == keys


def test_parts_of_a_stream_of_the_past_lead_to_each_other() -> None:
    assert key_beside("hls-master-of-90-25fps-0", "hls-90") == "hls-playlist-90p-of-90-25fps-0"


@pytest.mark.parametrize("name", ["full", "hls-0", "hls-360p", "hls-", "hls-360-more", ""])
def test_no_stream_has_a_part_of_another_name(name: str) -> None:
    assert key_beside(STREAM.key, name) is None


def test_there_is_nothing_beside_what_is_no_stream() -> None:
    assert key_beside(FilmRecipe(short_side=720, frame_rate=60).key, "hls") is None
