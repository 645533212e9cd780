"""`mediad serve --workers 2`: two processes behind one pair of ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from media_client import MediaClient, Purpose, Retries

from tests.e2e.processes import Mediad
from tests.e2e.samples import noisy_pictures

CALLS = 'mediad_grpc_request_seconds_count{code="OK",method="GetMedia"}'


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    """Two serving processes and their supervisor."""
    own = Mediad(
        tmp_path_factory.mktemp("team"),
        MEDIAD_WORKERS="2",
        MEDIAD_CELLS="1",
        MEDIAD_CONNECTION_AGE_SECONDS="1",
    )
    with own.running():
        yield own


def members(team: Mediad) -> list[psutil.Process]:
    """The serving processes, cells and database apart."""
    children = psutil.Process(team.pid).children()
    return [child for child in children if "serve-in-team" in child.cmdline()]


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def metrics(team: Mediad) -> dict[str, float]:
    """What one of them tells, whichever it is."""
    async with httpx.AsyncClient(timeout=30) as http:
        text = (await http.get(f"{team.base_url}/metrics")).text
    return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\n]\S*) (\S+)$", text, re.MULTILINE)}


async def both_serve(team: Mediad) -> bool:
    return (await metrics(team)).get("mediad_processes") == 2


async def upload(team: Mediad, data: bytes) -> str:
    async with MediaClient(f"127.0.0.1:{team.grpc_port}") as client:
        stored = await client.upload_media(
            data, filename="p.jpg", user_id="alice", purpose=Purpose.AVATAR
        )
    return stored.media_id


def connections_by_process(team: Mediad) -> list[int]:
    """How many gRPC connections each process has."""
    return [
        sum(
            c.status == psutil.CONN_ESTABLISHED and c.laddr.port == team.grpc_port
            for c in member.net_connections("tcp")
        )
        for member in members(team)
    ]


async def test_a_client_with_several_channels_reaches_both(team: Mediad) -> None:
    await until(lambda: both_serve(team))
    media_id = await upload(team, noisy_pictures(1)[0])
    before = (await metrics(team))[CALLS]
    async with contextlib.AsyncExitStack() as stack:
        calls, connected = 0, [0]
        while not all(connected) or len(connected) < 2:  # each connection goes where it may
            client = MediaClient(f"127.0.0.1:{team.grpc_port}", channels=8)
            await stack.enter_async_context(client)
            await asyncio.gather(*(client.get_media(media_id) for _ in range(16)))
            calls, connected = calls + 16, connections_by_process(team)
        assert sum(connected) >= 8
    for _ in range(6):  # of whichever process
        assert (await metrics(team))[CALLS] == before + calls


async def test_a_long_upload_outlives_the_age_of_connections(team: Mediad) -> None:
    data = noisy_pictures(3)[2]
    used: set[int] = set()
    async with MediaClient(f"127.0.0.1:{team.grpc_port}", retries=Retries(attempts=1)) as client:

        async def slowly() -> AsyncIterator[bytes]:
            for part in (data[:1000], data[1000:2000]):
                yield part
                while len(used) < 4:
                    await asyncio.sleep(0.05)
            yield data[2000:]

        uploading = asyncio.create_task(
            client.upload_media_stream(
                slowly(), filename="p.jpg", user_id="alice", purpose=Purpose.AVATAR
            )
        )
        known = await upload(team, data)
        while not uploading.done():
            assert await client.get_media(known)
            used |= callers(team)
            await asyncio.sleep(0.05)

        assert (await uploading).size_bytes == len(data)


def callers(team: Mediad) -> set[int]:
    """The ports that gRPC connections come from."""
    return {
        c.raddr.port
        for member in members(team)
        for c in member.net_connections("tcp")
        if c.status == psutil.CONN_ESTABLISHED and c.laddr.port == team.grpc_port
    }


async def test_another_instance_is_refused_the_same_ports(team: Mediad, tmp_path: Path) -> None:
    alone, several = Mediad(tmp_path / "alone"), Mediad(tmp_path / "several", MEDIAD_WORKERS="2")
    alone.grpc_port = team.grpc_port
    several.http_port = team.http_port

    refused = await asyncio.gather(
        *(asyncio.to_thread(other.command, "serve") for other in (alone, several))
    )

    assert [each.returncode for each in refused] == [1, 1]
    assert all("can't be listened on" in each.stderr for each in refused)


async def test_a_process_that_is_killed_is_replaced_and_what_it_counted_stays(
    team: Mediad,
) -> None:
    await until(lambda: both_serve(team))
    media_id = await upload(team, noisy_pictures(2)[1])
    before = await metrics(team)
    victim = members(team)[0]
    cells = victim.children(recursive=True)

    victim.kill()
    async with MediaClient(f"127.0.0.1:{team.grpc_port}", channels=2) as client:
        for _ in range(20):
            assert (await client.get_media(media_id)).user_id == "alice"
    await until(lambda: both_serve(team))
    after = await metrics(team)

    assert psutil.wait_procs([victim, *cells], timeout=10)[1] == []
    assert after["mediad_worker_restarts_total"] == before["mediad_worker_restarts_total"] + 1
    assert after[CALLS] >= before[CALLS] + 20 - 4
    assert victim.pid not in {member.pid for member in members(team)}


async def test_a_process_that_hangs_holds_up_no_scrape(team: Mediad) -> None:
    await until(lambda: both_serve(team))
    before = await metrics(team)
    stopped, awake = members(team)
    stopped.suspend()
    try:
        async with asyncio.timeout(30):
            while not (told := await answered_at_once(team)):
                pass
    finally:
        stopped.resume()

    assert f"{CALLS} {before[CALLS]}" in told[0]
    assert awake.is_running()


async def answered_at_once(team: Mediad) -> list[str]:
    """What some of six connections are told: those to a process that hangs wait in vain."""
    async with httpx.AsyncClient(timeout=2.5) as http:
        answers = await asyncio.gather(
            *(http.get(f"{team.base_url}/metrics") for _ in range(6)), return_exceptions=True
        )
    return [each.text for each in answers if isinstance(each, httpx.Response)]


async def test_sigterm_ends_all_and_loses_nothing(tmp_path: Path) -> None:
    own = Mediad(tmp_path / "own", MEDIAD_WORKERS="2", MEDIAD_CELLS="1")
    own.start()
    tree = psutil.Process(own.pid).children(recursive=True)
    async with MediaClient(f"127.0.0.1:{own.grpc_port}", channels=6) as client:
        uploads = [
            asyncio.create_task(
                client.upload_media(
                    data, filename="p.jpg", user_id="a", purpose=Purpose.AVATAR, timeout=30
                )
            )
            for data in noisy_pictures(6)
        ]
        await asyncio.wait(uploads, return_when=asyncio.FIRST_COMPLETED)
        status = await asyncio.to_thread(own.stop, timeout=30)
        ended = await asyncio.gather(*uploads, return_exceptions=True)
    assert status == 0
    assert psutil.wait_procs(tree, timeout=10)[1] == []
    stored = [each.media_id for each in ended if not isinstance(each, BaseException)]
    assert stored

    own.start()  # with one process less than before it is the same service
    try:
        async with MediaClient(f"127.0.0.1:{own.grpc_port}") as client:
            for media_id in stored:
                assert await client.get_media(media_id)
        orphaned = psutil.Process(own.pid).children(recursive=True)
        os.kill(own.pid, signal.SIGKILL)
        assert psutil.wait_procs(orphaned, timeout=10)[1] == []
    finally:
        own.kill()
