"""What looking after a large store costs: sweeps and fsck, per million objects, and their memory.

Two stores of true objects (tiny ones, with true hashes), the one ten times the other: what grows
between them is the cost of objects, what does not is that of starting. About two minutes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import asyncpg
from embedded_servers.postgres import open_postgres
from media_service.core.blobs import original_key
from media_service.core.media import Sha256
from media_service.infra.postgres.database import open_database

from benchmarks.many_rows import HOLDERS, database_url, multiply
from benchmarks.processes import peak_memory_mb
from benchmarks.reports import Row
from benchmarks.scale import upload_one
from tests.e2e.processes import Mediad

SIZES = (20_000, 200_000)
CONDEMNED = 500
RUNS = 3
MOST_GROWTH = 1.2
BATCH = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """What a command took."""

    seconds: float
    peak_mb: float


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """A service's store, what its commands took, and what bare system calls on it take."""

    objects: int
    ran: Mapping[str, Ran]
    walk_seconds: float
    unlink_seconds: float


def measure(folder: Path) -> list[Row]:
    """Seconds per million objects, and memory of the larger against the smaller store."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> list[Row]:
    async with open_postgres(folder / "postgres") as url:
        small, large = [await _store(folder, url, size) for size in SIZES]
    rows = []
    for command in ("sweep", "fsck"):
        if command in large.ran:
            rows += [_per_million(command, small, large), _memory(command, small, large)]
    return [*rows, _removal(large)]


async def _store(folder: Path, url: str, media: int) -> Store:
    name = f"media_{media}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"create database {name}")
    await connection.close()
    own = database_url(url, name)
    mediad = Mediad(folder / name, MEDIAD_DATABASE_URL=own)
    with mediad.running():
        await upload_one(mediad)
    connection = await asyncpg.connect(own)
    await multiply(connection, media)
    store = mediad.folder / "data" / "blobs"
    objects = await _lay_objects(own, store, media // HOLDERS + 1)
    walk = _timed(lambda: sum(len(files) for _, _, files in os.walk(store)))
    ran = {"sweep": _best(mediad, "sweep", "--grace", "86400")}
    if mediad.command("fsck", "--help").returncode == 0:
        ran["fsck"] = _best(mediad, "fsck", "--json")
    await _condemn(connection)
    await connection.close()
    ran["removing"] = _run(mediad, "sweep", "--grace", "0")
    return Store(objects, ran, walk, _unlink_seconds(store))


async def _lay_objects(url: str, store: Path, blobs: int) -> int:
    """Files for all that the rows name; how many there are."""
    count = 0
    async with open_database(url, max_connections=1) as database:
        for start in range(1, blobs + 1, BATCH):
            contents = {
                Sha256(hashlib.sha256(content).hexdigest()): (n, content)
                for n in range(start, min(start + BATCH, blobs + 1))
                for content in [n.to_bytes(8, "big")]
            }
            made = await database.latest.renditions.made_of(list(contents))
            files = {original_key(sha256): content for sha256, (_, content) in contents.items()}
            files |= {r.key: f"{contents[r.source][0]}{r.recipe_key}".encode() for r in made}
            _write(store, files.items())
            count += len(files)
    return count


def _write(store: Path, files: Iterable[tuple[str, bytes]]) -> None:
    for key, content in files:
        path = store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def _condemn(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Have some blobs condemned, long ago, and no others."""
    await connection.execute("update blobs set state = 'live', condemned_at = null")
    await connection.execute(
        "create temp table chosen as select sha256 from blobs where size_bytes = 8 "
        f"order by sha256 limit {CONDEMNED}"
    )
    await connection.execute(
        "update media set deleted_at = now() where sha256 in (select sha256 from chosen)"
    )
    await connection.execute(
        "update blobs set state = 'condemned', condemned_at = now() - interval '1 day' "
        "where sha256 in (select sha256 from chosen)"
    )
    await connection.execute("analyze blobs, media")


def _run(mediad: Mediad, *arguments: str) -> Ran:
    """What a command takes: seconds, and memory at its peak.

    fsck ends with 1: it finds the last blob, which only a deleted medium names.
    """
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "media_service", *arguments],
        env=mediad.environment,
        stdout=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            peak = max(peak, peak_memory_mb(process.pid))
            time.sleep(0.02)
    assert process.returncode in (0, 1), arguments
    return Ran(time.perf_counter() - started, peak)


def _best(mediad: Mediad, *arguments: str) -> Ran:
    """The quickest of some runs."""
    return min((_run(mediad, *arguments) for _ in range(RUNS)), key=lambda ran: ran.seconds)


def _unlink_seconds(store: Path) -> float:
    """What bare system calls take to remove as many files as the sweep did, each for good."""
    files = [store / "bare" / f"{n % 256:02x}" / str(n) for n in range(CONDEMNED * 3)]
    _write(store, ((str(file.relative_to(store)), b"x") for file in files))

    def remove() -> None:
        for file in files:
            file.unlink()
            folder = os.open(file.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    return _timed(remove)


def _timed(doing: Callable[[], object]) -> float:
    started = time.perf_counter()
    doing()
    return time.perf_counter() - started


def _per_million(command: str, small: Store, large: Store) -> Row:
    more = (large.objects - small.objects) / 1e6
    ours = (large.ran[command].seconds - small.ran[command].seconds) / more
    return Row(
        name=f"{command} of a whole store, per million objects / os.walk",
        ours=ours,
        reference=(large.walk_seconds - small.walk_seconds) / more,
        unit="s",
        target="–",
        is_met=None,
        note=f"from the difference of {small.objects:,} and {large.objects:,} objects",
    )


def _memory(command: str, small: Store, large: Store) -> Row:
    ours, reference = large.ran[command].peak_mb, small.ran[command].peak_mb
    return Row(
        name=f"peak memory of {command}, {large.objects:,} objects / {small.objects:,}",
        ours=ours,
        reference=reference,
        unit="MB",
        target=f"≤ {MOST_GROWTH}",
        is_met=ours <= MOST_GROWTH * reference,
    )


def _removal(store: Store) -> Row:
    seconds = store.ran["removing"].seconds - store.ran["sweep"].seconds
    return Row(
        name="removing a condemned content, its bytes, renditions and rows / bare unlink and fsync",
        ours=seconds / CONDEMNED * 1e3,
        reference=store.unlink_seconds / CONDEMNED * 1e3,
        unit="ms",
        target="–",
        is_met=None,
        note=f"{CONDEMNED} contents of three files each, one after the other",
    )
