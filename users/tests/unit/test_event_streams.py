"""Streams of events end when the service stops, and when whoever listens has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel
from user_service.errors import MediaNotFound, TooManyListeners
from user_service.http_api import events
from user_service.http_api.events import EventStreams
from user_service.records import UserId

ADA, BOB = UserId("ada"), UserId("bob")


class Told(BaseModel):
    status: str = "pending"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_LOOK_SECONDS", 0.01)


class Watching:
    """A medium that stays as it is until somebody stops listening."""

    def __init__(self) -> None:
        self.is_over = False

    async def views(self) -> AsyncIterator[Told]:
        try:
            yield Told()
            await asyncio.sleep(60)
        finally:
            self.is_over = True


async def test_a_service_that_stops_ends_its_streams() -> None:
    stopping, watching = asyncio.Event(), Watching()
    streams = EventStreams(is_draining=stopping.is_set)
    answer = await streams.answer(watching.views(), user=ADA)
    content = aiter(answer.body_iterator)
    told = [await anext(content)]
    stopping.set()
    async with asyncio.timeout(1):
        told += [event async for event in content]
    assert told == [b'data: {"status":"pending"}\n\n']
    assert watching.is_over


async def test_whoever_leaves_is_not_watched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 1)
    watching, streams = Watching(), EventStreams(is_draining=lambda: False)
    answer = await streams.answer(watching.views(), user=ADA)
    content = aiter(answer.body_iterator)
    await anext(content)
    with pytest.raises(TooManyListeners):
        await streams.answer(Watching().views(), user=ADA)
    await streams.answer(Watching().views(), user=BOB)
    waiting = asyncio.ensure_future(anext(content))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert watching.is_over
    await streams.answer(Watching().views(), user=ADA)


async def test_what_fails_at_once_is_no_stream() -> None:
    async def nothing() -> AsyncIterator[Told]:
        raise MediaNotFound
        yield Told()

    with pytest.raises(MediaNotFound):
        await EventStreams(is_draining=lambda: False).answer(nothing(), user=ADA)
