from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.blobs import original_key
from media_service.core.errors import MediaDamaged, MediaFailed
from media_service.core.media import Media, ProcessingStatus


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


def _rot(fake: FakeService, media: Media) -> None:
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"


async def _read(fake: FakeService, media: Media) -> bytes:
    recipe = media.renditions[0].recipe
    delivery = await fake.service.delivering.find(
        media.id, "full", version=recipe.version, signature=None
    )
    async with fake.service.delivering.open(delivery) as (_, blob):
        return b"".join([piece async for piece in blob.read(0, blob.size_bytes)])


async def _failed_by_damage(fake: FakeService, owner: str = ALICE) -> Media:
    media = await fake.upload(picture(), owner=owner)
    _rot(fake, media)
    await fake.service.processing.give_up(
        media.id, revision=media.revision, code=MediaDamaged().code
    )
    return fake.database.media[media.id]


async def test_a_read_that_meets_a_damaged_original_notes_it_once(fake: FakeService) -> None:
    media = await fake.upload(picture())
    _rot(fake, media)

    for _ in range(2):
        with pytest.raises(MediaDamaged):
            await _read(fake, media)
        fake.clock.advance(timedelta(seconds=1))

    blob = fake.database.blobs[media.sha256]
    assert blob.damaged_at == media.created_at


async def test_a_damaged_rendition_is_no_damage_of_its_original(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    before = dict(fake.blobs.contents)
    for key in list(before):
        if key.startswith("renditions/"):
            fake.blobs.contents[key] = b"rotten"

    assert await _read(fake, media) != b"rotten"

    assert fake.database.blobs[media.sha256].damaged_at is None


async def test_the_same_content_uploaded_again_heals_every_medium_of_it(
    fake: FakeService,
) -> None:
    damaged = [await _failed_by_damage(fake), await _failed_by_damage(fake, BOB)]
    with pytest.raises(MediaDamaged):
        await _read(fake, damaged[0])
    fake.blobs.keeps_what_it_has = True

    await fake.upload(picture(), owner="carol")
    await fake.work()

    assert fake.database.blobs[damaged[0].sha256].damaged_at is None
    for media in damaged:
        assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED
        assert await _read(fake, media)
        assert (await fake.service.reading.get(media.id)).failure_code == ""


async def test_what_failed_for_another_reason_is_not_tried_again(fake: FakeService) -> None:
    media = await fake.upload(picture())
    await fake.service.processing.give_up(media.id, revision=1, code="broken_file")
    await fake.database.latest.blobs.note_damage(media.sha256, now=fake.clock.now)

    await fake.upload(picture(), owner=BOB)

    assert fake.database.media[media.id].status is ProcessingStatus.FAILED
    with pytest.raises(MediaFailed):
        await _read(fake, media)


async def test_what_failed_because_of_damage_says_so_until_it_is_healed(
    fake: FakeService,
) -> None:
    media = await _failed_by_damage(fake)
    with pytest.raises(MediaDamaged):
        await _read(fake, media)

    fake.blobs.contents[original_key(media.sha256)] = picture()  # from a backup

    assert await _read(fake, media)


async def test_an_upload_that_can_not_be_put_leaves_the_damage_noted(fake: FakeService) -> None:
    media = await _failed_by_damage(fake)
    with pytest.raises(MediaDamaged):
        await _read(fake, media)
    fake.blobs.failure = MediaDamaged()
    with pytest.raises(MediaDamaged):
        await fake.upload(picture(), owner=BOB)

    assert fake.database.blobs[media.sha256].damaged_at
    assert fake.database.media[media.id].status is ProcessingStatus.FAILED
