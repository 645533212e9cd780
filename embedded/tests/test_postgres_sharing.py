"""One folder, several processes: who owns the server, who attaches, what a kill leaves."""

import asyncio
import os
import secrets
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
from embedded_servers.postgres import open_postgres

OpenElsewhere = Callable[..., Awaitable[tuple[Process, str]]]


def processes_of(folder: Path) -> list[int]:
    """The processes that work in the folder's data, as all of a server's do."""
    pids = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").samefile(folder / "data"):
                pids.append(int(entry.name))
        except OSError:
            continue
    return pids


async def all_end(folder: Path, *, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while processes_of(folder) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return not processes_of(folder)


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def remember(url: str) -> int:
    """Commit a number that no test before has seen."""
    number = secrets.randbelow(2**31)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            f"DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT {number} AS n"
        )
    finally:
        await connection.close()
    return number


async def ask_until_answered(url: str, question: str, *, within_seconds: float) -> object:
    async with asyncio.timeout(within_seconds):
        while True:
            try:
                return await ask(url, question)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)


async def leave(opener: Process) -> None:
    await opener.communicate(b"")
    assert opener.returncode == 0


async def kill(opener: Process) -> None:
    opener.kill()
    await opener.wait()


async def test_nothing_runs_on_after_the_end(folder: Path) -> None:
    async with open_postgres(folder):
        assert processes_of(folder)

    assert not processes_of(folder)


async def test_a_killed_owner_takes_its_server_along_and_loses_nothing(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    owner, url = await open_elsewhere("postgres", folder)
    number = await remember(url)
    busy = asyncio.create_task(ask(url, "SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)

    await kill(owner)

    assert await all_end(folder, within_seconds=10)
    await asyncio.gather(busy, return_exceptions=True)
    async with open_postgres(folder) as url:
        assert await ask(url, "SELECT n FROM kept") == number


async def test_a_folder_can_be_opened_the_moment_its_owner_is_killed(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    owner, url = await open_elsewhere("postgres", folder)
    number = await remember(url)

    await kill(owner)

    async with open_postgres(folder) as url:
        assert await ask(url, "SELECT n FROM kept") == number


async def test_a_server_killed_with_all_its_processes_recovers(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    owner, url = await open_elsewhere("postgres", folder)
    number = await remember(url)

    for pid in (owner.pid, *processes_of(folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async with open_postgres(folder) as url:
        assert await ask(url, "SELECT n FROM kept") == number


async def test_a_server_that_replays_its_log_ends_with_its_killed_owner_too(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    owner, _ = await open_elsewhere("postgres", folder)
    postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    child = next(pid for pid in processes_of(folder) if pid != postmaster)

    os.kill(child, signal.SIGKILL)
    await asyncio.sleep(0.03)
    await kill(owner)

    assert await all_end(folder, within_seconds=10)


async def test_a_second_process_attaches_and_leaves_the_server_running(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    async with open_postgres(folder) as url:
        connection = await asyncpg.connect(url)
        attached, same_url = await open_elsewhere("postgres", folder)
        assert await ask(same_url, "SELECT 1") == 1

        await leave(attached)

        assert await connection.fetchval("SELECT 2") == 2
        await connection.close()


async def test_a_killed_second_process_leaves_the_server_running(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    async with open_postgres(folder) as url:
        connection = await asyncpg.connect(url)
        attached, _ = await open_elsewhere("postgres", folder)

        await kill(attached)

        assert await connection.fetchval("SELECT 2") == 2
        await connection.close()


async def test_an_attached_process_takes_over_when_the_owner_leaves(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    owner, _ = await open_elsewhere("postgres", folder)
    async with open_postgres(folder) as url:
        number = await remember(url)

        await leave(owner)

        assert await ask_until_answered(url, "SELECT n FROM kept", within_seconds=10) == number
    assert not processes_of(folder)


async def test_an_attached_process_takes_over_when_the_owner_is_killed(
    folder: Path, open_elsewhere: OpenElsewhere
) -> None:
    owner, _ = await open_elsewhere("postgres", folder)
    async with open_postgres(folder) as url:
        await kill(owner)

        assert await ask_until_answered(url, "SELECT 7", within_seconds=10) == 7


async def test_a_killed_server_is_started_again_at_the_same_url(folder: Path) -> None:
    async with open_postgres(folder) as url:
        number = await remember(url)
        postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])

        os.kill(postmaster, signal.SIGKILL)
        await asyncio.sleep(0.05)

        assert await ask_until_answered(url, "SELECT n FROM kept", within_seconds=10) == number


async def test_many_processes_may_open_a_fresh_folder_together(
    tmp_path: Path, open_elsewhere: OpenElsewhere
) -> None:
    opened = await asyncio.gather(*(open_elsewhere("postgres", tmp_path) for _ in range(4)))

    assert len({url for _, url in opened}) == 1
    assert await ask(opened[0][1], "SELECT 1") == 1


async def test_a_cluster_removed_under_its_server_is_not_replaced_by_an_empty_one(
    own_folder: Path,
) -> None:
    async with open_postgres(own_folder):
        postmaster = int((own_folder / "data" / "postmaster.pid").read_text().split()[0])
        (own_folder / "data").rename(own_folder / "elsewhere")
        os.kill(postmaster, signal.SIGKILL)
        await asyncio.sleep(0.6)

        assert not (own_folder / "data").exists()
