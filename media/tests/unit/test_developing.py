from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from fakes.samples import ALICE, BOB, sha256_of
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.blobs import StoredRendition, original_key
from media_service.core.developing import DevelopingLimits
from media_service.core.errors import (
    BrokenFile,
    DatabaseUnavailable,
    DecoderUnavailable,
    MediaDamaged,
    MediaError,
    MediaNotFound,
    StorageFull,
)
from media_service.core.media import Media
from media_service.core.renditions import ProcessingOptions


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


def _stored(fake: FakeService, media: Media, name: str = "full") -> StoredRendition:
    rendition = media.rendition(name)
    assert rendition
    return fake.database.renditions[media.sha256, rendition.recipe.key]


async def _until_waiting(fake: FakeService, tasks: int) -> None:
    """Return when so many tasks wait for the decoder."""
    while len(fake.codecs.developed) < tasks:
        await asyncio.sleep(0)


async def test_every_rendition_is_made_stored_and_answered(fake: FakeService) -> None:
    media = await fake.upload(picture())

    made = await fake.developing.ensure(media)

    assert set(made) == {r.recipe.key for r in media.renditions}
    for rendition in media.renditions:
        stored = made[rendition.recipe.key]
        content = developed_bytes(picture(), rendition.recipe)
        assert stored == _stored(fake, media, rendition.name)
        assert fake.blobs.contents[stored.key] == content
        assert (stored.width, stored.height) == (rendition.width, rendition.height)
        assert (stored.version, stored.size_bytes) == (rendition.recipe.version, len(content))


async def test_fifty_who_ask_at_once_have_one_developer(fake: FakeService) -> None:
    media = await fake.upload()

    made = await asyncio.gather(*(fake.developing.ensure(media) for _ in range(50)))

    assert len(fake.codecs.developed) == 1
    assert all(answer == made[0] for answer in made)


async def test_processes_that_develop_at_once_have_one_developer(fake: FakeService) -> None:
    media = await fake.upload()
    others = [fake_service(beside=fake) for _ in range(4)]

    await asyncio.gather(*(each.developing.ensure(media) for each in [fake, *others] * 5))

    assert sum(len(each.codecs.developed) for each in [fake, *others]) == 1


async def test_media_of_equal_bytes_and_recipes_have_one_developer(fake: FakeService) -> None:
    media = [await fake.upload(picture(), owner=owner) for owner in (ALICE, BOB)]

    await asyncio.gather(*(fake.developing.ensure(m) for m in media))

    assert len(fake.codecs.developed) == 1


async def test_only_what_is_missing_is_made(fake: FakeService) -> None:
    media = await fake.upload_done()
    small = ProcessingOptions(generate_thumbnails=True, generate_blurhash=True, max_width=9)
    replanned = await fake.service.processing.request(media.id, user=ALICE, options=small)

    await fake.developing.ensure(replanned)

    assert fake.codecs.developed[1:] == [[replanned.renditions[0].recipe.key]]


async def test_recipes_that_several_renditions_share_are_made_once(fake: FakeService) -> None:
    media = await fake.upload()
    twin = dataclasses.replace(media.renditions[0], name="twin")
    media = dataclasses.replace(media, renditions=(*media.renditions[:1], twin))

    await fake.developing.ensure(media)

    assert fake.codecs.developed == [[twin.recipe.key]]


async def test_what_was_made_is_remembered(fake: FakeService) -> None:
    media = await fake.upload()
    recipe = media.renditions[0].recipe
    assert fake.developing.known(media, recipe) is None

    await fake.developing.ensure(media)

    assert fake.developing.known(media, recipe) == _stored(fake, media)


async def test_what_another_process_made_is_found(fake: FakeService) -> None:
    media = await fake.upload_done()
    other = fake_service(beside=fake)

    await other.developing.ensure(media)

    assert other.codecs.developed == []
    assert other.developing.known(media, media.renditions[0].recipe)


