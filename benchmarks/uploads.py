"""What an upload of a 12-megapixel photograph costs, and how soon it is answered."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from media_proto import media_service_pb2 as pb

from benchmarks.photographs import photograph, variant
from benchmarks.processes import cpu_seconds, tree_memory_mb
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, Stub, stub, upload_request

UPLOADS = 40
WARM_UP = 6
MOST_CPU, MOST_WALL = 1.4, 0.7


def measure(folder: Path) -> list[Row]:
    """CPU per upload until COMPLETED, and wall time of the answer, against the bare library."""
    base = photograph(1)
    pictures = [variant(base, n) for n in range(UPLOADS + WARM_UP)]
    reference_cpu, reference_wall = _bare_library(folder, pictures[:UPLOADS])
    with Mediad(folder / "mediad", MEDIAD_LOG_FORMAT="json").running() as mediad:
        asyncio.run(upload_until_completed(mediad, pictures[UPLOADS:]))
        before = cpu_seconds(mediad.pid)
        answers = asyncio.run(upload_until_completed(mediad, pictures[:UPLOADS]))
        cpu = (cpu_seconds(mediad.pid) - before) / UPLOADS * 1e3
        memory = tree_memory_mb(mediad.pid)
    wall = statistics.median(answers) * 1e3
    size = f"{len(base) / 1e6:.1f} MB JPEG"
    return [
        Row(
            name="upload of 12 MP until COMPLETED, CPU of all processes / bare pyvips",
            ours=cpu,
            reference=reference_cpu,
            unit="CPU-ms",
            target=f"≤ {MOST_CPU}",
            is_met=cpu <= MOST_CPU * reference_cpu,
            note=f"{size}; all processes {memory:.0f} MB after {UPLOADS}",
        ),
        Row(
            name="answer to that upload / bare pyvips making all renditions",
            ours=wall,
            reference=reference_wall,
            unit="ms",
            target=f"≤ {MOST_WALL}",
            is_met=wall <= MOST_WALL * reference_wall,
            note=f"median; p95 {statistics.quantiles(answers, n=20)[-1] * 1e3:.0f} ms",
        ),
    ]


def _bare_library(folder: Path, pictures: list[bytes]) -> tuple[float, float]:
    """Median CPU and wall milliseconds of the reference script."""
    names = []
    for number, data in enumerate(pictures):
        file = folder / f"{number}.jpg"
        file.write_bytes(data)
        names.append(str(file))
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_library", *names],
        env={**os.environ, "VIPS_CONCURRENCY": "1", "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(ran.stdout)
    cpu, wall = (statistics.median(column) for column in zip(*measured, strict=True))
    return cpu, wall


async def upload_until_completed(
    mediad: Mediad, pictures: list[bytes], *, then: str = ""
) -> list[float]:
    """Upload one after the other, each until COMPLETED; the seconds each answer took.

    `then` is a medium uploaded otherwise that is waited for last.
    """
    answers = []
    async with mediad.channel() as channel:
        media = stub(channel)
        for data in pictures:
            request = upload_request(data)
            started = time.perf_counter()
            answer = await media.UploadMedia(request)
            answers.append(time.perf_counter() - started)
            await _completed(media, answer.media_id)
        if then:
            await _completed(media, then)
    return answers


async def _completed(media: Stub, media_id: str) -> None:
    request = pb.GetMediaRequest(media_id=media_id)
    while (await media.GetMedia(request)).status != pb.COMPLETED:
        await asyncio.sleep(0.02)
