"""How memory behaves while large files come in."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

from media_proto import media_service_pb2 as pb

from benchmarks.clips import clip
from benchmarks.photographs import photograph
from benchmarks.processes import memory_mb, watched_memory
from benchmarks.reports import Row
from tests.e2e.processes import Mediad, Stub, stub, upload_request

MB = 1024 * 1024
GB = 1024 * MB
CHUNK = bytes(512 * 1024)
MOST_GROWTH_MB = 64
BUDGET_MB = 256
COPIES = 4
"""How often a message is in memory while it is received and parsed."""
POLICIES = """
version = 2
[purposes.message_attachment]
max_bytes = { image = 2147483648, video = 2147483648 }
"""


def measure(folder: Path) -> list[Row]:
    """Peak memory of the server's process for streams, and for unary uploads at once."""
    policies = folder / "policies.toml"
    policies.write_text(POLICIES)
    settings = {
        "MEDIAD_POLICIES_FILE": str(policies),
        "MEDIAD_UNARY_UPLOAD_MEGABYTES": str(BUDGET_MB),
    }
    picture = photograph(2)
    with Mediad(folder / "mediad", **settings).running() as mediad:
        asyncio.run(_stream(mediad, picture, len(picture)))
        rows = [_streamed(mediad, picture, size * MB, f"{size} MB") for size in (100, 1024)]
        film = clip(folder / "film.mp4", seconds=2, megabits=8).read_bytes()
        beginning = film + _box_header(GB - len(film))
        rows.append(_streamed(mediad, beginning, GB, "a film of 1024 MB"))
        rows.append(asyncio.run(_unary_at_once(mediad, picture)))
    return rows


def _box_header(size: int) -> bytes:
    """The header of a box with a size of 64 bits, whose content players skip."""
    return (1).to_bytes(4, "big") + b"free" + size.to_bytes(8, "big")


def _streamed(mediad: Mediad, beginning: bytes, size: int, name: str) -> Row:
    idle = memory_mb(mediad.pid)
    started = time.perf_counter()
    with watched_memory(mediad.pid) as peak:
        asyncio.run(_stream(mediad, beginning, size))
    seconds = time.perf_counter() - started
    return Row(
        name=f"server's peak memory while {name} stream in / idle",
        ours=peak.value,
        reference=idle,
        unit="MB",
        target=f"≤ idle + {MOST_GROWTH_MB} MB",
        is_met=peak.value - idle <= MOST_GROWTH_MB,
        note=f"+{peak.value - idle:.0f} MB; {size / MB / seconds:.0f} MB/s",
    )


async def _stream(mediad: Mediad, beginning: bytes, size: int) -> None:
    """What the file begins with, padded behind that to the size."""

    async def chunks() -> AsyncIterator[pb.UploadChunk]:
        yield pb.UploadChunk(
            metadata=pb.UploadMetadata(user_id="bench", purpose=pb.MESSAGE_ATTACHMENT)
        )
        yield pb.UploadChunk(data=beginning)
        left = size - len(beginning)
        while left > 0:
            yield pb.UploadChunk(data=CHUNK[: min(left, len(CHUNK))])
            left -= len(CHUNK)

    async with mediad.channel() as channel:
        await stub(channel).UploadMediaStream(chunks(), timeout=300)


async def _unary_at_once(mediad: Mediad, picture: bytes) -> Row:
    """Four uploads of 100 MB at once, and what GetMedia does meanwhile."""
    async with mediad.channel() as channel:
        media = stub(channel)
        known = await media.UploadMedia(upload_request(picture))
        uploads = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.unary_uploads", str(mediad.grpc_port),
            stdin=PIPE, stdout=PIPE,
        )  # fmt: skip
        assert uploads.stdin
        assert uploads.stdout
        await uploads.stdout.readline()
        idle = memory_mb(mediad.pid)
        with watched_memory(mediad.pid) as peak:
            uploads.stdin.write(b"go\n")
            ended = asyncio.create_task(uploads.wait())
            latencies = await _get_until(media, known.media_id, ended)
        assert await ended == 0
    allowed = BUDGET_MB * COPIES
    p50, p99 = (statistics.quantiles(latencies, n=100)[n - 1] * 1e3 for n in (50, 99))
    return Row(
        name="server's memory while four unary uploads of 100 MB come in / idle",
        ours=peak.value,
        reference=idle,
        unit="MB",
        target=f"≤ idle + {COPIES} × budget of {BUDGET_MB} MB",
        is_met=peak.value - idle <= allowed,
        note=f"+{peak.value - idle:.0f} MB; GetMedia meanwhile p50 {p50:.0f}, p99 {p99:.0f} ms",
    )


async def _get_until(media: Stub, media_id: str, until: asyncio.Task[int]) -> list[float]:
    latencies: list[float] = []
    while not until.done():
        started = time.perf_counter()
        await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
        latencies.append(time.perf_counter() - started)
        await asyncio.sleep(0.005)
    return latencies