async def test_a_damaged_rendition_alone_is_made_anew(fake: FakeService) -> None:
    media = await fake.upload_done()
    damaged = _stored(fake, media)
    fake.blobs.contents[damaged.key] = b"rotten"

    made = await fake.developing.ensure(media, damaged=damaged)

    assert fake.codecs.developed[1:] == [[damaged.recipe_key]]
    assert made[damaged.recipe_key] == damaged
    assert fake.blobs.contents[damaged.key] == developed_bytes(
        picture(), media.renditions[0].recipe
    )


async def test_fifty_who_meet_damage_at_once_have_one_developer(fake: FakeService) -> None:
    media = await fake.upload_done()
    damaged = _stored(fake, media)
    fake.blobs.contents[damaged.key] = b"rotten"

    await asyncio.gather(*(fake.developing.ensure(media, damaged=damaged) for _ in range(50)))

    assert len(fake.codecs.developed) == 2


async def test_damage_that_comes_again_is_healed_again(fake: FakeService) -> None:
    media = await fake.upload_done()
    damaged = _stored(fake, media)

    for _ in range(3):
        fake.blobs.contents[damaged.key] = b"rotten"
        await fake.developing.ensure(media, damaged=damaged)
        assert fake.blobs.contents[damaged.key] != b"rotten"


async def test_damage_that_another_process_replaced_is_not_made_again(fake: FakeService) -> None:
    media = await fake.upload_done()
    replaced = _stored(fake, media)
    damaged = dataclasses.replace(replaced, size_bytes=1)

    made = await fake.developing.ensure(media, damaged=damaged)

    assert made[replaced.recipe_key] == replaced
    assert len(fake.codecs.developed) == 1


async def test_bytes_that_replace_damaged_ones_take_them_away(fake: FakeService) -> None:
    """As when the decoder was renewed since: other processes must not serve what they remember."""
    media = await fake.upload_done()
    healthy = _stored(fake, media)
    damaged = dataclasses.replace(healthy, checksum=sha256_of("older"))
    fake.database.renditions[media.sha256, damaged.recipe_key] = damaged
    fake.blobs.contents[damaged.key] = b"older"

    await fake.developing.ensure(media, damaged=damaged)

    assert damaged.key not in fake.blobs.contents
    assert fake.blobs.contents[healthy.key] == developed_bytes(
        picture(), media.renditions[0].recipe
    )


async def test_a_late_developer_neither_overwrites_nor_hides_what_was_committed(
    fake: FakeService,
) -> None:
    """As a worker that was stopped: its connection is gone, another has its lock and the row."""
    media = await fake.upload()
    late, other = fake_service(beside=fake), fake_service(beside=fake)
    late.codecs.engine = "late"

    async def meanwhile() -> None:
        fake.database.before.clear()
        fake.database.end_sessions()
        await other.developing.ensure(media)

    fake.database.before["commit"] = meanwhile
    with pytest.raises(DatabaseUnavailable):
        await late.developing.ensure(media)

    for rendition in media.renditions:
        stored = _stored(fake, media, rendition.name)
        assert fake.blobs.contents[stored.key] == developed_bytes(picture(), rendition.recipe)
    orphans = await fake.service.housekeeping.collect_orphans()
    assert orphans == len(media.renditions)


async def test_what_was_remembered_of_a_content_is_not_served_after_it_was_swept(
    fake: FakeService,
) -> None:
    old = await fake.upload_done(picture())
    await fake.developing.ensure(old)
    other = fake_service(beside=fake)
    other.codecs.engine = "newer"
    await other.service.deleting.delete(old.id, user=old.owner)
    await other.service.housekeeping.sweep(grace=timedelta())

    new = await other.upload_done(picture())

    recipe = new.renditions[0].recipe
    assert fake.developing.known(new, recipe) is None
    assert (await fake.developing.ensure(new))[recipe.key] == _stored(fake, new)


