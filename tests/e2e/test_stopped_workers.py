"""Workers that die or are stopped in the middle of a job: another takes over, once is shown."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import grpc
import httpx
import numpy as np
import pytest
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, completed, stub, upload_request


def large_picture(seed: int) -> bytes:
    """Noise that takes a while to decode."""
    noise = np.random.default_rng(seed).integers(0, 255, (3500, 3500, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[str]:
    async with open_postgres(tmp_path / "postgres") as url:
        yield url


@pytest.fixture
def shared(tmp_path: Path, postgres: str) -> dict[str, str]:
    return {
        "MEDIAD_DATABASE_URL": postgres,
        "MEDIAD_STORAGE_URL": f"file://{tmp_path}/blobs",
        "MEDIAD_SIGNING_KEYS": "k1:0123456789abcdef0123456789abcdef",
    }


async def until(condition: Callable[[], Awaitable[object]], *, pause: float = 0.1) -> None:
    async with asyncio.timeout(90):
        while not await condition():
            await asyncio.sleep(pause)


async def develops(database: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether a worker holds a lock while it works on a job."""
    return bool(
        await database.fetchval(
            "select exists (select from procrastinate_jobs where status = 'doing') "
            "and exists (select from pg_locks join pg_stat_activity using (pid) "
            "where locktype = 'advisory' and state = 'idle in transaction')"
        )
    )


async def upload(channel: grpc.aio.Channel, data: bytes) -> str:
    return (await stub(channel).UploadMedia(upload_request(data), timeout=60)).media_id


async def fell_silent_long_ago(database: asyncpg.Connection[asyncpg.Record], name: str) -> None:
    """Have it look as if this process had been silent for a minute."""
    minute = "interval '1 minute'"
    await database.execute(
        f"update processes set seen_at = seen_at - {minute} where name = $1", name
    )
    await database.execute(
        f"update procrastinate_workers set last_heartbeat = last_heartbeat - {minute}"
    )


async def nothing_is_queued(database: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether the last job is done; a medium is COMPLETED a moment before."""
    return not await database.fetchval("select count(*) from procrastinate_jobs")


async def everything_is_right(
    one: Mediad, database: asyncpg.Connection[asyncpg.Record], media_id: str
) -> None:
    """One set of renditions, each row with its bytes, every URL with what its row says."""
    await until(lambda: nothing_is_queued(database))
    rows = await database.fetch("select recipe_key, checksum, size_bytes from renditions")
    assert len(rows) == 4
    async with one.channel() as channel, httpx.AsyncClient(timeout=30) as http:
        known = await stub(channel).GetMedia(pb.GetMediaRequest(media_id=media_id))
        assert known.progress_percent == 100
        sizes = {row["size_bytes"] for row in rows}
        for each in (*known.renditions, *known.thumbnails):
            body = (await http.get(each.url)).content
            assert len(body) == each.size_bytes
            assert len(body) in sizes
            Image.open(io.BytesIO(body)).load()


async def logged(process: Mediad, words: str) -> bool:
    return words in process.log


async def test_a_stopped_worker_loses_its_job_and_its_locks_and_wakes_too_late(
    tmp_path: Path, postgres: str, shared: dict[str, str]
) -> None:
    caller = Mediad(tmp_path / "caller", **shared, MEDIAD_ROLES="grpc,http")
    stopped = Mediad(tmp_path / "stopped", **shared, MEDIAD_ROLES="http,worker")
    other = Mediad(tmp_path / "other", **shared, MEDIAD_ROLES="http,worker")
    database = await asyncpg.connect(postgres)
    with stopped.running():
        await until(lambda: database.fetchval("select count(*) from procrastinate_workers"))
        name = await database.fetchval("select name from processes")
        with caller.running():
            async with caller.channel() as channel:
                uploading = asyncio.create_task(upload(channel, large_picture(1)))
                await until(lambda: develops(database), pause=0.005)
                os.kill(stopped.pid, signal.SIGSTOP)
                try:
                    media_id = await uploading
                    await fell_silent_long_ago(database, name)
                    with other.running():
                        await completed(stub(channel), media_id)
                        await until(lambda: logged(other, "process.stalled"))
                        await everything_is_right(caller, database, media_id)

                        os.kill(stopped.pid, signal.SIGCONT)
                        # However far it was: it ends its attempt, and changes nothing by it.
                        await until(lambda: logged(stopped, "job.done"))
                        await everything_is_right(caller, database, media_id)
                finally:
                    os.kill(stopped.pid, signal.SIGCONT)
            assert caller.command("sweep", "--grace", "0").returncode == 0
            assert sum(1 for _ in (tmp_path / "blobs" / "renditions").rglob("*.*")) == 4
    await database.close()
