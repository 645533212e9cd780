"""How latency grows with the number of rows: ten thousand, a million and ten million media.

One PostgreSQL with a database of each size, and a service on each. One caller asks one after the
other, and rounds of the sizes alternate, so that the machine's own speed, which drifts, is the
same for all. Needs about 20 GB of disk, which are free again afterwards, and half an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import uvloop
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb

from benchmarks.many_rows import (
    database_url,
    multiply,
    sequential_scans,
    size_gb,
    some_ids,
)
from benchmarks.photographs import photograph, small_picture, variant
from benchmarks.processes import memory_mb
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, Stub, stub, upload_request

SIZES = tuple(
    int(size) for size in os.environ.get("BENCH_MEDIA", "10000,1000000,10000000").split(",")
)
"""The first is the reference."""
ROUNDS = 9
READS, UPLOADS = 200, 40
MOST = 1.2
DOINGS = ("GetMedia from the database", "GetMedia from the cache", "upload", "delete")
Times = dict[str, list[float]]
Ask = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[float]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A service on a database of some size."""

    size: int
    mediad: Mediad
    database_url: str
    pictures: Iterator[bytes]


def measure(folder: Path) -> list[Row]:
    """Latencies at each size against those at the smallest."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(folder))


async def _measure(folder: Path) -> list[Row]:
    async with open_postgres(folder / "postgres") as url, contextlib.AsyncExitStack() as stack:
        subjects = [await stack.enter_async_context(_subject(folder, url, size)) for size in SIZES]
        times: dict[int, Times] = {size: defaultdict(list) for size in SIZES}
        for subject in subjects:  # connections are made, statements prepared
            await _round(subject, defaultdict(list))
        scans = {s.size: await _asked(s, sequential_scans) for s in subjects}
        for _ in range(ROUNDS):
            for subject in subjects:
                await _round(subject, times[subject.size])
        await asyncio.to_thread(subjects[-1].mediad.command, "sweep")
        rows = [await _plans(subject, scans[subject.size]) for subject in subjects[1:]]
        notes = {
            s.size: f"{await _asked(s, size_gb):.1f} GB; service {memory_mb(s.mediad.pid):.0f} MB"
            for s in subjects
        }
    return [
        *(_row(doing, size, times, notes[size]) for doing in DOINGS for size in SIZES[1:]),
        *rows,
    ]


@contextlib.asynccontextmanager
async def _subject(folder: Path, url: str, size: int) -> AsyncIterator[Subject]:
    name = f"media_{size}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"create database {name}")
    await connection.close()
    own = database_url(url, name)
    settings = {"MEDIAD_DATABASE_URL": own, "MEDIAD_LOG_FORMAT": "json"}
    mediad = Mediad(folder / name, **settings)
    with mediad.running():
        await upload_one(mediad)
    connection = await asyncpg.connect(own)
    await connection.execute("set synchronous_commit = off")
    await multiply(connection, size)
    await connection.close()
    serving = Mediad(folder / name, MEDIAD_ROLES="grpc,http", **settings)
    base = small_picture(1)
    with serving.running():
        yield Subject(
            size=size,
            mediad=serving,
            database_url=own,
            pictures=(variant(base, n) for n in range(1_000_000)),
        )


async def upload_one(mediad: Mediad) -> None:
    """A row that the others are copies of."""
    async with mediad.channel() as channel:
        media = stub(channel)
        answer = await media.UploadMedia(upload_request(photograph(7)))
        request = pb.GetMediaRequest(media_id=answer.media_id)
        while (await media.GetMedia(request)).status != pb.COMPLETED:
            await asyncio.sleep(0.05)


async def _round(subject: Subject, times: Times) -> None:
    """Each doing in turn; the median of each is one more of its times."""
    connection = await asyncpg.connect(subject.database_url)
    ids = await some_ids(connection, media=subject.size, count=READS)
    await connection.close()
    async with subject.mediad.channel() as channel:
        media = stub(channel)
        await _get(media, ids[:1])  # the connection is there
        times[DOINGS[0]].append(await _get(media, ids[1:]))
        times[DOINGS[1]].append(await _get(media, ids[1:]))
        took: list[float] = []
        uploaded = [await _upload(media, next(subject.pictures), took) for _ in range(UPLOADS)]
        times[DOINGS[2]].append(statistics.median(took))
        times[DOINGS[3]].append(await _delete(media, uploaded))


async def _get(media: Stub, ids: list[str]) -> float:
    took = []
    for media_id in ids:
        started = time.perf_counter()
        await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
        took.append(time.perf_counter() - started)
    return statistics.median(took)


async def _upload(media: Stub, picture: bytes, took: list[float]) -> str:
    started = time.perf_counter()
    answer = await media.UploadMedia(upload_request(picture))
    took.append(time.perf_counter() - started)
    return answer.media_id


async def _delete(media: Stub, ids: list[str]) -> float:
    took = []
    for media_id in ids:
        started = time.perf_counter()
        await media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id="alice"))
        took.append(time.perf_counter() - started)
    return statistics.median(took)


async def _asked(subject: Subject, ask: Ask) -> float:
    connection = await asyncpg.connect(subject.database_url)
    try:
        return await ask(connection)
    finally:
        await connection.close()


async def _plans(subject: Subject, before: float) -> Row:
    """Whether every statement the service ran meanwhile found its rows by an index."""
    await asyncio.sleep(1.5)  # sessions tell their numbers once a second
    scans = await _asked(subject, sequential_scans) - before
    return Row(
        name=f"sequential scans of large tables meanwhile, {subject.size:,} media",
        ours=scans,
        reference=0,
        unit="scans",
        target="0",
        is_met=scans == 0,
        note="uploads, reads and deletes; with a sweep at the largest size",
    )


def _row(doing: str, size: int, times: dict[int, Times], note: str) -> Row:
    ours, reference = (statistics.median(times[s][doing]) * 1e3 for s in (size, SIZES[0]))
    return Row(
        name=f"{doing}, {size:,} media / {SIZES[0]:,} media",
        ours=ours,
        reference=reference,
        unit="ms",
        target=f"≤ {MOST}",
        is_met=ours <= MOST * reference,
        note=f"median of {ROUNDS} rounds; {note}",
    )
