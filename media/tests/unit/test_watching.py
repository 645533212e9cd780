"""Watching: told at once, told of changes, told no more than needed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from fakes.clock import SettableClock
from fakes.samples import NOON, a_blob, a_media
from fakes.service import FakeService, fake_service
from media_service.core.errors import (
    DatabaseUnavailable,
    MediaNotFound,
    ServiceStopping,
    TooManyWatchers,
)
from media_service.core.media import Media, MediaId, ProcessingStatus, new_media_id
from media_service.core.watching import WatchingLimits

PROCESSING, COMPLETED = ProcessingStatus.PROCESSING, ProcessingStatus.COMPLETED


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def _stored(fake: FakeService, **changes: Any) -> Media:
    media = a_media(**changes)
    await fake.database.latest.blobs.keep(a_blob())
    await fake.database.latest.media.insert(media)
    return media


async def _change(fake: FakeService, media: Media, *, quietly: bool = False) -> None:
    """As another process does it."""
    fake.database.media[media.id] = media
    await fake.cache.drop([media.id])
    if not quietly:
        fake.changes.tell(media.id)


class Watcher:
    """Notes what it is told."""

    def __init__(self, fake: FakeService, media_id: MediaId) -> None:
        self.told: list[Media] = []
        self._more = asyncio.Event()
        self.task = asyncio.create_task(self._watch(fake, media_id))

    async def _watch(self, fake: FakeService, media_id: MediaId) -> None:
        async with aclosing(fake.service.watching.watch(media_id)) as told:
            async for media in told:
                self.told.append(media)
                self._more.set()

    async def until_told(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.told) < count:
                self._more.clear()
                await self._more.wait()

    async def end(self) -> None:
        async with asyncio.timeout(5):
            await self.task


async def _collected(told: AsyncIterator[Media]) -> list[Media]:
    return [media async for media in told]


async def test_what_is_over_is_told_once(fake: FakeService) -> None:
    media = await _stored(fake, status=COMPLETED)

    assert await _collected(fake.service.watching.watch(media.id)) == [media]
    assert fake.service.watching.count == 0


async def test_changes_are_told_in_order_until_the_work_is_over(fake: FakeService) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)
    states = [
        dataclasses.replace(media.advanced(PROCESSING, NOON), stage_percent=percent)
        for percent in (10, 50)
    ]

    for count, state in enumerate([*states, media.advanced(COMPLETED, NOON)], start=2):
        await _change(fake, state)
        await watcher.until_told(count)

    await watcher.end()
    assert [m.status for m in watcher.told] == ["pending", "processing", "processing", "completed"]
    assert [m.stage_percent for m in watcher.told] == [0, 10, 50, 0]
    await asyncio.sleep(0.01)
    assert not fake.changes.followers


async def test_what_changes_fast_is_told_seldom_and_its_last_state_always() -> None:
    fake = fake_service(watching_limits=WatchingLimits(pause_seconds=0.2))
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    for percent in range(100):
        state = dataclasses.replace(media.advanced(PROCESSING, NOON), stage_percent=percent)
        await _change(fake, state)
        await asyncio.sleep(0.005)
    await _change(fake, media.advanced(COMPLETED, NOON))

    await watcher.end()
    assert 3 <= len(watcher.told) <= 8
    assert watcher.told[-1].status is COMPLETED


async def test_a_notice_that_changes_nothing_is_not_told(fake: FakeService) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    for _ in range(3):
        fake.changes.tell(media.id)
        await asyncio.sleep(0.1)
    await _change(fake, media.advanced(COMPLETED, NOON))

    await watcher.end()
    assert len(watcher.told) == 2


async def test_what_was_missed_in_a_gap_is_told_after_it(fake: FakeService) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    fake.changes.tell_gap(True)
    await _change(fake, media.advanced(COMPLETED, NOON), quietly=True)
    fake.changes.tell_gap(False)

    await watcher.end()
    assert watcher.told[-1].status is COMPLETED


async def test_what_nobody_tells_of_is_found_by_looking() -> None:
    fake = fake_service(watching_limits=WatchingLimits(pause_seconds=0.01, look_seconds=0.1))
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    await _change(fake, media.advanced(COMPLETED, NOON), quietly=True)

    await watcher.end()


async def test_a_deletion_cancels_the_work_and_ends_it(fake: FakeService) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    await _change(fake, media.deleted(NOON))

    with pytest.raises(MediaNotFound):
        await watcher.end()
    assert [told.status for told in watcher.told] == ["pending", "cancelled"]


@pytest.mark.parametrize("before", [COMPLETED, ProcessingStatus.FAILED])
async def test_of_work_that_was_over_no_deletion_tells(
    fake: FakeService, before: ProcessingStatus
) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    await _change(fake, media.advanced(before, NOON).deleted(NOON))

    with pytest.raises(MediaNotFound):
        await watcher.end()
    assert [told.status for told in watcher.told] == ["pending"]


async def test_what_was_cancelled_before_is_not_there(fake: FakeService) -> None:
    media = await _stored(fake)
    await _change(fake, media.deleted(NOON))

    with pytest.raises(MediaNotFound):
        await _collected(fake.service.watching.watch(media.id))


async def test_an_expiry_ends_it() -> None:
    clock = SettableClock()
    limits = WatchingLimits(pause_seconds=0.01, look_seconds=0.1)
    fake = fake_service(clock=clock, watching_limits=limits)
    media = await _stored(fake, expires_at=clock() + timedelta(hours=24))
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    clock.advance(timedelta(hours=25))

    with pytest.raises(MediaNotFound):
        await watcher.end()


async def test_there_is_nothing_to_watch_where_there_is_nothing(fake: FakeService) -> None:
    with pytest.raises(MediaNotFound):
        await _collected(fake.service.watching.watch(new_media_id()))


async def test_what_was_read_before_the_work_began_anew_does_not_end_it(fake: FakeService) -> None:
    media = await _stored(fake, revision=2)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    await _change(fake, dataclasses.replace(media.advanced(COMPLETED, NOON), revision=1))
    await asyncio.sleep(0.15)
    assert len(watcher.told) == 1
    await _change(fake, media.advanced(COMPLETED, NOON))

    await watcher.end()


async def test_a_row_is_read_once_however_many_watch_it() -> None:
    fake = fake_service(watching_limits=WatchingLimits(pause_seconds=0.01, look_seconds=60))
    media = await _stored(fake)
    watchers = [Watcher(fake, media.id) for _ in range(200)]
    for watcher in watchers:
        await watcher.until_told(1)
    await asyncio.sleep(0.1)
    before = fake.database.calls["media.find"]

    await _change(fake, media.advanced(COMPLETED, NOON))
    for watcher in watchers:
        await watcher.end()

    assert fake.database.calls["media.find"] - before == 1


async def test_no_more_watch_than_may(fake: FakeService) -> None:
    media = await _stored(fake)
    watchers = [Watcher(fake, media.id) for _ in range(20)]
    await watchers[-1].until_told(1)

    with pytest.raises(TooManyWatchers):
        await _collected(fake.service.watching.watch(media.id))
    for watcher in watchers:
        watcher.task.cancel()
    await asyncio.gather(*(w.task for w in watchers), return_exceptions=True)

    assert fake.service.watching.count == 0
    assert not fake.changes.followers


async def test_who_watches_is_sent_elsewhere_when_the_service_stops(fake: FakeService) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    fake.service.watching.stop()

    with pytest.raises(ServiceStopping):
        await watcher.end()
    with pytest.raises(ServiceStopping):
        await _collected(fake.service.watching.watch(media.id))


async def test_an_outage_of_the_database_is_sat_out(fake: FakeService) -> None:
    media = await _stored(fake)
    watcher = Watcher(fake, media.id)
    await watcher.until_told(1)

    async def away() -> None:
        raise DatabaseUnavailable

    fake.database.before["media.find"] = away
    await _change(fake, media.advanced(COMPLETED, NOON))
    await asyncio.sleep(0.1)
    del fake.database.before["media.find"]

    await watcher.end()
    assert watcher.told[-1].status is COMPLETED


async def test_a_row_nobody_understands_keeps_nobody_else_from_being_told(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, media = await _stored(fake), await _stored(fake)
    watchers = [Watcher(fake, each.id) for each in (odd, media)]
    for watcher in watchers:
        await watcher.until_told(1)
    rows = type(fake.database.latest.media)
    find = rows.find

    async def understood(self: Any, ids: Sequence[MediaId]) -> dict[MediaId, Media]:
        if odd.id in ids:
            raise ValueError("a recipe of a later release")
        return await find(self, ids)

    monkeypatch.setattr(rows, "find", understood)
    for each in (odd, media):
        await _change(fake, each.advanced(COMPLETED, NOON))

    await watchers[1].end()
    assert watchers[1].told[-1].status is COMPLETED
    monkeypatch.undo()
    await _change(fake, odd.advanced(COMPLETED, NOON))
    await watchers[0].end()
