"""`FilmCodecs` on real cells: files that are made to hurt, or to open others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from fakes import damage, films, hostile_films
from fakes.witnesses import most_memory, silent_sink
from media_service.core.errors import BrokenFile, MediaError, TooComplex, TooManyPixels
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.renditions import Inspection
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind
from media_service.infra.codecs.films.codecs import AV_CELL, AV_TIME_LIMITS, FilmCodecs

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_BYTES = 512 * 1024**2
CANARY = b"canary: no film shows this file"
POSTER = PictureRecipe(shape=Shape.FIT, width=2048, height=2048, quality=92, encoding=Encoding.JPEG)
CONTAINERS = {"mp4": Format.MP4, "mov": Format.MOV, "webm": Format.WEBM, "mkv": Format.MKV}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cells() -> AsyncIterator[Cells]:
    async with Cells(AV_CELL, size=1, jobs_per_cell=100_000, time_limits=AV_TIME_LIMITS) as cells:
        yield cells


class Trial:
    """Inspects a file and makes its poster; nothing takes long or much memory."""

    def __init__(self, cells: Cells, folder: Path) -> None:
        self._cells, self._codecs = cells, FilmCodecs(cells)
        self._source, self._poster = folder / "source", folder / "poster"
        self.deaths = 0

    async def __call__(self, content: bytes, format: Format) -> Inspection | MediaError:
        self._source.write_bytes(content)
        pids, started = self._cells.pids(), time.monotonic()
        try:
            inspection = await self._codecs.inspect(self._source, format=format)
            if inspection.has_video:
                await self._codecs.develop(
                    self._source, format=format, targets=[(POSTER, self._poster)]
                )
                assert CANARY not in self._poster.read_bytes()
        except MediaError as error:
            return error
        finally:
            assert time.monotonic() - started < AV_TIME_LIMITS[JobKind.INSPECT] + 1
            self.deaths += self._cells.pids() != pids
            assert max(map(most_memory, self._cells.pids()), default=0) < MOST_BYTES
        return inspection


@pytest.fixture
def trial(cells: Cells, tmp_path: Path) -> Iterator[Trial]:
    trial = Trial(cells, tmp_path)
    yield trial
    assert trial.deaths == 0


REFUSED: dict[str, tuple[Callable[[], bytes], type[MediaError]]] = {
    "B29": (hostile_films.huge_film, TooManyPixels),
    "B29 in a container that denies it": (hostile_films.huge_film_that_denies_it, TooManyPixels),
    "T06": (lambda: hostile_films.without_index(films.film()), BrokenFile),
    "T07": (hostile_films.noise, BrokenFile),
    "a file type and no more": (lambda: hostile_films.behind_a_file_type(b""), BrokenFile),
    "61 streams": (hostile_films.many_streams, TooComplex),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bomb_is_refused_before_it_is_decoded(trial: Trial, name: str) -> None:
    make, error = REFUSED[name]
    content = make()
    started = time.monotonic()

    assert type(await trial(content, Format.MP4)) is error
    assert time.monotonic() - started < 2


async def test_a_size_that_only_the_container_claims_is_not_believed(trial: Trial) -> None:
    found = await trial(hostile_films.film_that_claims_to_be_huge(), Format.MKV)

    assert isinstance(found, Inspection)
    assert (found.width, found.height) == (640, 360)


LIES = [
    "lied mvhd",
    "lied mdhd",
    "frames of a year",
    "4e9 samples",
    "4e9 durations",
    "100,000 frames a second",
]


@pytest.mark.parametrize("kind", LIES)
async def test_an_index_that_lies_costs_little_and_is_bounded(trial: Trial, kind: str) -> None:
    started = time.monotonic()

    found = await trial(hostile_films.film_of_lies(kind), Format.MP4)

    assert time.monotonic() - started < 2
    if isinstance(found, Inspection):
        assert 1 <= found.duration_ms < 2**31
    else:
        assert isinstance(found, BrokenFile | TooComplex)


@pytest.mark.parametrize("kind", [b"moov", b"udta", b"trak", b"meta", b"free"])
async def test_nested_boxes_end_somewhere(trial: Trial, kind: bytes) -> None:
    started = time.monotonic()

    assert isinstance(await trial(hostile_films.nested_boxes(kind), Format.MP4), MediaError)
    assert time.monotonic() - started < 2


async def test_a_track_in_another_file_is_not_followed(trial: Trial, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(CANARY * 1000)

    found = await trial(hostile_films.film_with_a_foreign_track(str(canary)), Format.MOV)

    assert isinstance(found, Inspection | BrokenFile)


@pytest.mark.parametrize("make", [films.film, films.sound_in_film])
async def test_a_bomb_for_a_cover_is_not_looked_at(trial: Trial, make: Callable[[], bytes]) -> None:
    found = await trial(hostile_films.with_a_bomb_for_a_cover(make()), Format.MP4)

    assert isinstance(found, Inspection)
    assert found.has_video == (make is films.film)


async def test_what_a_film_carries_is_not_looked_at(trial: Trial) -> None:
    found = await trial(hostile_films.film_with_attachment(CANARY * 1000), Format.MKV)

    assert isinstance(found, Inspection)
    assert (found.width, found.height) == hostile_films.SMALL


@pytest.mark.parametrize("scheme", ["http", "file", "neighbour", "tcp", "concat", "subfile"])
async def test_what_names_another_file_opens_none(
    trial: Trial, tmp_path: Path, scheme: str
) -> None:
    neighbour = tmp_path / "neighbour.mp4"
    neighbour.write_bytes(films.film() + CANARY)
    async with silent_sink() as port:
        target = {
            "http": f"http://127.0.0.1:{port}/film.mp4",
            "tcp": f"tcp://127.0.0.1:{port}",
            "file": f"file://{neighbour}",
            "neighbour": "neighbour.mp4",
            "concat": f"concat:{neighbour}|{neighbour}",
            "subfile": f"subfile,,start,0,end,0,,:{neighbour}",
        }[scheme]
        for content in hostile_films.references(target).values():
            for disguised in (content, hostile_films.behind_a_file_type(content)):
                for format in CONTAINERS.values():
                    assert isinstance(await trial(disguised, format), BrokenFile)
            film = films.film(size=hostile_films.SMALL)
            found = await trial(film + content, Format.MP4)
            assert isinstance(found, Inspection)
            assert (found.width, found.height) == hostile_films.SMALL


@pytest.mark.parametrize("container", CONTAINERS)
async def test_no_beginning_of_a_film_does_harm(trial: Trial, container: str) -> None:
    content, format = hostile_films.small_film(container), CONTAINERS[container]
    assert isinstance(await trial(content, format), Inspection)

    for length in range(0, len(content), max(1, len(content) // 60)):
        assert isinstance(await trial(content[:length], format), Inspection | BrokenFile)


@pytest.mark.parametrize("container", CONTAINERS)
async def test_no_damage_does_harm(trial: Trial, container: str) -> None:
    content, format = hostile_films.small_film(container), CONTAINERS[container]

    for seed in range(200):
        found = await trial(damage.flipped(content, seed=seed), format)
        assert isinstance(found, Inspection | MediaError)
