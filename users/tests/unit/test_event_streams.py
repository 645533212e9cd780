"""Streams of events end when the service stops, and when whoever listens has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Message
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


class Listener:
    """Who is sent a stream, until they leave."""

    def __init__(self, answer: Response) -> None:
        self._is_told = asyncio.Event()
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        self._sending = asyncio.ensure_future(answer(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self._is_told.set()

    async def until_told(self) -> None:
        async with asyncio.timeout(1):
            await self._is_told.wait()

    async def leave(self) -> None:
        self._sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._sending


async def test_whoever_leaves_is_not_watched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 1)
    watching, streams = Watching(), EventStreams(is_draining=lambda: False)
    listener = Listener(await streams.answer(watching.views(), user=ADA))
    await listener.until_told()
    with pytest.raises(TooManyListeners):
        await streams.answer(Watching().views(), user=ADA)
    await streams.answer(Watching().views(), user=BOB)
    await asyncio.sleep(0.05)
    await listener.leave()
    assert watching.is_over
    await streams.answer(Watching().views(), user=ADA)


async def test_those_who_ask_at_once_are_counted_before_they_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 2)
    streams = EventStreams(is_draining=lambda: False)

    async def slow() -> AsyncIterator[Told]:
        await asyncio.sleep(0.01)
        yield Told()

    answers = [streams.answer(slow(), user=ADA) for _ in range(5)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)

    assert [isinstance(outcome, TooManyListeners) for outcome in outcomes] == [
        *(False, False),
        *(True, True, True),
    ]


async def test_what_failed_at_once_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 1)
    streams = EventStreams(is_draining=lambda: False)
    for _ in range(2):
        with pytest.raises(MediaNotFound):
            await streams.answer(_nothing(), user=ADA)


async def _nothing() -> AsyncIterator[Told]:
    raise MediaNotFound
    yield Told()
