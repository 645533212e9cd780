"""What stands between a cache and its Redis in tests: a network that can be held or cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from redis.asyncio import Redis


class Network:
    """Carries bytes to the server at `url`, which may be changed. Begins to flow at once."""

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self.url = ""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()

    def hold(self) -> None:
        """Keep every byte on its way until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Deliver what was held, and all that comes."""
        self._flowing.set()

    def cut(self) -> None:
        """End every connection and take no other until `mend`."""
        self._is_cut = True
        for writer in self._writers:
            writer.close()

    def mend(self, *, server_url: str | None = None) -> None:
        """Take connections again, to another server if told so."""
        self.server_url = server_url or self.server_url
        self._is_cut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self._is_cut:
            writer.close()
            return
        address = urlsplit(self.server_url)
        onward, back = await asyncio.open_connection(address.hostname, address.port)
        self._writers |= {writer, back}
        with suppress(OSError):
            await asyncio.gather(self._pump(reader, back), self._pump(onward, writer))
        for each in (writer, back):
            each.close()
            self._writers.discard(each)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            await self._flowing.wait()
            sink.write(chunk)
        await self._flowing.wait()
        if sink.can_write_eof():
            sink.write_eof()


@asynccontextmanager
async def open_network(server_url: str) -> AsyncIterator[Network]:
    """A network to the server, at a URL of its own."""
    network = Network(server_url)
    listener = await asyncio.start_server(network.carry, "127.0.0.1", 0)
    network.url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    try:
        yield network
    finally:
        listener.close()
        network.release()
        network.cut()
        await asyncio.sleep(0)


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """A plain client, to look and meddle behind a cache's back."""
    redis = Redis.from_url(url, protocol=2)
    try:
        yield redis
    finally:
        await redis.aclose()
