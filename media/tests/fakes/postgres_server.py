"""A real PostgreSQL for the tests, and new databases in it.

Run as a program it keeps a server up until its input ends: a process of its own, so that the
server is started again after a crash whichever event loop the tests are in.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
from embedded_servers.postgres import open_postgres
from media_service.infra.postgres.migrations import migrate

TEMPLATE = "template_media"
EMPTY = "template1"


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """The URL of the database TEMPLATE, whose schema is up to date and which stays empty."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "PostgreSQL did not start: see above"
            yield url
        finally:
            process.stdin.close()


class Databases:
    """Databases for one test after the other: copies of the template, emptied in between."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._empty: list[str] = []

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[str]:
        """The URL of a database whose schema is up to date and whose tables are empty."""
        url = self._empty.pop() if self._empty else await make_database(self._url)
        try:
            yield url
        finally:
            await _make_empty(url)
            self._empty.append(url)


async def make_database(url: str, *, template: str = TEMPLATE) -> str:
    """The URL of a new copy of the template."""
    name = f"test_{secrets.token_hex(6)}"
    async with _connected(url.replace(f"/{TEMPLATE}", "/postgres")) as connection:
        await connection.execute(f"create database {name} template {template}")
    return url.replace(f"/{TEMPLATE}", f"/{name}")


async def _make_empty(url: str) -> None:
    async with _connected(url) as connection:
        await connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"  # nobody but a superuser may end autovacuum's
        )
        # Backwards, because that way those that refer go before those that they refer to.
        tables = await connection.fetch(
            "select tablename from pg_tables where schemaname = 'public' "
            "and tablename <> 'schema_migrations' order by tablename desc"
        )
        await connection.execute("; ".join(f"delete from {row['tablename']}" for row in tables))


async def restart(url: str) -> None:
    """Stop the server; return when it is up again."""
    [host] = parse_qs(urlsplit(url).query)["host"]
    file = Path(host).parent / "data" / "postmaster.pid"
    stopped = int(file.read_text().splitlines()[0])
    os.kill(stopped, signal.SIGINT)
    while _ready(file) in (None, stopped):
        await asyncio.sleep(0.01)


def _ready(file: Path) -> int | None:
    """The process id of the server that accepts connections, if one does."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return None
    return int(lines[0]) if len(lines) > 7 and lines[7].strip() == "ready" else None


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def _serve(folder: Path) -> None:
    async with open_postgres(folder, database=TEMPLATE) as url:
        await migrate(url)
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
