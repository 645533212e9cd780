"""What an upload of a 12-megapixel photograph costs, and how soon it is answered."""

from __future__ import annotations

import asyncio
import itertools
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

UPLOADS = 10
ROUNDS = 5
WARM_UP = 6
MOST_CPU, MOST_WALL = 1.4, 0.7


def measure(folder: Path) -> list[Row]:
    """CPU per upload until COMPLETED, and wall time of the answer, against the bare library.

    Rounds of both alternate, because the machine's own speed drifts; medians over the rounds.
    """
    base = photograph(1)
    fresh = (variant(base, number) for number in itertools.count())
    cpu, wall, reference = [], [], []
    with Mediad(folder / "mediad", MEDIAD_LOG_FORMAT="json").running() as mediad:
        asyncio.run(upload_until_completed(mediad, list(itertools.islice(fresh, WARM_UP))))
        for _ in range(ROUNDS):
            pictures = list(itertools.islice(fresh, UPLOADS))
            reference.append(_bare_library(folder, pictures))
            before = cpu_seconds(mediad.pid)
            wall += asyncio.run(upload_until_completed(mediad, pictures))
            cpu.append((cpu_seconds(mediad.pid) - before) / UPLOADS * 1e3)
        memory = tree_memory_mb(mediad.pid)
    return _rows(cpu, wall, reference, f"{len(base) / 1e6:.1f} MB JPEG; in all {memory:.0f} MB")


def _rows(
    cpu: list[float], wall: list[float], reference: list[tuple[float, float]], note: str
) -> list[Row]:
    bare_cpu, bare_wall = (statistics.median(column) for column in zip(*reference, strict=True))
    ours, answer = statistics.median(cpu), statistics.median(wall) * 1e3
    return [
        Row(
            name="upload of 12 MP until COMPLETED, CPU of all processes / bare pyvips",
            ours=ours,
            reference=bare_cpu,
            unit="CPU-ms",
            target=f"≤ {MOST_CPU}",
            is_met=ours <= MOST_CPU * bare_cpu,
            note=note,
        ),
        Row(
            name="answer to that upload / bare pyvips making all renditions",
            ours=answer,
            reference=bare_wall,
            unit="ms",
            target=f"≤ {MOST_WALL}",
            is_met=answer <= MOST_WALL * bare_wall,
            note=f"median; p95 {statistics.quantiles(wall, n=20)[-1] * 1e3:.0f} ms",
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
