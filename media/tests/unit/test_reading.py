from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from fakes.clock import SettableClock
from fakes.in_memory_cache import InMemoryCache
from fakes.in_memory_database import InMemoryDatabase
from fakes.samples import BOB, NOON, a_media
from fakes.service import fake_service
from media_service.core.errors import DatabaseUnavailable, MediaNotFound
from media_service.core.media import Media, new_media_id
from media_service.core.reading import Reading


class Library:
    """Reading, and what it reads from."""

    def __init__(self) -> None:
        self.database = InMemoryDatabase()
        self.cache = InMemoryCache()
        self.clock = SettableClock(NOON)
        self.reading = Reading(database=self.database, cache=self.cache, clock=self.clock)

    @property
    def reads(self) -> int:
        return self.database.calls["media.find"]

    def hold(self) -> tuple[asyncio.Event, asyncio.Event]:
        """The first event is set when the database is asked; it answers when the second is."""
        reached, gate = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            reached.set()
            await gate.wait()

        self.database.before["media.find"] = wait
        return reached, gate

    def keep(self, media: Media) -> Media:
        self.database.media[media.id] = media
        return media


@pytest.fixture
def library() -> Library:
    return Library()


async def test_a_medium_is_found(library: Library) -> None:
    media = library.keep(a_media())

    assert await library.reading.get(media.id) == media


async def test_a_medium_that_is_not_there_is_not_found(library: Library) -> None:
    with pytest.raises(MediaNotFound):
        await library.reading.get(new_media_id())


async def test_a_deleted_medium_is_not_found(library: Library) -> None:
    media = library.keep(a_media(deleted_at=NOON))

    with pytest.raises(MediaNotFound):
        await library.reading.get(media.id)


async def test_a_medium_is_not_found_from_the_moment_it_expires(library: Library) -> None:
    media = library.keep(a_media(expires_at=NOON + timedelta(seconds=1)))
    await library.reading.get(media.id)

    library.clock.advance(timedelta(seconds=1))

    with pytest.raises(MediaNotFound):
        await library.reading.get(media.id)


async def test_what_was_read_is_remembered(library: Library) -> None:
    media = library.keep(a_media())

    for _ in range(3):
        assert await library.reading.get(media.id) == media

    assert library.reads == 1


async def test_what_is_not_there_is_remembered_too(library: Library) -> None:
    media_id = new_media_id()

    for _ in range(3):
        assert await library.reading.find([media_id]) == {}

    assert library.reads == 1


async def test_only_what_is_not_remembered_is_read(library: Library) -> None:
    known, unknown = library.keep(a_media()), library.keep(a_media())
    await library.reading.get(known.id)
    del library.database.media[known.id]

    found = await library.reading.find([known.id, unknown.id])

    assert found == {known.id: known, unknown.id: unknown}


async def test_media_are_found_in_the_order_they_were_asked_for(library: Library) -> None:
    media = [library.keep(a_media()) for _ in range(5)]
    asked = [media[n].id for n in (3, 1, 4, 1, 0)]

    found = await library.reading.find([*asked, new_media_id()])

    assert list(found) == [media[n].id for n in (3, 1, 4, 0)]


async def test_nothing_asked_is_nothing_found(library: Library) -> None:
    assert await library.reading.find([]) == {}
    assert library.reads == 0


async def test_a_hundred_who_ask_at_once_cause_one_read(library: Library) -> None:
    media = library.keep(a_media())

    found = await asyncio.gather(*(library.reading.get(media.id) for _ in range(100)))

    assert found == [media] * 100
    assert library.reads == 1


async def test_who_joins_another_s_read_finds_only_what_he_asked_for(library: Library) -> None:
    first, second = library.keep(a_media()), library.keep(a_media())
    reached, gate = library.hold()
    both = asyncio.create_task(library.reading.find([first.id, second.id]))
    await reached.wait()
    one = asyncio.create_task(library.reading.find([second.id]))
    await asyncio.sleep(0)

    gate.set()

    assert await both == {first.id: first, second.id: second}
    assert await one == {second.id: second}
    assert library.reads == 1


async def test_reads_that_overlap_read_each_medium_once(library: Library) -> None:
    media = [library.keep(a_media()) for _ in range(4)]
    ids = [m.id for m in media]

    found = await asyncio.gather(
        library.reading.find(ids[:2]), library.reading.find(ids[1:3]), library.reading.find(ids)
    )

    assert [list(part) for part in found] == [ids[:2], ids[1:3], ids]
    assert library.reads == 3


async def test_a_caller_who_leaves_does_not_spoil_it_for_the_others(library: Library) -> None:
    media = library.keep(a_media())
    reached, gate = library.hold()
    callers = [asyncio.create_task(library.reading.get(media.id)) for _ in range(3)]
    await reached.wait()

    callers[0].cancel()
    await asyncio.sleep(0)
    gate.set()

    assert await asyncio.gather(*callers[1:]) == [media, media]
    assert callers[0].cancelled()
    assert library.reads == 1


async def test_a_read_that_fails_fails_for_all_who_wait_and_is_tried_again(
    library: Library,
) -> None:
    media = library.keep(a_media())
    library.database.go_away()

    answers = await asyncio.gather(
        *(library.reading.get(media.id) for _ in range(3)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    library.database.come_back()
    assert await library.reading.get(media.id) == media


async def test_what_changed_while_it_was_read_is_not_remembered(library: Library) -> None:
    media = library.keep(a_media())
    reached, gate = library.hold()
    reader = asyncio.create_task(library.reading.get(media.id))
    await reached.wait()

    await library.cache.drop([media.id])
    gate.set()
    await reader

    assert library.cache.remembered == {}


async def test_a_cache_that_is_away_is_done_without(library: Library) -> None:
    media = library.keep(a_media())
    library.cache.is_away = True

    assert await library.reading.get(media.id) == media
    assert await library.reading.get(media.id) == media
    assert library.reads == 2


async def test_an_upload_is_found_by_its_key_until_it_is_deleted() -> None:
    fake = fake_service()
    media = await fake.upload(idempotency_key="once")
    reading = fake.service.reading

    found = await reading.get_uploaded(media.owner, idempotency_key="once")
    assert found.id == media.id
    for owner, key in ((BOB, "once"), (media.owner, "twice"), (media.owner, "")):
        with pytest.raises(MediaNotFound):
            await reading.get_uploaded(owner, idempotency_key=key)
    await fake.service.deleting.delete(media.id, user=media.owner)
    with pytest.raises(MediaNotFound):
        await reading.get_uploaded(media.owner, idempotency_key="once")
