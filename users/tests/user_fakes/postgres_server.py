"""A real PostgreSQL for the tests, and new databases in it.

Run as a program it keeps a server up until its input ends: a process of its own, so that the
server is started again after a crash whichever event loop the tests are in.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
from embedded_servers.postgres import open_postgres
from user_service.postgres.migrations import migrate

TEMPLATE = "template_users"
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


@asynccontextmanager
async def new_database(url: str, *, template: str = TEMPLATE) -> AsyncIterator[str]:
    """The URL of a copy of the template, dropped when the context ends."""
    name = f"test_{secrets.token_hex(6)}"
    await _execute(url, f"create database {name} template {template}")
    try:
        yield url.replace(f"/{TEMPLATE}", f"/{name}")
    finally:
        await _end_sessions(url, name)
        await _execute(url, f"drop database {name}")  # ends autovacuum, as "force" may not


async def _end_sessions(url: str, name: str) -> None:
    """Throw out whoever is in the database of that name; return when they are gone."""
    await _execute(
        url,
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
        "where datname = $1 and backend_type = 'client backend'",
        name,
    )


async def _execute(url: str, statement: str, *arguments: str) -> None:
    connection = await asyncpg.connect(url.replace(f"/{TEMPLATE}", "/postgres"))
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def _serve(folder: Path) -> None:
    async with open_postgres(folder, database=TEMPLATE) as url:
        await migrate(url)
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
