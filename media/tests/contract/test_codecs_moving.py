"""`ImageCodecs` on real cells: animated PNG and AVIF keep moving as they were meant to."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from contract.studio import Studio, difference, opened, pixels_of, recipe
from fakes import pictures
from fakes.pictures import MOVING, ApngFrame
from fakes.witnesses import most_memory
from media_service.core.errors import BrokenFile
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.renditions import Inspection
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="module")

FULL = recipe(Shape.FIT, 2048, 2048, encoding=Encoding.WEBP, animated=True, quality=100)
SIZE = (40, 30)
MOST_BYTES = 150 * 1024 * 1024
LARGE = (4096, 4096)
MOST_BYTES_A_PIXEL = 15
"""Four hold a frame; eight more hold what a WebP was and is put onto."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def codecs() -> AsyncIterator[ImageCodecs]:
    async with Cells(size=1) as cells:
        yield ImageCodecs(cells)


@pytest.fixture
def studio(codecs: ImageCodecs, tmp_path: Path) -> Studio:
    return Studio(codecs, tmp_path)


def _shown(content: bytes) -> list[npt.NDArray[np.uint8]]:
    """Every frame as it is shown, in RGBA."""
    image: Any = opened(content)
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGBA")))
    return frames


def _shown_by_ffmpeg(content: bytes) -> list[npt.NDArray[np.uint8]]:
    with av.open(io.BytesIO(content), "r", format="apng") as container:
        decoded = container.decode(video=0)
        return [frame.to_ndarray(format="rgba").astype(np.uint8) for frame in decoded]


