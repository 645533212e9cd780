"""Delivery of what only jobs make: never on demand, and never half."""

from __future__ import annotations

import pytest
from fakes.scripted_codecs import developed_bytes, film
from fakes.service import FakeService, fake_service
from media_service.core.delivering import Representation
from media_service.core.errors import BrokenFile, MediaFailed, RenditionNotReady
from media_service.core.jobs import Urgency
from media_service.core.media import Media, ProcessingStatus, Purpose
from media_service.core.renditions import Stage
from media_service.core.scrubbing import Pace

POST = {"purpose": Purpose.POST_ATTACHMENT, "filename": "", "content_type": ""}


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def _find(fake: FakeService, media: Media, name: str = "full") -> Representation:
    return await fake.service.delivering.find(media.id, name, version="", signature=None)


async def _read(fake: FakeService, media: Media, name: str = "full") -> bytes:
    found = await _find(fake, media, name)
    async with fake.service.delivering.open(found) as (_, opened):
        return b"".join([piece async for piece in opened.read(0, opened.size_bytes)])


def _key(fake: FakeService, media: Media, name: str) -> str:
    rendition = media.rendition(name)
    assert rendition
    return fake.database.renditions[media.sha256, rendition.recipe.key].key


def _expected(media: Media, name: str) -> bytes:
    rendition = media.rendition(name)
    assert rendition
    return developed_bytes(film(), rendition.recipe)


@pytest.mark.parametrize("name", ["full", "hls", "hls-360-segments", "preview"])
async def test_what_takes_minutes_is_not_made_on_demand(fake: FakeService, name: str) -> None:
    media = await fake.upload(film(), **POST)

    with pytest.raises(RenditionNotReady):
        await _find(fake, media, name)

    assert fake.codecs.developed == []


@pytest.mark.parametrize("name", ["poster", "320"])
async def test_a_film_is_shown_before_any_job_ran(fake: FakeService, name: str) -> None:
    media = await fake.upload(film(), **POST)

    assert await _read(fake, media, name) == _expected(media, name)

    assert len(fake.codecs.developed) == 1
    assert fake.codecs.developed[0] == [
        r.recipe.key for r in media.renditions if r.stage is Stage.PREVIEW
    ]


@pytest.mark.parametrize("name", ["full", "hls", "hls-360", "hls-360-segments", "preview"])
async def test_what_a_job_made_is_delivered(fake: FakeService, name: str) -> None:
    media = await fake.upload_done(film(), **POST)

    assert await _read(fake, media, name) == _expected(media, name)


async def test_what_another_process_made_is_delivered(fake: FakeService) -> None:
    media = await fake.upload_done(film(), **POST)

    assert await _read(fake_service(beside=fake), media) == _expected(media, "full")


async def test_of_what_failed_half_way_only_the_rest_is_refused(fake: FakeService) -> None:
    media = await fake.upload(film(), **POST)
    fake.codecs.slow_error = BrokenFile()
    await fake.work()
    assert fake.database.media[media.id].status is ProcessingStatus.FAILED

    with pytest.raises(MediaFailed):
        await _find(fake, media)

    assert await _read(fake, media, "poster") == _expected(media, "poster")
    assert await _read(fake_service(beside=fake), media, "poster") == _expected(media, "poster")


@pytest.mark.parametrize("name", ["full", "hls-360-segments"])
async def test_damage_is_healed_by_a_job(fake: FakeService, name: str) -> None:
    media = await fake.upload_done(film(), **POST)
    fake.blobs.contents[_key(fake, media, name)] = b"rotten"

    with pytest.raises(RenditionNotReady):
        await _read(fake, media, name)
    row = fake.database.media[media.id]
    assert (row.status, row.revision) == (ProcessingStatus.PENDING, 2)
    assert [r.name for r in row.renditions if not r.size_bytes] == [name]
    with pytest.raises(RenditionNotReady):
        await _read(fake, media, name)
    assert len(fake.database.jobs) == 1

    await fake.work()

    assert await _read(fake, media, name) == _expected(media, name)
    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED


async def test_another_process_finds_what_was_healed(fake: FakeService) -> None:
    media = await fake.upload_done(film(), **POST)
    other = fake_service(beside=fake)
    await _read(other, media)
    damaged = _key(fake, media, "full")
    fake.blobs.contents[damaged] = b"rotten"
    with pytest.raises(RenditionNotReady):
        await _read(fake, media)
    fake.codecs.engine = "another"
    await fake.work()

    assert await _read(other, media) == _expected(media, "full") + b"another"


async def test_what_is_gone_is_made_again_by_a_job(fake: FakeService) -> None:
    media = await fake.upload_done(film(), **POST)
    fake.database.renditions.clear()
    other = fake_service(beside=fake)

    with pytest.raises(RenditionNotReady):
        await _find(other, media)

    assert fake.database.media[media.id].status is ProcessingStatus.PENDING
    await fake.work()
    assert await _read(other, media) == _expected(media, "full")


async def test_the_scrub_has_damage_healed_by_a_job(fake: FakeService) -> None:
    media = await fake.upload_done(film(), **POST)
    fake.blobs.contents[_key(fake, media, "full")] = b"rotten"

    report = await fake.service.scrubbing.scrub(pace=Pace(1e12))

    assert report.damaged_renditions == 1
    [job] = fake.database.jobs
    assert job.urgency is Urgency.BACKFILL
    await fake.work()
    assert await _read(fake, media) == _expected(media, "full")
