"""Uploads a second by one worker process on one core, and by two on two cores.

A core here is a core for everything of ours: the server, its cells, PostgreSQL. With one worker all
of them are pinned to the first core; with two, to both. The load generator would take its share of
the same cores: so it is gRPC's C core with requests that were made before, a process of its own on
the very same cores, and the CPU it took is subtracted: rates are per second of the cores' time that
it left.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.photographs import photograph
from benchmarks.processes import cpu_seconds, tree_memory_mb
from benchmarks.reports import Row
from tests.e2e.processes import Mediad

UPLOADS = 80
WARM_UP = 16
AT_ONCE = 8
ROUNDS = 3
LEAST = 1.8


class PinnedMediad(Mediad):
    """A service that runs, with all its children, on these cores only."""

    def __init__(self, folder: Path, cores: set[int], **settings: str) -> None:
        super().__init__(folder, **settings)
        self._cores = cores

    def start(self) -> None:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)
        try:
            super().start()
        finally:
            os.sched_setaffinity(0, everywhere)


def measure(folder: Path) -> list[Row]:
    """Rounds of both alternate; each round starts its service anew, so that neither disturbs."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this needs two cores")
    picture = folder / "photograph.jpg"
    picture.write_bytes(photograph(8))
    rates: dict[int, list[float]] = {1: [], 2: []}
    notes = {}
    for round_ in range(ROUNDS):
        for workers, measured in rates.items():
            mediad = PinnedMediad(
                folder / f"workers-{workers}",
                set(cores[:workers]),
                MEDIAD_WORKERS=str(workers),
                MEDIAD_CELLS="1",
            )
            with mediad.running():
                rate, notes[workers] = _uploads_per_second(mediad, picture, workers, round_)
                measured.append(rate)
    ours, reference = statistics.median(rates[2]), statistics.median(rates[1])
    return [
        Row(
            name="uploads of 12 MP, two workers on two cores / one worker on one core",
            ours=ours,
            reference=reference,
            unit="uploads a second",
            target=f"≥ {LEAST}",
            is_met=ours >= LEAST * reference,
            note=f"until COMPLETED, {AT_ONCE} at once; two: {notes[2]}; one: {notes[1]}",
        )
    ]


def _uploads_per_second(
    mediad: Mediad, picture: Path, workers: int, round_: int
) -> tuple[float, str]:
    """Uploads per second of the cores' time that the load generator left; what it all took."""
    cores = set(sorted(os.sched_getaffinity(0))[:workers])
    _load(mediad, picture, WARM_UP, f"warm-{round_}", cores)
    before, started = cpu_seconds(mediad.pid), time.perf_counter()
    client = _load(mediad, picture, UPLOADS, f"round-{round_}", cores)
    wall = time.perf_counter() - started
    server = cpu_seconds(mediad.pid) - before
    left = wall - client / workers
    note = (
        f"{wall / UPLOADS * 1e3:.0f} ms wall, {server / UPLOADS * 1e3:.0f} ms of ours, "
        f"{client / UPLOADS * 1e3:.0f} ms of the client's CPU each; "
        f"{tree_memory_mb(mediad.pid):.0f} MB"
    )
    return UPLOADS / left, note


def _load(mediad: Mediad, picture: Path, count: int, name: str, cores: set[int]) -> float:
    """Upload and wait until all is COMPLETED, in a process of its own; the CPU that took."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.upload_load"),
            *(str(mediad.grpc_port), str(picture), str(count), str(AT_ONCE), name),
        ],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return float(json.loads(ran.stdout)["cpu_seconds"])
