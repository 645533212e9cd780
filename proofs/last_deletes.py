"""I7: the last medium of a content is deleted while the same bytes are uploaded, and swept."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from proofs.callers import Caller, calling
from proofs.ledger import Ledger, distinct_pictures
from proofs.oracle import Findings, compare
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running, sha256_of
from proofs.sweeper import STOPS

INVARIANT = "I7: an upload of what is being deleted and swept is not lost"
_LANES = 6
_STOPPED_SECONDS = 2.0
_TERMINATE = """
select count(pg_terminate_backend(pid)) from pg_locks
where locktype = 'advisory' and granted
    and pid in (select pid from pg_stat_activity where application_name like 'mediad%')
    and pid <> pg_backend_pid()
"""


def prove(run: Run) -> list[Outcome]:
    """Races against a sweeper that never rests; and against one that sleeps under its lock."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    async with open_stack(run.folder) as stack:
        one = stack.mediad("one", MEDIAD_ROLES="grpc,http")
        other = stack.mediad("other", MEDIAD_ROLES="grpc,http")
        async with running(one, other), calling(one) as first, calling(other) as second:
            races = Races(stack, first, second, Ledger())
            raced = await _raced(run, races)
            slept = await _slept(run, races)
            return [raced, slept]


async def _raced(run: Run, races: Races) -> Outcome:
    rounds = run.size(10_000, quick=60)
    async with sweeping(races.stack) as sweeper:
        contents = distinct_pictures(run.seed)
        each = rounds // _LANES
        lanes = (races.lane(next(contents), rounds=each, run=run) for _ in range(_LANES))
        swept = asyncio.create_task(_count_swept(sweeper, races))
        await asyncio.gather(*lanes)
        swept.cancel()
        with suppress(asyncio.CancelledError):
            await swept
    findings = await races.judged()
    return Outcome(
        proof="last deletes",
        invariant=INVARIANT,
        faults=rounds,
        acknowledged=len(races.ledger.uploaded),
        losses=findings.wrong + len(races.wrong),
        note=f"{findings}; {'; '.join(races.wrong[:3])}"
        if findings.wrong or races.wrong
        else f"{races.removed} contents removed meanwhile, by a third process with no grace",
    )


async def _slept(run: Run, races: Races) -> Outcome:
    """The sweeper stops under its lock; every second time it also loses its connection."""
    stops = run.size(20, quick=2)
    contents = distinct_pictures(run.seed + 1)
    async with sweeping(races.stack, "stopping") as sweeper:
        for number in range(stops):
            await races.against_sleeper(sweeper, next(contents), loses_lock=number % 2 == 1)
            run.progress(f"sleep {number + 1} of {stops}")
    findings = await races.judged()
    return Outcome(
        proof="last deletes",
        invariant=f"{INVARIANT}, though its sweeper sleeps under the lock",
        faults=stops,
        acknowledged=stops,
        losses=findings.wrong + len(races.wrong),
        note=f"{findings}; {'; '.join(races.wrong[:3])}"
        if findings.wrong or races.wrong
        else f"stopped {_STOPPED_SECONDS:g} s; in half of them its connection was ended",
    )


@dataclasses.dataclass(slots=True)
class Races:
    """Deletions and uploads through two processes, and account of both."""

    stack: Stack
    one: Caller
    other: Caller
    ledger: Ledger
    wrong: list[str] = dataclasses.field(default_factory=list)
    rounds: int = 0
    removed: int = 0

    async def lane(self, content: bytes, *, rounds: int, run: Run) -> None:
        """Rounds of one content, which at most two media hold at any time."""
        chance, last = run.chance, await self._upload(self.one, content)
        for number in range(rounds):
            callers = (self.one, self.other)[:: -1 if number % 2 else 1]
            _, last = await asyncio.gather(
                self._delete(callers[0], last, after=chance.uniform(0, 0.004)),
                self._upload(callers[1], content, after=chance.uniform(0, 0.004)),
            )
            if not self.stack.holds(content):
                self.wrong.append(f"the bytes of {last} are gone")
            self.rounds += 1
            if number % 3 == 2:  # so that the sweeper gets something to remove
                await self._delete(callers[0], last)
                last = await self._upload(callers[1], content, after=chance.uniform(0, 0.03))
            if self.rounds % 1000 == 0:
                run.progress(f"round {self.rounds}")

    async def against_sleeper(
        self,
        sweeper: Process,
        content: bytes,
        *,
        loses_lock: bool,
        seconds: float = _STOPPED_SECONDS,
    ) -> None:
        """Upload what a sweeper that sleeps has found to be nobody's."""
        await self._delete(self.one, await self._upload(self.one, content))
        await _until_it_stops(sweeper)
        if loses_lock:
            await self.stack.count(_TERMINATE)
        uploading = asyncio.create_task(self._upload(self.other, content))
        await asyncio.sleep(seconds)
        if uploading.done() is not loses_lock:
            self.wrong.append(f"an upload {'waits' if loses_lock else 'does not wait'}")
        os.kill(sweeper.pid, signal.SIGCONT)
        media_id = await uploading
        if not await self._is_there_soon(content):
            self.wrong.append(f"the bytes of {media_id} are gone")

    async def _is_there_soon(self, content: bytes) -> bool:
        """A sweeper that has lost its lock takes bytes away and brings them back."""
        for _ in range(100):
            await asyncio.sleep(0.05)
            if self.stack.holds(content) and not self.stack.files("trash"):
                return True
        return False

    async def _upload(self, caller: Caller, content: bytes, *, after: float = 0) -> str:
        await asyncio.sleep(after)
        media_id = await caller.upload(content)
        self.ledger.uploaded[media_id] = sha256_of(content)
        return media_id

    async def _delete(self, caller: Caller, media_id: str, *, after: float = 0) -> None:
        await asyncio.sleep(after)
        await caller.delete(media_id)
        self.ledger.deleted.add(media_id)

    async def judged(self) -> Findings:
        """Everything acknowledged is read, and rows and files are compared."""
        findings = Findings()
        for media_id, sha256 in self.ledger.held.items():
            if not await self.other.is_readable(media_id, sha256=sha256):
                findings.lost.append(media_id)
        await compare(self.stack.database_url, self.stack.blobs, findings, self.ledger)
        findings.stuck.clear()  # no worker ran
        return findings


@asynccontextmanager
async def sweeping(stack: Stack, *how: str) -> AsyncIterator[Process]:
    """A sweeper that runs beside; when this ends, it is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proofs.sweeper", *how),
        env={**os.environ, **stack.settings(MEDIAD_DATA_DIR=str(stack.folder / "sweeper"))},
        stdout=PIPE,
    )
    try:
        assert process.stdout
        await process.stdout.readline()
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until_it_stops(sweeper: Process) -> None:
    assert sweeper.stdout
    async for line in sweeper.stdout:
        if line.startswith(STOPS.encode()):
            return


async def _count_swept(sweeper: Process, races: Races) -> None:
    assert sweeper.stdout
    async for line in sweeper.stdout:
        races.removed += int(line.split()[-1])
