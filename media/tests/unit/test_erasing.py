from __future__ import annotations

import asyncio

import pytest
from fakes.samples import ALICE, BOB, sha256_of
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.blobs import new_label, original_key
from media_service.core.erasing import Erased, Left
from media_service.core.errors import MediaNotFound, StorageUnavailable
from media_service.core.media import Visibility


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def erase(fake: FakeService) -> list[Erased]:
    return [erased async for erased in fake.service.erasing.erase(ALICE)]


async def test_nothing_of_an_owner_is_left(fake: FakeService) -> None:
    for n in range(3):
        await fake.upload_done(picture(f"p{n}"))
    deleted = await fake.upload_done(picture("deleted"))
    await fake.service.deleting.delete(deleted.id, user=ALICE)
    assert await fake.service.erasing.count(ALICE) == (3, 1)

    erased = await erase(fake)

    assert [(each.left, each.shared) for each in erased] == [((), False)] * 4
    assert fake.database.media == {}
    assert fake.database.blobs == {}
    assert fake.database.renditions == {}
    assert fake.blobs.contents == {}
    assert fake.blobs.trashed == {}
    assert not any(fake.cache.remembered.values())
    assert await erase(fake) == []


async def test_jobs_of_media_that_were_deleted_before_go_too(fake: FakeService) -> None:
    media = await fake.upload()
    [job] = fake.database.jobs
    await fake.service.deleting.delete(media.id, user=ALICE)
    fake.database.jobs.append(job)  # its worker was killed when it was broken off

    await erase(fake)

    assert fake.database.jobs == []


async def test_the_paths_that_caches_may_know_are_told(fake: FakeService) -> None:
    public = await fake.upload_done(picture("public"))
    await fake.upload_done(picture("private"), visibility=Visibility.PRIVATE)

    told = {path for erased in await erase(fake) for path in erased.paths}

    assert told == {f"/media/{public.id}/{r.name}?v={r.recipe.version}" for r in public.renditions}


async def test_others_lose_nothing(fake: FakeService) -> None:
    await fake.upload_done(picture("own"))
    await fake.upload_done(picture("shared"))
    other = await fake.upload_done(picture("shared"), owner=BOB)
    held = {key: bytes_ for key, bytes_ in fake.blobs.contents.items() if other.sha256 in key}

    erased = await erase(fake)

    assert sorted(each.shared for each in erased) == [False, True]
    assert fake.blobs.contents == held
    assert set(fake.database.media) == {other.id}
    assert (await fake.service.reading.get(other.id)).owner == BOB


async def test_two_media_of_equal_bytes_of_one_owner_share_with_nobody(fake: FakeService) -> None:
    for _ in range(2):
        await fake.upload_done(picture())

    assert [(each.left, each.shared) for each in await erase(fake)] == [((), False)] * 2

    assert fake.blobs.contents == {}


async def test_copies_in_the_trash_go_too(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    key, other = original_key(media.sha256), original_key(sha256_of("another's"))
    label = new_label("fsck", fake.clock.now)
    fake.blobs.trashed = {label: {key: picture(), other: b"bytes"}}

    await erase(fake)

    assert fake.blobs.trashed == {label: {other: b"bytes"}}


async def test_one_that_is_interrupted_is_ended_by_the_next(fake: FakeService) -> None:
    for n in range(5):
        await fake.upload_done(picture(f"p{n}"))
    count = 0
    async for _ in fake.service.erasing.erase(ALICE):
        count += 1
        if count == 2:
            break
    assert fake.blobs.contents

    again = await erase(fake)

    assert len(again) >= 3
    assert (fake.blobs.contents, fake.database.media) == ({}, {})


async def test_a_store_that_goes_away_loses_no_trace_of_what_is_left(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    fake.blobs.failure = StorageUnavailable()
    with pytest.raises(StorageUnavailable):
        await erase(fake)
    assert fake.database.media[media.id].deleted_at
    fake.blobs.failure = None

    assert [each.left for each in await erase(fake)] == [()]

    assert fake.blobs.contents == {}


async def test_a_url_that_still_answers_is_told_and_the_row_stays(fake: FakeService) -> None:
    media = await fake.upload_done(picture())

    async def answers(path: str) -> bool:
        return "/full?" in path

    [erased] = [each async for each in fake.service.erasing.erase(ALICE, answers=answers)]

    assert erased.left == (Left.URL,)
    assert media.id in fake.database.media
    with pytest.raises(MediaNotFound):
        await fake.service.reading.get(media.id)


async def test_uploads_of_equal_bytes_at_the_same_time_lose_nothing(fake: FakeService) -> None:
    others = [fake_service(beside=fake) for _ in range(3)]
    for n in range(4):
        await fake.upload(picture(f"p{n}"))

    async def upload(other: FakeService, owner: str) -> list[str]:
        return [
            (await other.upload(picture(f"p{n}"), owner=owner)).sha256
            for _ in range(5)
            for n in range(4)
        ]

    uploads = [upload(other, f"other{n}") for n, other in enumerate(others)]
    erasing = asyncio.create_task(erase(fake))
    await asyncio.gather(*uploads)

    assert len(await erasing) == 4
    assert await fake.service.erasing.count(ALICE) == (0, 0)
    kept = [m for m in fake.database.media.values() if not m.deleted_at]
    assert len(kept) == 60
    for media in kept:
        assert original_key(media.sha256) in fake.blobs.contents
