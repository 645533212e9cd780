"""Stands between a client and a server on a unix socket, so that a test can cut them off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Relay:
    """Open it with `open_relay`. While it is cut, nobody listens and nothing passes."""

    def __init__(self, *, listening: Path, target: Path) -> None:
        self._listening = listening
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Let clients connect."""
        self._server = await asyncio.start_unix_server(self._accept, self._listening)

    async def cut(self) -> None:
        """Break every connection and accept no more."""
        if self._server:
            self._server.close()
            self._listening.unlink()
        self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, back}
        await asyncio.gather(_pass(reader, back), _pass(there, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def open_relay(folder: Path, *, target: Path) -> AsyncIterator[Relay]:
    """A relay that listens in the folder under the target's name."""
    relay = Relay(listening=folder / target.name, target=target)
    await relay.mend()
    try:
        yield relay
    finally:
        await relay.cut()
