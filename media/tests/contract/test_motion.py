"""Moving pictures as silent films: real cells look at them, the real ffmpeg makes the films."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.cutting_room import FFMPEG, shown
from fakes.pictures import MOVING, moving, picture
from media_service.core.errors import BrokenFile, DecoderUnavailable
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, FilmRecipe, PictureRecipe, Shape
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.films.codecs import AV_CELL
from media_service.infra.codecs.films.making import FilmMaker
from media_service.infra.codecs.films.motion import MovingPictures
from media_service.infra.codecs.pictures.codecs import ImageCodecs

SILENT = FilmRecipe(short_side=720, frame_rate=60, silent=True)
SMALL = PictureRecipe(shape=Shape.FIT, width=40, height=40, quality=80, encoding=Encoding.JPEG)


@pytest.mark.parametrize("format", MOVING)
async def test_every_frame_of_a_moving_picture_is_in_its_film(
    tmp_path: Path, format: Format
) -> None:
    source, target = tmp_path / "source", tmp_path / "film"
    source.write_bytes(moving(12, format=format))

    async with Cells(size=1) as cells, Cells(AV_CELL, size=1) as av_cells:
        codecs = MovingPictures(ImageCodecs(cells), FilmMaker(FFMPEG, av_cells))
        sizes = await codecs.develop(source, format=format, targets=[(SILENT, target)])

    film = shown(target.read_bytes())
    assert sizes == [film.size] == [(120, 90)]
    assert film.times == pytest.approx([0.07 * n for n in range(12)], abs=0.01)
    assert (film.video, film.audio, film.pixel_format) == ("h264", "", "yuv420p")


async def test_a_still_picture_is_made_as_ever_and_no_film_without_a_maker(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(picture(format=Format.PNG))

    async with Cells(size=1) as cells:
        codecs = MovingPictures(ImageCodecs(cells), None)
        sizes = await codecs.develop(source, format=Format.PNG, targets=[(SMALL, target)])
        assert sizes == [(40, 30)]
        with pytest.raises(DecoderUnavailable):
            await codecs.develop(source, format=Format.PNG, targets=[(SILENT, target)])


async def test_a_moving_picture_that_breaks_off_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(moving(12, format=Format.GIF)[:2000])

    async with Cells(size=1) as cells, Cells(AV_CELL, size=1) as av_cells:
        codecs = MovingPictures(ImageCodecs(cells), FilmMaker(FFMPEG, av_cells))
        with pytest.raises(BrokenFile):
            await codecs.develop(source, format=Format.GIF, targets=[(SILENT, tmp_path / "film")])
