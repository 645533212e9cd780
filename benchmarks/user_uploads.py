"""What the user service adds to an upload, in CPU, and how its memory behaves."""

from __future__ import annotations

import asyncio
import statistics
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.photographs import photograph, variant
from benchmarks.processes import cpu_seconds, memory_mb, watched_memory
from benchmarks.reports import Row
from benchmarks.uploads import upload_until_completed
from tests.e2e.processes import Mediad
from tests.e2e.userd_process import Userd

UPLOADS = 30
ROUNDS = 3
MOST = 1.15
AT_ONCE = 16
MB = 1024 * 1024
MOST_GROWTH_MB = 64
SETTINGS = {"USERD_UPLOADS_PER_USER": "10000", "USERD_REGISTRATIONS_PER_ADDRESS": "10000"}


def measure(folder: Path) -> list[Row]:
    """CPU of all processes for an upload by either way; memory for 20 MB covers at once."""
    base = photograph(5)
    fresh = (variant(base, n) for n in range(10_000))
    with (
        Mediad(folder / "mediad").running() as mediad,
        Userd(folder / "userd", mediad, **SETTINGS).running() as userd,
    ):
        # Each by a person who had no picture: replacing one would delete it, too.
        people = iter([_signed_up(userd) for _ in range(UPLOADS * (ROUNDS + 1))])

        def straight() -> None:
            some = [next(fresh) for _ in range(UPLOADS)]
            asyncio.run(upload_until_completed(mediad, some))

        def through() -> None:
            some = [(next(people), next(fresh)) for _ in range(UPLOADS)]
            asyncio.run(_upload_until_completed(userd, mediad, some))

        straight()
        through()
        pids = mediad.pid, userd.pid
        reference, ours = [], []
        for _ in range(ROUNDS):
            reference.append(_cpu_ms(pids, straight))
            ours.append(_cpu_ms(pids, through))
        memory = _memory(userd, _signed_up(userd), base)
    return [
        Row(
            name="profile picture of 12 MP through the user service / straight over gRPC",
            ours=statistics.median(ours),
            reference=statistics.median(reference),
            unit="CPU-ms",
            target=f"≤ {MOST}",
            is_met=statistics.median(ours) <= MOST * statistics.median(reference),
            note="until COMPLETED, all processes of both services",
        ),
        memory,
    ]


def _cpu_ms(pids: tuple[int, ...], doing: Callable[[], None]) -> float:
    before = sum(map(cpu_seconds, pids))
    doing()
    return (sum(map(cpu_seconds, pids)) - before) / UPLOADS * 1e3


def _signed_up(userd: Userd) -> dict[str, str]:
    answer = httpx.post(
        f"{userd.base_url}/api/v1/auth/register",
        json={"username": f"bench_{uuid.uuid4().hex[:8]}", "password": uuid.uuid4().hex},
    )
    return {"Authorization": f"Bearer {answer.json()['data']['access_token']}"}


async def _upload_until_completed(
    userd: Userd, mediad: Mediad, pictures: list[tuple[dict[str, str], bytes]]
) -> None:
    async with httpx.AsyncClient(base_url=userd.base_url, timeout=60) as http:
        for headers, data in pictures:
            answer = await http.post(
                "/api/v1/media/profile-picture",
                files={"file": ("p.jpg", data, "image/jpeg")},
                headers=headers,
            )
            assert answer.status_code == 200, answer.text
            await upload_until_completed(mediad, [], then=answer.json()["data"]["media_id"])


def _memory(userd: Userd, headers: dict[str, str], base: bytes) -> Row:
    cover = base + bytes(20 * MB - len(base) - 64)
    asyncio.run(_covers(userd, headers, cover, 1))
    idle = memory_mb(userd.pid)
    with watched_memory(userd.pid) as peak:
        asyncio.run(_covers(userd, headers, cover, AT_ONCE * 2))
    return Row(
        name=f"user service's peak memory, covers of 20 MB, {AT_ONCE} at once / idle",
        ours=peak.value,
        reference=idle,
        unit="MB",
        target=f"≤ idle + {MOST_GROWTH_MB} MB",
        is_met=peak.value - idle <= MOST_GROWTH_MB,
        note=f"+{peak.value - idle:.0f} MB",
    )


async def _covers(userd: Userd, headers: dict[str, str], cover: bytes, count: int) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=userd.base_url, headers=headers, timeout=120) as http:

        async def upload(number: int) -> None:
            data = cover + number.to_bytes(4, "big")
            async with slots:
                answer = await http.post(
                    "/api/v1/media/cover-photo", files={"file": ("c.jpg", data, "image/jpeg")}
                )
            assert answer.status_code == 200, answer.text

        await asyncio.gather(*(upload(number) for number in range(count)))
