from __future__ import annotations

import asyncio

import pytest
from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.blobs import BlobState
from media_service.core.errors import (
    DatabaseUnavailable,
    InvalidMediaId,
    MediaNotFound,
    NotTheOwner,
)
from media_service.core.media import ProcessingStatus, Purpose, Visibility, new_media_id


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def test_a_deleted_medium_is_gone_for_readers(fake: FakeService) -> None:
    media = await fake.upload_done()
    await fake.service.reading.get(media.id)

    await fake.service.deleting.delete(media.id, user=ALICE)

    with pytest.raises(MediaNotFound):
        await fake.service.reading.get(media.id)


async def test_a_deleted_medium_keeps_its_row_without_its_name(fake: FakeService) -> None:
    media = await fake.upload_done(filename="holiday.jpg", idempotency_key="k")

    await fake.service.deleting.delete(media.id, user=ALICE)

    row = fake.database.media[media.id]
    assert row == media.deleted(fake.clock.now)
    assert (row.filename, row.idempotency_key) == ("", "")


async def test_deleting_twice_is_no_error_to_the_owner(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.deleting.delete(media.id, user=ALICE)
    deleted = fake.database.media[media.id]

    await fake.service.deleting.delete(media.id, user=ALICE)

    assert fake.database.media[media.id] == deleted


async def test_the_last_who_deletes_condemns_the_blob(fake: FakeService) -> None:
    first = await fake.upload(picture(), owner=ALICE)
    second = await fake.upload(picture(), owner=BOB)

    await fake.service.deleting.delete(first.id, user=ALICE)
    assert fake.database.blobs[first.sha256].state is BlobState.LIVE

    await fake.service.deleting.delete(second.id, user=BOB)
    assert fake.database.blobs[first.sha256].condemned_at == fake.clock.now


async def test_the_job_of_a_medium_that_failed_goes_with_it(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.processing.give_up(media.id, revision=1, code="too_complex")
    assert fake.database.jobs

    await fake.service.deleting.delete(media.id, user=ALICE)

    assert fake.database.jobs == []


async def test_nobody_deletes_what_is_not_there(fake: FakeService) -> None:
    with pytest.raises(MediaNotFound):
        await fake.service.deleting.delete(new_media_id(), user=ALICE)


async def test_another_may_not_delete_a_public_medium(fake: FakeService) -> None:
    media = await fake.upload(visibility=Visibility.PUBLIC)

    with pytest.raises(NotTheOwner):
        await fake.service.deleting.delete(media.id, user=BOB)

    assert fake.database.media[media.id] == media


async def test_another_is_not_told_of_a_private_medium(fake: FakeService) -> None:
    media = await fake.upload(visibility=Visibility.PRIVATE)

    with pytest.raises(MediaNotFound):
        await fake.service.deleting.delete(media.id, user=BOB)

    assert fake.database.media[media.id] == media


async def test_another_is_not_told_of_a_deleted_medium(fake: FakeService) -> None:
    media = await fake.upload()
    await fake.service.deleting.delete(media.id, user=ALICE)

    with pytest.raises(MediaNotFound):
        await fake.service.deleting.delete(media.id, user=BOB)


async def test_another_is_not_told_of_an_expired_medium(fake: FakeService) -> None:
    media = await fake.upload(purpose=Purpose.STORY)
    assert media.expires_at
    fake.clock.now = media.expires_at

    with pytest.raises(MediaNotFound):
        await fake.service.deleting.delete(media.id, user=BOB)


async def test_deleting_cancels_work_that_is_not_done(fake: FakeService) -> None:
    media = await fake.upload()

    await fake.service.deleting.delete(media.id, user=ALICE)

    assert fake.database.media[media.id].status is ProcessingStatus.CANCELLED


async def test_deleting_at_once_deletes_once(fake: FakeService) -> None:
    media = await fake.upload()

    await asyncio.gather(*(fake.service.deleting.delete(media.id, user=ALICE) for _ in range(10)))

    assert fake.database.media[media.id].deleted_at == fake.clock.now
    assert fake.database.calls["media.update"] == 1


async def test_who_reads_while_it_is_deleted_does_not_fill_the_cache(fake: FakeService) -> None:
    media = await fake.upload()

    async def read() -> None:
        await fake.service.reading.get(media.id)
        assert media.id in fake.cache.remembered

    fake.database.before["commit"] = read
    await fake.service.deleting.delete(media.id, user=ALICE)

    assert fake.cache.remembered == {}


async def test_a_database_that_goes_away_deletes_nothing(fake: FakeService) -> None:
    media = await fake.upload()

    async def go_away() -> None:
        fake.database.go_away()

    fake.database.before["commit"] = go_away
    with pytest.raises(DatabaseUnavailable):
        await fake.service.deleting.delete(media.id, user=ALICE)

    assert fake.database.media[media.id] == media
    assert fake.database.blobs[media.sha256].state is BlobState.LIVE


# Batches


async def test_a_batch_tells_of_each_id_what_stood_in_its_way(fake: FakeService) -> None:
    mine = await fake.upload(picture("mine"))
    foreign = await fake.upload(picture("foreign"), owner=BOB)
    hidden = await fake.upload(picture("hidden"), owner=BOB, visibility=Visibility.PRIVATE)
    missing = new_media_id()
    asked = [foreign.id, mine.id, "nonsense", hidden.id, missing, "' or 1=1 --"]

    answers = await fake.service.deleting.delete_many(asked, user=ALICE)

    told = {text: type(error) if error else None for text, error in answers.items()}
    assert list(told) == asked
    assert told == {
        foreign.id: NotTheOwner,
        mine.id: None,
        "nonsense": InvalidMediaId,
        hidden.id: MediaNotFound,
        missing: MediaNotFound,
        "' or 1=1 --": InvalidMediaId,
    }
    assert fake.database.media[foreign.id] == foreign
    assert fake.database.media[hidden.id] == hidden


async def test_a_batch_deletes_an_id_named_often_once(fake: FakeService) -> None:
    media = await fake.upload()

    answers = await fake.service.deleting.delete_many([media.id] * 1000, user=ALICE)

    assert answers == {media.id: None}
    assert fake.database.calls["media.update"] == 1


async def test_a_batch_can_be_repeated(fake: FakeService) -> None:
    ids = [(await fake.upload(picture(name))).id for name in "abc"]
    await fake.service.deleting.delete_many(ids[:2], user=ALICE)

    answers = await fake.service.deleting.delete_many(ids, user=ALICE)

    assert answers == dict.fromkeys(ids)


async def test_an_empty_batch_deletes_nothing(fake: FakeService) -> None:
    assert await fake.service.deleting.delete_many([], user=ALICE) == {}


async def test_a_batch_fails_as_a_whole_when_the_database_is_away(fake: FakeService) -> None:
    media = await fake.upload()
    fake.database.go_away()

    with pytest.raises(DatabaseUnavailable):
        await fake.service.deleting.delete_many([media.id], user=ALICE)
