"""What an upload of 12 megapixels costs when bytes go to S3, against the local disk.

The S3 server is SeaweedFS on the same machine, so that its time is the protocol's and its own, not
a network's; its CPU is not counted as ours.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import botocore.session
from embedded_servers.seaweedfs import SeaweedFS, open_seaweedfs

from benchmarks.photographs import photograph, variant
from benchmarks.processes import cpu_seconds, tree_memory_mb
from benchmarks.reports import Row
from benchmarks.uploads import upload_until_completed
from tests.e2e.processes import Mediad

BUCKET = "bench"
UPLOADS = 8
ROUNDS = 5


def measure(folder: Path) -> list[Row]:
    """Wall time until COMPLETED, and CPU of all our processes; rounds of both alternate."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> list[Row]:
    base = photograph(9)
    fresh = (variant(base, f"s3-{n}") for n in itertools.count())
    wall: dict[str, list[float]] = {"local": [], "s3": []}
    cpu: dict[str, list[float]] = {"local": [], "s3": []}
    async with open_seaweedfs(folder / "seaweedfs") as server:
        await asyncio.to_thread(_make_bucket, server)
        local = Mediad(folder / "local")
        remote = Mediad(
            folder / "s3",
            MEDIAD_STORAGE_URL=f"s3://{BUCKET}/media?endpoint={server.endpoint}",
            AWS_ACCESS_KEY_ID=server.access_key,
            AWS_SECRET_ACCESS_KEY=server.secret_key,
        )
        with local.running(), remote.running():
            services = {"local": local, "s3": remote}
            for round_ in range(ROUNDS + 1):
                for name, mediad in services.items():
                    seconds, cpu_each = await _uploads(mediad, fresh)
                    if round_:  # the first warms up
                        wall[name].append(seconds * 1e3)
                        cpu[name].append(cpu_each * 1e3)
            memory = {name: tree_memory_mb(mediad.pid) for name, mediad in services.items()}
    note = f"median of {ROUNDS} rounds of {UPLOADS}, one after the other"
    return [
        _row("wall time", "ms", wall, note),
        _row("CPU of our processes", "CPU-ms", cpu, note),
        _row("memory of all processes afterwards", "MB", {n: [m] for n, m in memory.items()}, ""),
    ]


async def _uploads(mediad: Mediad, fresh: Iterator[bytes]) -> tuple[float, float]:
    """Seconds and CPU seconds for each of some uploads, until COMPLETED."""
    pictures = list(itertools.islice(fresh, UPLOADS))
    cpu, started = cpu_seconds(mediad.pid), time.perf_counter()
    await upload_until_completed(mediad, pictures)
    return (
        (time.perf_counter() - started) / UPLOADS,
        (cpu_seconds(mediad.pid) - cpu) / UPLOADS,
    )


def _row(what: str, unit: str, measured: dict[str, list[float]], note: str) -> Row:
    return Row(
        name=f"upload of 12 MP until COMPLETED, {what}, to S3 / to a local disk",
        ours=statistics.median(measured["s3"]),
        reference=statistics.median(measured["local"]),
        unit=unit,
        target="–",
        is_met=None,
        note=note,
    )


def _make_bucket(server: SeaweedFS) -> None:
    client = botocore.session.get_session().create_client(
        "s3",
        region_name=server.region,
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()
