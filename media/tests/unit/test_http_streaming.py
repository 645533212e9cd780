from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import structlog
from fakes.samples import a_media, a_stored_rendition
from media_service.core.delivering import Delivering, Representation
from media_service.core.errors import MediaDamaged
from media_service.core.ports import OpenBlob
from media_service.core.transforming import Transforming
from media_service.entrypoints.http_api.delivery import DeliveryRoute
from media_service.entrypoints.http_api.exchange import Exchange
from starlette.types import Message

PIECE = 256 * 1024
MEDIA = a_media()


class Scripted:
    """Delivering of `size_bytes`, of which `pieces` are given and counted."""

    def __init__(self, size_bytes: int, *, pieces: list[bytes | Exception]) -> None:
        self.found = Representation(
            media=MEDIA,
            stored=dataclasses.replace(a_stored_rendition(), size_bytes=size_bytes),
            is_exact=True,
            lasting=None,
        )
        self.size_bytes = size_bytes
        self.given = 0
        self.is_open = False
        self._pieces = pieces

    async def find(self, *_: object, **__: object) -> Representation:
        return self.found

    @asynccontextmanager
    async def open(self, found: Representation) -> AsyncIterator[tuple[Representation, OpenBlob]]:
        self.is_open = True
        try:
            yield found, self
        finally:
            self.is_open = False

    def at_hand(self, start: int, length: int) -> bytes | None:
        return None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            self.given += 1
            yield piece


class Reader:
    """The server's side of a request: takes messages, and may leave."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.before_each: Callable[[], Awaitable[object]] = _nothing
        self.leaving = asyncio.Event()

    async def send(self, message: Message) -> None:
        await self.before_each()
        self.taken.append(message)

    async def receive(self) -> Message:
        await self.leaving.wait()
        return {"type": "http.disconnect"}

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.taken[1:])

    @property
    def is_complete(self) -> bool:
        return bool(self.taken) and self.taken[-1].get("more_body") is False


async def _nothing() -> None:
    pass


async def _deliver(scripted: Scripted, reader: Reader) -> Exchange:
    exchange = Exchange(reader.send, request_id=None)
    scope = {
        "method": "GET",
        "raw_path": f"/media/{MEDIA.id}/full".encode(),
        "query_string": b"",
    }
    route = DeliveryRoute(cast("Delivering", scripted), cast("Transforming", None))
    try:
        await route.answer(scope, reader.receive, exchange=exchange, headers={})
    except Exception as error:
        with structlog.testing.capture_logs():
            await exchange.fail(error, route="/media")
    return exchange


async def test_a_large_body_goes_out_piece_by_piece() -> None:
    pieces = [bytes([n]) * PIECE for n in range(5)]
    scripted, reader = Scripted(5 * PIECE, pieces=[*pieces]), Reader()

    exchange = await _deliver(scripted, reader)

    assert reader.content == b"".join(pieces)
    assert [message["more_body"] for message in reader.taken[1:]] == [True] * 4 + [False]
    assert exchange.body_bytes == 5 * PIECE
    assert not scripted.is_open


async def test_a_slow_reader_holds_up_the_reading() -> None:
    scripted, reader = Scripted(5 * PIECE, pieces=[bytes(PIECE)] * 5), Reader()
    may_go_on = asyncio.Semaphore(2)
    reader.before_each = may_go_on.acquire

    delivering = asyncio.create_task(_deliver(scripted, reader))
    for _ in range(50):
        await asyncio.sleep(0)
    given_meanwhile = scripted.given
    for _ in range(4):
        may_go_on.release()
    await delivering

    assert given_meanwhile == 2
    assert reader.is_complete


async def test_reading_stops_when_the_reader_leaves() -> None:
    scripted, reader = Scripted(1000 * PIECE, pieces=[bytes(PIECE)] * 1000), Reader()

    async def leave_at_the_third() -> None:
        if len(reader.taken) == 3:
            reader.leaving.set()
        await asyncio.sleep(0)

    reader.before_each = leave_at_the_third
    exchange = await _deliver(scripted, reader)

    assert scripted.given < 10
    assert not reader.is_complete
    assert not exchange.is_cut
    assert not scripted.is_open


async def test_bytes_that_go_bad_on_the_way_cut_the_answer() -> None:
    scripted, reader = Scripted(3 * PIECE, pieces=[bytes(PIECE), MediaDamaged()]), Reader()

    exchange = await _deliver(scripted, reader)

    assert exchange.is_cut
    assert not reader.is_complete
    assert not scripted.is_open


async def test_bytes_that_are_bad_from_the_start_are_an_error() -> None:
    scripted, reader = Scripted(3 * PIECE, pieces=[MediaDamaged()]), Reader()

    exchange = await _deliver(scripted, reader)

    assert reader.taken[0]["status"] == 503
    assert not exchange.is_cut


async def test_fewer_bytes_than_announced_never_look_whole() -> None:
    scripted, reader = Scripted(1000, pieces=[bytes(400), bytes(400)]), Reader()

    exchange = await _deliver(scripted, reader)

    assert exchange.is_cut
    assert not reader.is_complete


async def test_more_bytes_than_announced_are_not_sent() -> None:
    scripted, reader = Scripted(1000, pieces=[bytes(600), bytes(600)]), Reader()

    exchange = await _deliver(scripted, reader)

    assert exchange.is_cut
    assert len(reader.content) == 600
    assert not reader.is_complete


async def test_no_task_is_left_behind() -> None:
    before = asyncio.all_tasks()
    await _deliver(Scripted(2 * PIECE, pieces=[bytes(PIECE)] * 2), Reader())
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
