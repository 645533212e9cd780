"""Moving pictures as silent films: real cells look at them, the real ffmpeg makes the films."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from contract.cutting_room import FFMPEG, Made, is_near, seconds_in_header, shown
from fakes.boxes import box
from fakes.pictures import MOVING, moving, picture, profile, scene
from media_service.core.errors import BrokenFile, UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, FilmRecipe, PictureRecipe, Shape
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.films.codecs import AV_CELL
from media_service.infra.codecs.films.making import FilmMaker
from media_service.infra.codecs.films.motion import MovingPictures
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from PIL import Image

SILENT = FilmRecipe(short_side=720, frame_rate=60, silent=True)
SMALL = PictureRecipe(shape=Shape.FIT, width=40, height=40, quality=80, encoding=Encoding.JPEG)


async def _filmed(folder: Path, content: bytes, format: Format) -> Made:
    source, target = folder / "source", folder / "film"
    source.write_bytes(content)
    async with Cells(size=1) as cells, Cells(AV_CELL, size=1) as av_cells:
        codecs = MovingPictures(ImageCodecs(cells), FilmMaker(FFMPEG, av_cells))
        sizes = await codecs.develop(source, format=format, targets=[(SILENT, target)])
    film = shown(target.read_bytes())
    assert sizes == [film.size]
    return film


@pytest.mark.parametrize("format", MOVING)
async def test_every_frame_of_a_moving_picture_is_in_its_film(
    tmp_path: Path, format: Format
) -> None:
    film = await _filmed(tmp_path, moving(12, format=format), format)

    assert film.size == (120, 90)
    assert film.times == pytest.approx([0.07 * n for n in range(12)], abs=0.01)
    assert (film.video, film.audio, film.pixel_format) == ("h264", "", "yuv420p")


def _lasting(delay_ms: int, format: Format) -> bytes:
    content = moving(12, format=Format.GIF)
    if format is Format.GIF:
        control = b"\x21\xf9\x04"
        told = (delay_ms // 10).to_bytes(2, "little")
        first, *frames = content.split(control)
        return control.join([first, *(frame[:1] + told + frame[3:] for frame in frames)])
    with Image.open(io.BytesIO(content)) as image:
        file = io.BytesIO()
        image.save(file, format.name, save_all=True, duration=delay_ms)
    return file.getvalue()


@pytest.mark.parametrize(
    ("delay_ms", "format"),
    [(0, Format.GIF), (10, Format.GIF), (0, Format.WEBP), (10, Format.WEBP), (1, Format.PNG)],
)
async def test_frames_that_last_next_to_nothing_last_as_long_as_in_browsers(
    tmp_path: Path, delay_ms: int, format: Format
) -> None:
    film = await _filmed(tmp_path, _lasting(delay_ms, format), format)

    assert film.times == pytest.approx([0.1 * n for n in range(12)], abs=0.01)


@pytest.mark.parametrize("format", [Format.WEBP, Format.PNG])
async def test_a_film_of_a_picture_is_turned_no_more_than_the_picture(
    tmp_path: Path, format: Format
) -> None:
    film = await _filmed(tmp_path, moving(12, format=format, orientation=6), format)

    assert film.size == (120, 90)
    assert np.abs(film.first.astype(int) - scene(120, 90)).mean() < 6


@pytest.mark.parametrize("format", [Format.WEBP, Format.PNG, Format.AVIF])
async def test_a_film_of_a_picture_has_its_colours(tmp_path: Path, format: Format) -> None:
    """They are told by a profile, which ffmpeg takes no notice of."""
    strips = np.array([(220, 40, 40), (90, 160, 100), (200, 150, 120)], np.uint8)
    frames = []
    for number in range(12):
        pixels = np.broadcast_to(strips.repeat(40, axis=0), (90, 120, 3)).copy()
        pixels[5 * number : 5 * number + 5] = 128
        frames.append(Image.fromarray(pixels))
    content = picture(
        frames[0], format=format, icc=profile("p3"), save_all=True, append_images=frames[1:]
    )

    film = await _filmed(tmp_path, content, format)

    shown_as = [(240, 0, 23), (61, 162, 93), (209, 147, 115)]
    for number, colour in enumerate(shown_as):
        assert is_near(film.first[80, 40 * number + 20].tolist(), colour, by=8)


async def test_a_film_of_a_picture_that_is_stored_turned_stands_upright(tmp_path: Path) -> None:
    film = await _filmed(tmp_path, _stored_turned(), Format.AVIF)

    assert film.size == (90, 120)
    assert len(film.times) == 12
    assert np.abs(film.first.astype(int) - np.rot90(scene(120, 90))).mean() < 6


def _stored_turned() -> bytes:
    """An AVIF whose frames are to be turned counterclockwise; it says so where it told colours."""
    content = moving(12, format=Format.AVIF)
    colours = content.index(b"colrnclx", content.index(b"stsd")) - 4
    turn = box(b"irot", b"\1") + box(b"skip", bytes(2))
    return content[:colours] + turn + content[colours + len(turn) :]


@pytest.mark.parametrize("format", MOVING)
async def test_a_last_frame_is_shown_as_long_as_it_was(tmp_path: Path, format: Format) -> None:
    frames = [Image.fromarray(np.roll(scene(120, 90), 9 * n, axis=1)) for n in range(12)]
    content = picture(
        frames[0],
        format=format,
        save_all=True,
        append_images=frames[1:],
        duration=[70] * 11 + [3000],
    )

    film = await _filmed(tmp_path, content, format)

    assert len(film.times) == 12
    assert film.seconds == pytest.approx(3.77, abs=0.1)
    assert seconds_in_header(film.content) == pytest.approx(3.77, abs=0.02)


async def test_a_still_picture_is_made_as_ever_and_no_film_without_a_maker(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(picture(format=Format.PNG))

    async with Cells(size=1) as cells:
        codecs = MovingPictures(ImageCodecs(cells), None)
        sizes = await codecs.develop(source, format=Format.PNG, targets=[(SMALL, target)])
        assert sizes == [(40, 30)]
        with pytest.raises(UnsupportedCodec):
            await codecs.develop(source, format=Format.PNG, targets=[(SILENT, target)])


async def test_a_moving_picture_that_breaks_off_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(moving(12, format=Format.GIF)[:2000])

    async with Cells(size=1) as cells, Cells(AV_CELL, size=1) as av_cells:
        codecs = MovingPictures(ImageCodecs(cells), FilmMaker(FFMPEG, av_cells))
        with pytest.raises(BrokenFile):
            await codecs.develop(source, format=Format.GIF, targets=[(SILENT, tmp_path / "film")])
