"""I10 and I11: workers die at every step of a job, or sleep through their lease and wake late."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import psutil
from media_proto import media_service_pb2 as pb
from PIL import Image

from proofs.callers import Caller, calling
from proofs.flipped_bytes import until_done
from proofs.ledger import Ledger, distinct_pictures
from proofs.oracle import Findings, compare, settled
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running, sha256_of
from proofs.worker import STEPS
from tests.e2e.processes import Mediad

INVARIANT = "I10: a job is done at least once, and its effect is there once"
ORPHANS = "I11: cells die with their worker"
_CHILDREN_SECONDS = 5.0
_TAKEOVER_SECONDS = 12 + 4 + 5
_MAX_ATTEMPTS = 5
_TERMINATE = """
select count(pg_terminate_backend(pid)) from pg_locks
where locktype = 'advisory' and granted and pid <> pg_backend_pid()
"""


def prove(run: Run) -> list[Outcome]:
    """Killed at each step, poisoned, and late."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    async with open_stack(run.folder) as stack:
        api = stack.mediad("api", MEDIAD_ROLES="grpc,http", MEDIAD_DELETE_GRACE_SECONDS="0")
        rescuer = stack.mediad("rescuer", MEDIAD_ROLES="worker,http")
        async with running(api), calling(api) as caller:
            scene = Scene(stack, caller, rescuer, Ledger())
            if run.is_quick:
                return [await scene.killed_and_read(STEPS.index("after rendition 2") + 1)]
            found = await scene.killed(run, list(range(1, len(STEPS) + 1)))
            found.append(await scene.poisoned(run))
            found += [await scene.late(run, step) for step in (8, len(STEPS) - 4)]
            return found


