"""What proofs stand on: a real PostgreSQL, one folder of blobs, and processes that share them."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
from embedded_servers.postgres import open_postgres

from proofs.callers import OUTSIDE
from tests.e2e.processes import Mediad, Served
from tests.e2e.userd_process import Userd

KEYS = "k1:0123456789abcdef0123456789abcdef"


@dataclasses.dataclass(frozen=True, slots=True)
class Stack:
    """The shared parts, and a way to add processes to them."""

    folder: Path
    database_url: str

    @property
    def blobs(self) -> Path:
        """Where bytes lie."""
        return self.folder / "blobs"

    @property
    def postmaster_file(self) -> Path:
        """Where PostgreSQL writes its process id."""
        return self.folder / "postgres" / "data" / "postmaster.pid"

    def settings(self, **more: str) -> dict[str, str]:
        """What makes a process use the shared parts."""
        return {
            "MEDIAD_DATABASE_URL": self.database_url,
            "MEDIAD_STORAGE_URL": f"file://{self.blobs}",
            "MEDIAD_SIGNING_KEYS": KEYS,
            "MEDIAD_LOG_FORMAT": "json",
            **more,
        }

    def userd(self, name: str, media: Mediad, **more: str) -> Userd:
        """A user service before that media service, not started; it lets `token_of` in."""
        own = {"USERD_DATABASE_URL": self.database_url, **OUTSIDE, **more}
        return Userd(self.folder / name, media, **own)

    def mediad(self, name: str, **more: str) -> Mediad:
        """A media service on the shared parts, not started."""
        return Mediad(self.folder / name, **self.settings(**more))

    @asynccontextmanager
    async def rows(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of the proof's own to the rows."""
        connection = await asyncpg.connect(self.database_url)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    async def count(self, query: str, *arguments: object) -> int:
        """A number out of the rows."""
        async with self.rows() as rows:
            return int(await rows.fetchval(query, *arguments) or 0)

    def files(self, kind: str) -> list[Path]:
        """Files of `originals`, `renditions`, `trash` or `staging`; claims of the living apart."""
        found = (self.blobs / kind).rglob("*")
        return [file for file in found if file.is_file() and "lock" not in file.name]

    def original(self, content: bytes) -> Path:
        """Where these bytes lie as an original."""
        name = sha256_of(content)
        return self.blobs / "originals" / name[:2] / name[2:4] / name

    def holds(self, content: bytes) -> bool:
        """Whether these very bytes lie there."""
        try:
            return self.original(content).read_bytes() == content
        except FileNotFoundError:
            return False


@asynccontextmanager
async def open_stack(folder: Path) -> AsyncIterator[Stack]:
    """A PostgreSQL with no rows, and no blobs."""
    async with open_postgres(folder / "postgres") as url:
        yield Stack(folder, url)


@asynccontextmanager
async def running(*servers: Served) -> AsyncIterator[None]:
    """Start them all at once; whatever still runs at the end is stopped."""
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.push_async_callback(asyncio.to_thread, ended, server)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        yield


def ended(server: Served) -> None:
    """Stop it, if it runs; also one that was put to sleep."""
    with suppress(AssertionError, ProcessLookupError):  # never started, or gone already
        os.kill(server.pid, signal.SIGCONT)
        server.stop()


def sha256_of(content: bytes) -> str:
    """Its name in the store."""
    return hashlib.sha256(content).hexdigest()
