from __future__ import annotations

import dataclasses

import pytest
from fakes.service import GRACE, FakeService, fake_service
from media_service.core.blobs import original_key
from media_service.core.delivering import Representation
from media_service.core.errors import MediaDamaged
from media_service.core.formats import Format
from media_service.core.media import Media, ProcessingStatus, Purpose, Visibility
from media_service.core.renditions import Inspection
from media_service.core.scrubbing import Pace

NOTES = b"What was said on Monday, in plain words.\n"
OPAQUE = Inspection(width=0, height=0, frames=1, has_transparency=False, blurhash="")
TWO_PAGES = dataclasses.replace(OPAQUE, width=595, height=842, pages=2, blurhash="L" * 28)


@pytest.fixture
def fake() -> FakeService:
    fake = fake_service()
    fake.codecs.known_formats = frozenset(Format)
    fake.codecs.inspection = OPAQUE
    return fake


async def _send(fake: FakeService, content: bytes = NOTES, *, name: str = "notes.txt") -> Media:
    return await fake.upload_done(
        content,
        purpose=Purpose.MESSAGE_ATTACHMENT,
        filename=name,
        content_type="",
        visibility=Visibility.PUBLIC,
    )


async def _find(fake: FakeService, media: Media, name: str = "full") -> Representation:
    return await fake.service.delivering.find(media.id, name, version="", signature=None)


async def _read(fake: FakeService, found: Representation) -> bytes:
    async with fake.service.delivering.open(found) as (_, blob):
        return b"".join([piece async for piece in blob.read(0, blob.size_bytes)])


async def test_a_document_is_delivered_as_it_came(fake: FakeService) -> None:
    media = await _send(fake)

    found = await _find(fake, media)

    assert await _read(fake, found) == NOTES
    assert found.stored.content_type == "text/plain"
    assert found.stored.checksum == media.sha256
    assert found.stored.size_bytes == len(NOTES)


async def test_what_needs_nothing_made_is_complete_at_once(fake: FakeService) -> None:
    media = await _send(fake)

    assert media.status is ProcessingStatus.COMPLETED
    assert [(r.name, r.size_bytes) for r in media.renditions] == [("full", len(NOTES))]
    assert fake.codecs.developed == []


async def test_it_is_stored_once_and_has_no_row_as_a_rendition(fake: FakeService) -> None:
    media = await _send(fake)
    await _read(fake, await _find(fake, media))

    assert list(fake.blobs.contents) == [original_key(media.sha256)]
    assert await fake.database.latest.renditions.made_of([media.sha256]) == []


async def test_beside_it_only_the_page_is_made(fake: FakeService) -> None:
    fake.codecs.inspection = TWO_PAGES

    media = await _send(fake, b"%PDF-1.7 two pages", name="paper.pdf")

    assert media.status is ProcessingStatus.COMPLETED
    assert all(r.size_bytes for r in media.renditions)
    [asked] = fake.codecs.developed
    assert not any(key.startswith("verbatim") for key in asked)
    assert (await _find(fake, media, "page")).stored.content_type == "image/jpeg"
    assert await _read(fake, await _find(fake, media)) == b"%PDF-1.7 two pages"


async def test_a_reader_who_is_faster_than_the_job_has_no_page_made(fake: FakeService) -> None:
    fake.codecs.inspection = TWO_PAGES
    media = await fake.upload(
        b"%PDF-1.7 two pages",
        purpose=Purpose.MESSAGE_ATTACHMENT,
        filename="paper.pdf",
        content_type="application/pdf",
        visibility=Visibility.PUBLIC,
    )

    assert await _read(fake, await _find(fake, media)) == b"%PDF-1.7 two pages"
    assert fake.codecs.developed == []


async def test_damage_is_told_and_noted_until_the_same_bytes_come_again(fake: FakeService) -> None:
    media = await _send(fake)
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"

    with pytest.raises(MediaDamaged):
        await _read(fake, await _find(fake, media))
    assert (await fake.database.latest.blobs.find([media.sha256]))[media.sha256].damaged_at

    await _send(fake)
    assert await _read(fake, await _find(fake, media)) == NOTES


async def test_a_scrub_reads_it_once(fake: FakeService) -> None:
    await _send(fake)

    report = await fake.service.scrubbing.scrub(pace=Pace(1e12))

    assert report.objects == 1
    assert report.damaged_renditions == 0


async def test_a_deleted_document_leaves_nothing(fake: FakeService) -> None:
    media = await _send(fake)
    await fake.service.deleting.delete(media.id, user=media.owner)
    fake.clock.advance(GRACE)

    await fake.service.housekeeping.sweep()

    assert list(fake.blobs.contents) == []
