"""A whole service that is sent films made to hurt: what it answers, and what it leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fakes import films, hostile_films
from fakes.postgres_server import Databases
from fakes.samples import a_declaration
from fakes.service import in_chunks
from fakes.witnesses import silent_sink
from media_service.composition import open_media_service
from media_service.config import read_settings
from media_service.core.errors import Kind, MediaError
from media_service.core.media import Media, MediaType, Purpose
from media_service.core.service import MediaService

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]

CANARY = b"canary-77ab1f-of-a-neighbour"
AS_A_FILM = {"filename": "film.mp4", "content_type": "video/mp4"}
UNSAID = {"filename": "", "content_type": ""}


@dataclasses.dataclass(frozen=True)
class Running:
    """A service that takes films, and the folder it writes to."""

    service: MediaService
    folder: Path

    async def upload(self, content: bytes, **declared: Any) -> Media:
        declaration = a_declaration(**{"purpose": Purpose.POST_ATTACHMENT, **AS_A_FILM, **declared})
        return await self.service.uploading.upload(declaration, in_chunks(content, size=65_536))

    async def refusal(self, content: bytes, **declared: Any) -> MediaError:
        """Why it is refused; nothing of it is left."""
        before = self.files()
        with pytest.raises(MediaError) as refused:
            await self.upload(content, **declared)
        assert self.files() == before
        return refused.value

    def files(self) -> set[Path]:
        """What is stored and staged, but the claims of living processes."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path for path in found if "lock" not in path.name}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("films")
    async with databases.borrow() as url:
        settings = read_settings(
            data_dir=folder / "data",
            storage_url=f"file://{folder / 'blobs'}",
            database_url=url,
            cells=1,
        )
        async with open_media_service(settings) as opened:
            yield Running(opened.service, folder / "blobs")


async def test_files_that_name_others_are_refused_and_open_none(
    running: Running, tmp_path: Path
) -> None:
    neighbour = tmp_path / "neighbour.mp4"
    neighbour.write_bytes(films.film() + CANARY)
    async with silent_sink() as port:
        for target in (f"http://127.0.0.1:{port}/a.mp4", f"file://{neighbour}", "neighbour.mp4"):
            for content in hostile_films.references(target).values():
                plain = await running.refusal(content)
                unsaid = await running.refusal(content, **UNSAID)
                as_film = hostile_films.behind_a_file_type(content)
                disguised = await running.refusal(as_film)

                assert (plain.kind, unsaid.kind) == (Kind.UNSUPPORTED, Kind.UNSUPPORTED)
                assert disguised.kind is Kind.BROKEN


async def test_what_follows_a_film_is_not_read(running: Running, tmp_path: Path) -> None:
    neighbour = tmp_path / "neighbour.mp4"
    neighbour.write_bytes(films.film() + CANARY)
    film = films.film(size=hostile_films.SMALL)
    async with silent_sink() as port:
        for target in (f"http://127.0.0.1:{port}/a.mp4", f"file://{neighbour}"):
            for content in hostile_films.references(target).values():
                media = await running.upload(film + content)

                assert (media.width, media.height) == hostile_films.SMALL
    assert all(CANARY not in path.read_bytes() for path in running.files())


REFUSED = {
    "B29": (hostile_films.huge_film, "too_many_pixels"),
    "B32": (lambda: hostile_films.nested_boxes(b"moov"), "broken_file"),
    "T06": (lambda: hostile_films.without_index(films.film()), "broken_file"),
    "T07": (lambda: hostile_films.noise()[24:], "unsupported_type"),
    "T07 as an MP4": (hostile_films.noise, "broken_file"),
    "a codec of the past": (lambda: films.film(codec="mpeg4"), "unsupported_codec"),
}


async def test_a_film_that_can_not_be_is_refused_with_its_code(running: Running) -> None:
    for make, code in REFUSED.values():
        assert (await running.refusal(make())).code == code


async def test_a_film_is_as_long_as_its_frames_say(running: Running) -> None:
    lied = await running.upload(hostile_films.film_of_lies("lied mvhd"))
    endless = await running.refusal(hostile_films.film_of_lies("frames of a year"))

    assert lied.duration_ms == pytest.approx(1000, abs=60)
    assert endless.code == "too_long"


async def test_a_film_without_pictures_is_a_sound(running: Running) -> None:
    media = await running.upload(films.sound_in_film(has_cover=True))

    assert (media.media_type, media.width, media.blurhash) == (MediaType.AUDIO, 0, "")
    story = await running.refusal(films.sound_in_film(), purpose=Purpose.STORY)
    assert story.code == "unsupported_type"


async def test_a_phones_film_is_taken_upright(running: Running) -> None:
    media = await running.upload(films.phone_film(), filename="IMG_1.MOV", content_type="")

    assert (media.media_type, media.width, media.height) == (MediaType.VIDEO, 180, 320)
    assert media.has_audio
    assert media.duration_ms == pytest.approx(1000, abs=60)
    assert len(media.blurhash) == 28
    assert {"full", "poster", "hls"} <= {rendition.name for rendition in media.renditions}
