"""Workers that die or are stopped in the middle of a job: another takes over, once is shown."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
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

from tests.e2e.processes import Mediad, stub, upload_request
from tests.e2e.test_crashes import completed

STALLED_SECONDS, TAKEN_OVER_SECONDS = 12, 5


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


async def woke_too_late(worker: Mediad) -> bool:
    """Whether its job ended after all, without the database session that it began with."""
    return "database_unavailable" in worker.log or '"outcome":"retry"' in worker.log


async def everything_is_right(
    one: Mediad, database: asyncpg.Connection[asyncpg.Record], media_id: str
) -> None:
    """One set of renditions, each row with its bytes, every URL with what its row says."""
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
    assert await database.fetchval("select count(*) from procrastinate_jobs") == 0


async def test_a_stopped_worker_loses_its_job_and_its_locks_and_wakes_too_late(
    tmp_path: Path, postgres: str, shared: dict[str, str]
) -> None:
    caller = Mediad(tmp_path / "caller", **shared, MEDIAD_ROLES="grpc,http")
    stopped = Mediad(tmp_path / "stopped", **shared, MEDIAD_ROLES="http,worker")
    other = Mediad(tmp_path / "other", **shared, MEDIAD_ROLES="http,worker")
    database = await asyncpg.connect(postgres)
    with caller.running(), stopped.running():
        async with caller.channel() as channel:
            uploading = asyncio.create_task(upload(channel, large_picture(1)))
            await until(lambda: develops(database), pause=0.005)
            os.kill(stopped.pid, signal.SIGSTOP)
            stopped_at = time.monotonic()
            try:
                media_id = await uploading
                with other.running():
                    await completed(stub(channel), media_id)
                    assert "process.stalled" in other.log
                    seconds = time.monotonic() - stopped_at
                    await everything_is_right(caller, database, media_id)

                    os.kill(stopped.pid, signal.SIGCONT)
                    await until(lambda: woke_too_late(stopped))
                    await everything_is_right(caller, database, media_id)
            finally:
                os.kill(stopped.pid, signal.SIGCONT)
        assert seconds < STALLED_SECONDS + TAKEN_OVER_SECONDS + 10  # the machine may be busy
        assert caller.command("sweep", "--grace", "0").returncode == 0
        assert sum(1 for _ in (tmp_path / "blobs" / "renditions").rglob("*.*")) == 4
    await database.close()
