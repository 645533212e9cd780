"""A network between a service and a server: it can be held, cut, or lose one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
_PIECE_BYTES = 65536
_ARRIVES_SECONDS = 0.2


class Network:
    """Carries bytes both ways. `losing`: the answer to the next message with this in it is lost."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.port = 0
        self.losing = b""
        self.lost = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def hold(self) -> None:
        """Swallow nothing, deliver nothing: a black hole, until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Deliver what was held, and all that comes."""
        self._flowing.set()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.close()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            onward, back = await self.connect()
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        with suppress(OSError):  # one side has gone
            await asyncio.gather(
                self._pump(reader, back, is_asking=True),
                self._pump(onward, writer, is_asking=False),
            )
        for each in (writer, back):
            each.close()
            self._writers.discard(each)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_asking: bool
    ) -> None:
        while chunk := await source.read(_PIECE_BYTES):
            await self._flowing.wait()
            if is_asking and self.losing and self.losing in chunk:
                await self._lose_answer(chunk, sink)
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    async def _lose_answer(self, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        """Let it arrive and be done; then nobody hears of it."""
        self.losing, self.lost = b"", self.lost + 1
        self.hold()
        sink.write(chunk)
        await asyncio.sleep(_ARRIVES_SECONDS)
        self.cut()
        self.release()
        raise ConnectionResetError


@asynccontextmanager
async def tcp_network(host: str, port: int) -> AsyncIterator[Network]:
    """A network to that address, at a port of its own; `connect` may be changed."""
    network = Network(lambda: asyncio.open_connection(host, port))
    server = await asyncio.start_server(network.carry, "127.0.0.1", 0)
    network.port = server.sockets[0].getsockname()[1]
    async with _closing(network, server):
        yield network


@asynccontextmanager
async def unix_network(target: Path, *, listening: Path) -> AsyncIterator[Network]:
    """A network to that socket, at another."""
    network = Network(lambda: asyncio.open_unix_connection(target))
    server = await asyncio.start_unix_server(network.carry, listening)
    async with _closing(network, server):
        yield network


@asynccontextmanager
async def _closing(network: Network, server: asyncio.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()
        network.release()
        network.cut()
        await asyncio.sleep(0)
