"""A receiver of webhooks on a real socket, which does what the test says."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

HANG, ENDLESS = -1, -2
"""Never to answer; to answer with a body that never ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclasses.dataclass(slots=True)
class Receiver:
    """Answers with the statuses of `script`, then with 204 for ever."""

    port: int = 0
    received: list[Received] = dataclasses.field(default_factory=list)
    script: deque[int] = dataclasses.field(default_factory=deque)
    redirect_to: str = ""
    on_request: Callable[[], None] | None = None
    _server: asyncio.Server | None = None
    _more: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?token=of-the-operator"

    @property
    def types(self) -> list[str]:
        return [each.event["type"] for each in self.received]

    async def until(self, count: int, *, seconds: float = 20) -> list[Received]:
        """What arrived, when it is so much."""
        async with asyncio.timeout(seconds):
            while len(self.received) < count:
                self._more.clear()
                await self._more.wait()
        return self.received

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                await self._answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(first.split()[1], headers, body))
        self._more.set()
        if self.on_request:
            self.on_request()
        status = self.script.popleft() if self.script else 204
        if status == HANG:
            await asyncio.sleep(60)
        if status == ENDLESS:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
                await writer.drain()
        location = f"location: {self.redirect_to}\r\n" if self.redirect_to else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{location}content-length: 0\r\n\r\n".encode())
        await writer.drain()


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()
