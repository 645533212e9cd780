"""BatchGetMedia of a hundred media against a hundred calls of GetMedia, one after the other."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from media_proto import media_service_pb2 as pb

from benchmarks.photographs import small_picture
from benchmarks.processes import own_cpu_seconds
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, Stub, stub, upload_request

BATCH = 100
ROUNDS = 7
REPEATS = 10
MOST = 0.1


def measure(folder: Path) -> list[Row]:
    """Wall time and the server's CPU of either way to read the same media, from the cache."""
    with (
        Mediad(folder / "mediad").running() as mediad,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_measure(mediad))


async def _measure(mediad: Mediad) -> list[Row]:
    async with mediad.channel() as channel:
        media = stub(channel)
        ids = [
            (await media.UploadMedia(upload_request(small_picture(seed)))).media_id
            for seed in range(BATCH)
        ]
        await _batches(media, ids)
        singles: list[float] = []
        batches: list[float] = []
        single_cpu, batch_cpu = [], []
        for _ in range(ROUNDS):
            single_cpu.append(await _timed(mediad, singles, lambda: _singles(media, ids)))
            batch_cpu.append(await _timed(mediad, batches, lambda: _batches(media, ids)))
    ours, reference = statistics.median(batches) * 1e3, statistics.median(singles) * 1e3
    cpu = statistics.mean(batch_cpu) / statistics.mean(single_cpu)
    return [
        Row(
            name=f"BatchGetMedia({BATCH}) / {BATCH} calls of GetMedia, from the cache",
            ours=ours,
            reference=reference,
            unit="ms",
            target=f"≤ {MOST}",
            is_met=ours <= MOST * reference,
            note=f"one caller; the server's CPU {cpu:.3f} of it; median of {ROUNDS} rounds",
        )
    ]


async def _timed(mediad: Mediad, times: list[float], doing: Callable[[], Awaitable[None]]) -> float:
    """Note the seconds it takes; the seconds of the server's CPU."""
    cpu, started = own_cpu_seconds(mediad.pid), time.perf_counter()
    await doing()
    times.append((time.perf_counter() - started) / REPEATS)
    await asyncio.sleep(0.05)  # the counter moves in steps of 10 ms
    return own_cpu_seconds(mediad.pid) - cpu


async def _singles(media: Stub, ids: list[str]) -> None:
    for _ in range(REPEATS):
        for media_id in ids:
            await media.GetMedia(pb.GetMediaRequest(media_id=media_id))


async def _batches(media: Stub, ids: list[str]) -> None:
    for _ in range(REPEATS):
        answer = await media.BatchGetMedia(pb.BatchGetMediaRequest(media_ids=ids))
        assert len(answer.media) == len(ids)