def _on_white(frame: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    alpha = frame[:, :, 3:].astype(float) / 255
    white: npt.NDArray[Any] = frame[:, :, :3] * alpha + 255 * (1 - alpha)
    return white


def _piece(colour: tuple[int, ...], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.full((size[1], size[0], 4), colour, np.uint8)


def _frames(disposal: int, blend: int) -> list[ApngFrame]:
    """Opaque and half-clear pieces in turn, here and there."""
    generator = np.random.default_rng(disposal * 2 + blend)
    frames = [ApngFrame(_piece((30, 60, 200, 255), SIZE), disposal=disposal)]
    for alpha in (128, 255, 200, 90):
        left, top = (int(generator.integers(0, limit // 2)) for limit in SIZE)
        colour = (*generator.integers(0, 255, 3), alpha)
        piece = _piece(colour, (16, 12))
        frames.append(ApngFrame(piece, left, top, disposal=disposal, blend=blend))
    return frames


@pytest.mark.parametrize(("disposal", "blend"), [*itertools.product((0, 1, 2), (0, 1))])
async def test_frames_of_a_png_are_put_together_as_ffmpeg_does(
    studio: Studio, disposal: int, blend: int
) -> None:
    content = pictures.apng_of(*_frames(disposal, blend), size=SIZE)

    [developed] = await studio.develop(content, Format.PNG, FULL)

    expected = _shown_by_ffmpeg(content)
    shown = _shown(developed)
    assert len(shown) == len(expected) == 5
    for one, other in zip(shown, expected, strict=True):
        assert difference(_on_white(one), _on_white(other)) < 4
        assert difference(one[:, :, 3], other[:, :, 3]) < 1


async def test_each_frame_of_a_png_lasts_as_long_as_it_says(studio: Studio) -> None:
    delays = [(1, 10), (2, 0), (333, 1000), (0, 1)]
    frames = [
        ApngFrame(_piece((60 * n, 0, 0, 255), SIZE), delay=delay) for n, delay in enumerate(delays)
    ]
    content = pictures.apng_of(*frames, size=SIZE, plays=3)

    inspection = await studio.inspect(content, Format.PNG)
    [developed] = await studio.develop(content, Format.PNG, FULL)

    image: Any = opened(developed)
    lasting = []
    for number in range(4):
        image.seek(number)
        image.load()
        lasting.append(image.info["duration"])
    assert (inspection.frames, inspection.duration_ms) == (4, 454)
    assert lasting == [100, 20, 333, 1]
    assert image.info["loop"] == 3


async def test_a_hidden_picture_is_what_is_shown_where_nothing_moves(studio: Studio) -> None:
    hidden = _piece((0, 200, 0, 255), SIZE)
    moving = [ApngFrame(_piece((n, 0, 200, 255), SIZE)) for n in (10, 200)]
    content = pictures.apng_of(*moving, size=SIZE, hidden=hidden)

    inspection = await studio.inspect(content, Format.PNG)
    full, still = await studio.develop(content, Format.PNG, FULL, recipe(Shape.FIT, 64, 64))

    assert inspection.frames == 2
    assert np.abs(_shown(full)[0][5, 5, :3].astype(int) - (10, 0, 200)).max() < 12
    assert np.abs(pixels_of(still)[5, 5] - (0, 200, 0)).max() < 12


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGB"])
async def test_a_png_of_any_colours_keeps_moving(studio: Studio, mode: str) -> None:
    frames = [
        Image.fromarray(np.roll(pictures.scene(64, 48), 9 * n, axis=1)).convert("L").convert(mode)
        for n in range(3)
    ]
    content = pictures.picture(
        frames[0], format=Format.PNG, save_all=True, append_images=frames[1:], duration=50
    )

    [developed] = await studio.develop(content, Format.PNG, FULL)

    shown = _shown(developed)
    assert len(shown) == 3
    assert difference(shown[2][:, :, 0], np.asarray(frames[2].convert("L"))) < 4


async def test_a_sequence_of_avif_keeps_its_alpha(studio: Studio) -> None:
    frames = [np.rot90(pictures.transparent(64, 48), 2 * n) for n in range(2)]
    content = pictures.picture(
        Image.fromarray(frames[0]),
        format=Format.AVIF,
        save_all=True,
        append_images=[Image.fromarray(frames[1])],
        duration=90,
    )

    inspection = await studio.inspect(content, Format.AVIF)
    [developed] = await studio.develop(content, Format.AVIF, FULL)

    assert (inspection.frames, inspection.duration_ms) == (2, 180)
    assert inspection.has_transparency
    for one, frame in zip(_shown(developed), frames, strict=True):
        assert difference(one[:, :, 3], frame[:, :, 3]) < 6


@pytest.mark.parametrize("format", [Format.WEBP, Format.PNG])
async def test_what_moves_is_shown_as_stored_whatever_its_exif_says(
    studio: Studio, format: Format
) -> None:
    content = pictures.moving(format=format, orientation=6)

    inspection = await studio.inspect(content, format)
    [developed] = await studio.develop(content, format, FULL)

    shown = _shown(developed)
    assert (inspection.width, inspection.height) == (120, 90)
    assert len(shown) == 5
    assert difference(shown[0][:, :, :3], pictures.scene(120, 90)) < 6


async def test_frames_of_a_webp_that_are_missing_break_it(studio: Studio) -> None:
    content = pictures.moving(format=Format.WEBP)
    at = content.index(b"ANMF") + 4
    frame = 4 + int.from_bytes(content[at : at + 4], "little")
    damaged = content[: at + 20] + bytes(frame - 20) + content[at + frame :]

    with pytest.raises(BrokenFile):
        await studio.inspect(damaged, Format.WEBP)


@pytest.mark.parametrize("format", MOVING)
async def test_memory_does_not_grow_with_frames(tmp_path: Path, format: Format) -> None:
    """32 megapixels, which would be 128 MB at once beside what a cell is anyway."""
    content = pictures.moving(40, format=format, size=(1000, 800))
    box: PictureRecipe = recipe(Shape.FIT, 200, 200, encoding=Encoding.WEBP, animated=True)
    async with Cells(size=1) as cells:
        studio = Studio(ImageCodecs(cells), tmp_path)

        inspection: Inspection = await studio.inspect(content, format)
        [developed] = await studio.develop(content, format, box)

        assert max(map(most_memory, cells.pids())) < MOST_BYTES
    assert inspection.frames == len(_shown(developed)) == 40


def _large_moving(format: Format) -> bytes:
    return pictures.moving(2, format=format, size=LARGE)


def _large_half_clear() -> bytes:
    return pictures.picture(Image.new("RGBA", LARGE, (90, 30, 60, 128)), format=Format.AVIF)


@pytest.mark.parametrize(
    ("format", "make"),
    [
        *(
            (format, functools.partial(_large_moving, format))
            for format in (Format.WEBP, Format.AVIF)
        ),
        pytest.param(Format.AVIF, _large_half_clear, id="half clear"),
    ],
)
async def test_large_frames_are_not_held_while_others_are_decoded(
    tmp_path: Path, format: Format, make: Callable[[], bytes]
) -> None:
    content = make()
    async with Cells(size=1) as cells:
        before = max(map(most_memory, cells.pids()))

        await Studio(ImageCodecs(cells), tmp_path).inspect(content, format)

        taken = max(map(most_memory, cells.pids())) - before
    assert taken < MOST_BYTES_A_PIXEL * LARGE[0] * LARGE[1]