@dataclasses.dataclass(slots=True)
class Scene:
    """A service without a worker, workers that die, and one that comes to the rescue."""

    stack: Stack
    caller: Caller
    rescuer: Mediad
    ledger: Ledger

    async def killed(self, run: Run, steps: list[int]) -> list[Outcome]:
        """A worker dies at each step; then another does what they left."""
        contents, wrong, orphans, ids = distinct_pictures(run.seed), list[str](), 0, list[str]()
        died = time.monotonic()
        for step in steps:
            ids.append(await self.upload(next(contents)))
            orphans += await self._died(step)
            died = time.monotonic()
            wrong += [f"{half} is half after {STEPS[step - 1]}" for half in self._half_files()]
            run.progress(f"killed {STEPS[step - 1]}")
        async with running(self.rescuer):
            for media_id, step in zip(ids, steps, strict=True):
                known = await until_done(self.caller, media_id)
                if known.status != pb.COMPLETED:
                    wrong.append(f"{media_id} is not completed after {STEPS[step - 1]}")
            took = time.monotonic() - died
            wrong += [] if took < _TAKEOVER_SECONDS + 5 else [f"taken over after {took:.0f} s"]
            findings = await self.judged()
        killed = Outcome(
            proof="killed workers",
            invariant=INVARIANT,
            faults=len(steps),
            acknowledged=len(ids),
            losses=len(wrong) + findings.wrong,
            note=f"{wrong[:3] or ''} {findings} wrong; all done {took:.0f} s after the last death",
        )
        alive = Outcome(
            proof="killed workers", invariant=ORPHANS, faults=len(steps), losses=orphans
        )
        return [killed, alive]

    async def killed_and_read(self, step: int) -> Outcome:
        """A worker dies at this step; its cells die, and readers need nobody to take over."""
        media_id = await self.upload(next(distinct_pictures(1)))
        orphans = await self._died(step)
        half = self._half_files()
        bodies = await self._bodies(await self.caller.get(media_id))
        broken = [body for body in bodies if not _is_whole(body)]
        return Outcome(
            proof="killed workers",
            invariant=f"{INVARIANT}; {ORPHANS}",
            faults=1,
            acknowledged=1,
            losses=orphans + len(half) + len(broken),
        )

    async def upload(self, content: bytes) -> str:
        """Acknowledged, and its job queued."""
        media_id = await self.caller.upload(content)
        self.ledger.uploaded[media_id] = sha256_of(content)
        return media_id

    async def _died(self, step: int) -> int:
        """Have a worker die at this step; how many of its children outlived it by 5 s."""
        async with worker(self.stack, "kill", str(step)) as (process, children):
            await asyncio.wait_for(process.wait(), 60)
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=_CHILDREN_SECONDS)
        return len([p for p in alive if p.status() != psutil.STATUS_ZOMBIE])

    def _half_files(self) -> list[str]:
        """Renditions under their names that are not whole pictures."""
        return [
            file.name for file in self.stack.files("renditions") if not _is_whole(file.read_bytes())
        ]

    async def judged(self) -> Findings:
        """Rows and files are compared, when no job is left."""
        findings = Findings()
        await settled(self.stack.database_url)
        await compare(self.stack.database_url, self.stack.blobs, findings, self.ledger)
        findings.staged = []  # what the dead left there, the next sweep removes
        return findings

    async def poisoned(self, run: Run) -> Outcome:
        """A file at which every worker dies ends FAILED, not in a loop."""
        media_id = await self.upload(next(distinct_pictures(run.seed + 1)))
        deaths, begun, status = 0, time.monotonic(), pb.PENDING
        while status != pb.FAILED and time.monotonic() - begun < 300:
            async with worker(self.stack, "kill", str(STEPS.index("before decode") + 1)) as (
                process,
                _,
            ):
                while process.returncode is None and status != pb.FAILED:
                    status = (await self.caller.get(media_id)).status
                    with suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), 1)
            status = (await self.caller.get(media_id)).status
            deaths += status != pb.FAILED
            run.progress(f"death {deaths} by poison")
        wrong = [] if status == pb.FAILED and deaths <= _MAX_ATTEMPTS else [f"{deaths} deaths"]
        seconds = time.monotonic() - begun
        return Outcome(
            proof="killed workers",
            invariant="I10: a file that kills every worker ends FAILED after 5 attempts",
            faults=deaths,
            losses=len(wrong),
            note=f"{wrong or ''} {deaths} deaths in {seconds:.0f} s",
        )

    async def late(self, run: Run, step: int) -> Outcome:
        """A worker sleeps past its lease and loses its lock; another does the job; it wakes."""
        content = next(distinct_pictures(run.seed + 1 + step))
        media_id = await self.upload(content)
        async with worker(self.stack, "stop", str(step), "other") as (process, _):
            await _stopped(process)
            begun = time.monotonic()
            await self.stack.count(_TERMINATE)
            async with running(self.rescuer):
                known = await until_done(self.caller, media_id)
                took = time.monotonic() - begun
                before = await self._bodies(known)
                os.kill(process.pid, signal.SIGCONT)
                await asyncio.sleep(5)
                after = await self._bodies(await self.caller.get(media_id))
                status = (await self.caller.get(media_id)).status
                findings = await self.judged()
        wrong = [] if before == after else ["another picture under the same URL"]
        wrong += [] if status == pb.COMPLETED else [f"status {status}"]
        wrong += [] if took < _TAKEOVER_SECONDS else [f"taken over after {took:.0f} s"]
        wrong += [f"{name} was overwritten" for name in findings.damaged]
        return Outcome(
            proof="killed workers",
            invariant=f"I10: who wakes late changes nothing (asleep {STEPS[step - 1]})",
            faults=1,
            acknowledged=1,
            losses=len(wrong),
            note=f"{wrong[:3] or ''} taken over after {took:.0f} s",
        )

    async def _bodies(self, known: pb.MediaResponse) -> list[bytes]:
        urls = [known.url, *(t.url for t in known.thumbnails)]
        return [(await self.caller.http.get(url)).raise_for_status().content for url in urls]


def _is_whole(content: bytes) -> bool:
    try:
        Image.open(io.BytesIO(content)).load()
    except OSError:
        return False
    return True


@asynccontextmanager
async def worker(
    stack: Stack, *how: str, module: str = "proofs.worker"
) -> AsyncIterator[tuple[Process, list[psutil.Process]]]:
    """A worker with a mind to die, and its cells; killed when this ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *how),
        env={**os.environ, **stack.settings(MEDIAD_DATA_DIR=str(stack.folder / "worker"))},
        stdin=PIPE,
        stdout=PIPE,
    )
    async with AsyncExitStack() as exits:
        exits.push_async_callback(process.wait)
        exits.callback(_killed, process)
        assert process.stdin
        assert process.stdout
        await process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        process.stdin.write(b"\n")
        yield process, children


def _killed(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _stopped(process: Process) -> None:
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        await asyncio.sleep(0.01)
