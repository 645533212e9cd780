"""GetMedia from the cache against an empty handler: calls a second of one core."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import grpc
import uvloop
from media_proto import media_service_pb2 as pb

from benchmarks.photographs import photograph
from benchmarks.processes import own_cpu_seconds
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, free_port, stub, upload_request

CALLS = 4000
AT_ONCE = 64
ROUNDS = 3
LEAST = 0.75


def measure(folder: Path) -> list[Row]:
    """Calls that one second of the server's CPU answers; rounds of both alternate."""
    port = free_port()
    empty = subprocess.Popen([sys.executable, "-m", "benchmarks.empty_server", str(port)])
    try:
        with Mediad(folder / "mediad").running() as mediad:
            media_id = asyncio.run(_uploaded(mediad))
            ours, reference = [], []
            for _ in range(ROUNDS):
                reference.append(_calls_per_cpu_second(empty.pid, port, media_id))
                ours.append(_calls_per_cpu_second(mediad.pid, mediad.grpc_port, media_id))
    finally:
        empty.kill()
    best, best_reference = max(ours), max(reference)
    return [
        Row(
            name="GetMedia from cache / empty handler on the same gRPC server",
            ours=best,
            reference=best_reference,
            unit="calls per CPU-second",
            target=f"≥ {LEAST}",
            is_met=best >= LEAST * best_reference,
            note=f"{AT_ONCE} at once; best of {ROUNDS} rounds of {CALLS}",
        )
    ]


async def _uploaded(mediad: Mediad) -> str:
    async with mediad.channel() as channel:
        media = stub(channel)
        answer = await media.UploadMedia(upload_request(photograph(3)))
        while (
            await media.GetMedia(pb.GetMediaRequest(media_id=answer.media_id))
        ).status != pb.COMPLETED:
            await asyncio.sleep(0.05)
        return answer.media_id


def _calls_per_cpu_second(pid: int, port: int, media_id: str) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_call(port, media_id, 500))
        before = own_cpu_seconds(pid)
        runner.run(_call(port, media_id, CALLS))
        # The counter moves in steps of 10 ms; let the last of it be counted.
        time.sleep(0.05)
        return CALLS / (own_cpu_seconds(pid) - before)


async def _call(port: int, media_id: str, calls: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        media = stub(channel)
        request = pb.GetMediaRequest(media_id=media_id)
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await media.GetMedia(request)

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
