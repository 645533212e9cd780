"""I5: many upload the same bytes at once, and it is as if one had: one file, one blob."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import httpx

from proofs.callers import Caller, browsing, calling, put_picture
from proofs.ledger import distinct_pictures
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running, sha256_of
from tests.e2e.processes import Mediad

INVARIANT = "I5: N equal uploads at once are one file, one blob, N media, one set of renditions"
_SETTLED_SECONDS = 60
Upload = Callable[[bytes], Awaitable[str]]


def prove(run: Run) -> list[Outcome]:
    """Rounds of callers over gRPC at two processes, and of users over HTTP."""
    return [asyncio.run(_proved(run))]


async def _proved(run: Run) -> Outcome:
    rounds, callers = run.size(20, quick=2), run.size(200, quick=20)
    async with open_stack(run.folder) as stack:
        one, other = stack.mediad("one"), stack.mediad("other")
        users = stack.userd("users", one)
        async with (
            running(one, other),
            running(users),
            calling(one) as first,
            calling(other) as second,
            browsing(users) as http,
        ):
            uploads = uploads_of(first, second, http, count=callers)
            wrong: list[str] = []
            contents = distinct_pictures(run.seed)
            for number in range(rounds):
                race = Race(stack, first, (one, other), next(contents))
                wrong += [f"round {number}: {what}" for what in await race.run(uploads)]
                run.progress(f"round {number + 1} of {rounds}")
    return Outcome(
        proof="equal uploads",
        invariant=INVARIANT,
        faults=rounds,
        acknowledged=rounds * callers,
        losses=len(wrong),
        note="; ".join(wrong[:3]) or f"{callers} callers at once, half over HTTP",
    )


def uploads_of(
    first: Caller, second: Caller, http: httpx.AsyncClient, *, count: int
) -> list[Upload]:
    """So many callers: half of them at two processes over gRPC, half users over HTTP."""

    def over_grpc(caller: Caller, user: str) -> Upload:
        return lambda content: caller.upload(content, user=user)

    def over_http(user: str) -> Upload:
        async def upload(content: bytes) -> str:
            answer = await put_picture(http, content, user=user)
            return str(answer.raise_for_status().json()["data"]["media_id"])

        return upload

    callers = (first, second)
    grpc = [over_grpc(callers[n % 2], f"caller-{n}") for n in range(count // 2)]
    return [*grpc, *(over_http(f"user-{n}") for n in range(count - len(grpc)))]


@dataclasses.dataclass(frozen=True, slots=True)
class Race:
    """One content, uploaded by all at once."""

    stack: Stack
    reader: Caller
    servers: tuple[Mediad, ...]
    content: bytes
    has_worker: bool = True

    async def run(self, uploads: list[Upload]) -> list[str]:
        """All at once; what is wrong afterwards."""
        before = await self._developments()
        barrier = asyncio.Barrier(len(uploads))

        async def released(upload: Upload) -> str:
            await barrier.wait()
            return await upload(self.content)

        ids = await asyncio.gather(*(released(upload) for upload in uploads))
        bodies = await asyncio.gather(*(self._read(media_id) for media_id in ids))
        if self.has_worker and not await self._settled():
            return ["jobs are never done"]
        counts = {
            "different ids": (len(set(ids)), len(ids)),
            "media rows": (await self._count("media"), len(ids)),
            "blob rows": (await self._count("blobs"), 1),
            "files": (sum(f.name == self._name for f in self.stack.files("originals")), 1),
            "different readings": (len(set(bodies)), 1),
            "renditions on disk": (self._rendition_files(), await self._count("renditions")),
            "times developed": (await self._developments() - before, 1),
        }
        return [f"{n} {what}, not {due}" for what, (n, due) in counts.items() if n != due]

    @property
    def _name(self) -> str:
        return sha256_of(self.content)

    async def _read(self, media_id: str) -> bytes:
        url = (await self.reader.get(media_id)).url
        return (await self.reader.http.get(url)).raise_for_status().content

    async def _count(self, table: str) -> int:
        column = "source" if table == "renditions" else "sha256"
        query = f"select count(*) from {table} where {column} = $1"
        return await self.stack.count(query, bytes.fromhex(self._name))

    def _rendition_files(self) -> int:
        return sum(f.name.startswith(self._name) for f in self.stack.files("renditions"))

    async def _settled(self) -> bool:
        query = "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
        for _ in range(_SETTLED_SECONDS * 10):
            if not await self.stack.count(query):
                return True
            await asyncio.sleep(0.1)
        return False

    async def _developments(self) -> int:
        """How often cells developed anything, in all processes."""
        return sum([await _developed(self.reader.http, each) for each in self.servers])


async def _developed(http: httpx.AsyncClient, mediad: Mediad) -> int:
    for line in (await http.get(f"{mediad.base_url}/metrics")).text.splitlines():
        if line.startswith('mediad_cell_job_seconds_count{kind="develop"}'):
            return int(float(line.split()[-1]))
    return 0