async def test_a_damaged_original_is_told(fake: FakeService) -> None:
    media = await fake.upload()
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"

    with pytest.raises(MediaDamaged):
        await fake.developing.ensure(media)


async def test_an_original_that_was_swept_is_not_found(fake: FakeService) -> None:
    media = await fake.upload()
    fake.database.blobs.clear()

    with pytest.raises(MediaNotFound):
        await fake.developing.ensure(media)


@pytest.mark.parametrize("error", [BrokenFile, DecoderUnavailable])
async def test_a_failure_leaves_nothing_and_is_tried_again(
    fake: FakeService, error: type[MediaError]
) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = error()
    with pytest.raises(error):
        await fake.developing.ensure(media)
    assert fake.database.renditions == {}
    assert fake.staging.open_files == 0
    fake.codecs.develop_error = None

    assert len(await fake.developing.ensure(media)) == len(media.renditions)


async def test_a_failure_is_told_to_everyone_who_waits(fake: FakeService) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = BrokenFile()

    answers = await asyncio.gather(
        *(fake.developing.ensure(media) for _ in range(3)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [BrokenFile] * 3


async def test_a_full_store_shows_no_rendition(fake: FakeService) -> None:
    media = await fake.upload()
    fake.staging.failure = StorageFull()

    with pytest.raises(StorageFull):
        await fake.developing.ensure(media)

    assert fake.database.renditions == {}
    assert fake.developing.known(media, media.renditions[0].recipe) is None


async def test_a_commit_that_fails_shows_no_rendition(fake: FakeService) -> None:
    media = await fake.upload()

    async def go_away() -> None:
        fake.database.go_away()

    fake.database.before["commit"] = go_away
    with pytest.raises(DatabaseUnavailable):
        await fake.developing.ensure(media)

    assert fake.database.renditions == {}
    assert fake.developing.known(media, media.renditions[0].recipe) is None


async def test_a_caller_who_leaves_lets_the_next_develop(fake: FakeService) -> None:
    media = await fake.upload()
    fake.codecs.gate.clear()
    first = asyncio.create_task(fake.developing.ensure(media))
    await _until_waiting(fake, 1)
    second = asyncio.create_task(fake.developing.ensure(media))

    first.cancel()
    fake.codecs.gate.set()

    assert len(await second) == len(media.renditions)
    assert fake.staging.open_files == 0


async def test_no_more_is_developed_at_once_than_allowed() -> None:
    fake = fake_service(limits=DevelopingLimits(at_once=2))
    media = [await fake.upload(picture(name)) for name in "abcde"]
    fake.codecs.gate.clear()
    tasks = [asyncio.create_task(fake.developing.ensure(m)) for m in media]

    await _until_waiting(fake, 2)
    for _ in range(50):
        await asyncio.sleep(0)

    assert len(fake.codecs.developed) == 2
    fake.codecs.gate.set()
    await asyncio.gather(*tasks)
    assert len(fake.codecs.developed) == 5


async def test_no_more_may_wait_than_allowed() -> None:
    fake = fake_service(limits=DevelopingLimits(at_once=1, waiting=3))
    media = [await fake.upload(picture(name)) for name in "abcd"]
    fake.codecs.gate.clear()
    tasks = [asyncio.create_task(fake.developing.ensure(m)) for m in media[:3]]
    await _until_waiting(fake, 1)

    with pytest.raises(DecoderUnavailable):
        await fake.developing.ensure(media[3])

    fake.codecs.gate.set()
    await asyncio.gather(*tasks)
    await fake.developing.ensure(media[3])


async def test_what_is_there_needs_no_place_in_the_queue() -> None:
    fake = fake_service(limits=DevelopingLimits(at_once=1, waiting=0))
    other = fake_service(beside=fake)
    media = await other.upload_done()

    assert len(await fake.developing.ensure(media)) == len(media.renditions)
