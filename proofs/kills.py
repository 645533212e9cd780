"""Killed at every step of an upload, of a deletion and of a sweep: nothing is lost or left."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from proofs import oracle
from proofs.ledger import Ledger, completed, delete, distinct_pictures, upload
from proofs.oracle import Findings
from proofs.outcomes import Outcome, Run, require
from proofs.power_cuts import end
from proofs.tracing import CountedMediad, Step, injected, is_lasting, logged, recorded, sample
from tests.e2e.processes import stub

_JUDGED_EVERY = 8
"""After how many kills rows and files are compared; that all is answered, after each."""
_SWEEP_CALLS = ("rename", "link", "unlink", "fsync", "sendto", "sendmsg", "write")


def prove(run: Run) -> list[Outcome]:
    """Kill the service at each step, one after the other."""
    require("strace")
    return [
        killed_while(run, Uploading, at_most=run.size(1000, quick=4)),
        killed_while(run, Deleting, at_most=run.size(1000, quick=3)),
        killed_sweeps(run, at_most=run.size(1000, quick=4)),
    ]


class Uploading:
    """An upload, and the job that develops it."""

    name: ClassVar[str] = "upload"
    article: ClassVar[str] = "an upload"

    def __init__(self, mediad: CountedMediad, ledger: Ledger, picture: bytes) -> None:
        self._mediad = mediad
        self._ledger = ledger
        self._picture = picture

    async def prepare(self) -> None:
        """Nothing needs to be there."""

    async def act(self) -> None:
        """Upload it and wait for its renditions, unless the service is dead."""
        async with self._mediad.channel() as channel:
            media_id = await upload(stub(channel), self._picture, self._ledger)
            if media_id:
                await completed(stub(channel), media_id)

    async def retry(self) -> None:
        """What was not acknowledged is now."""
        async with self._mediad.channel() as channel:
            assert await upload(stub(channel), self._picture, self._ledger), "a retry failed"


class Deleting:
    """A deletion of a medium that nobody else holds."""

    name: ClassVar[str] = "delete"
    article: ClassVar[str] = "a deletion"

    def __init__(self, mediad: CountedMediad, ledger: Ledger, picture: bytes) -> None:
        self._mediad = mediad
        self._ledger = ledger
        self._picture = picture
        self._media_id = ""

    async def prepare(self) -> None:
        """Upload it, and have its renditions made."""
        async with self._mediad.channel() as channel:
            self._media_id = await upload(stub(channel), self._picture, self._ledger) or ""
            assert self._media_id
            await completed(stub(channel), self._media_id)

    async def act(self) -> None:
        """Delete it, unless the service is dead."""
        async with self._mediad.channel() as channel:
            await delete(stub(channel), self._media_id, self._ledger)

    async def retry(self) -> None:
        """Delete it again, whether or not it is deleted."""
        await self.act()
        assert self._media_id in self._ledger.deleted, "a retry failed"


def killed_while(run: Run, doing: type[Uploading | Deleting], *, at_most: int) -> Outcome:
    """Learn the steps from one run, then be killed at each of them."""
    ledger, total, pictures = Ledger(), Findings(), distinct_pictures(run.seed)
    mediad = CountedMediad(run.folder / doing.name, MEDIAD_CELLS="1")

    def some() -> Uploading | Deleting:
        return doing(mediad, ledger, next(pictures))

    try:
        log = run.folder / f"{doing.name}.steps"
        steps = asyncio.run(_steps(mediad, some(), some(), log))
        chosen, died = sample(steps, at_most), 0
        for number, step in enumerate(chosen):
            died += asyncio.run(_killed(mediad, some(), step))
            is_due = number % _JUDGED_EVERY == 0 or number == len(chosen) - 1
            judging = oracle.judge if is_due else oracle.answers
            findings = asyncio.run(judging(mediad, ledger, reading=3))
            total.add(findings)
            run.progress(f"{doing.name}, kill {number + 1}/{len(chosen)}, {step}: {findings}")
        total.add(asyncio.run(oracle.finished(mediad)))
    finally:
        end(mediad)
    return Outcome(
        proof=f"kills {doing.name}",
        invariant=f"killed at any step of {doing.article}, nothing is lost and nothing is left",
        faults=died,
        acknowledged=ledger.acknowledged,
        losses=total.wrong,
        note=f"{len(chosen)} of {len(steps)} steps tried, {died} died there; wrong: {total}",
    )


async def _steps(
    mediad: CountedMediad,
    first: Uploading | Deleting,
    second: Uploading | Deleting,
    log: Path,
) -> list[Step]:
    """The steps of a service that has done it before."""
    mediad.start()
    for doing in (first, second):
        await doing.prepare()
        with recorded(mediad, log) as steps:
            await doing.act()
    return steps


async def _killed(mediad: CountedMediad, doing: Uploading | Deleting, step: Step) -> bool:
    """Kill the service at this step, start it again and retry; whether it came to the step."""
    await doing.prepare()
    with injected(mediad, step, "signal=KILL"):
        await doing.act()
    has_died = mediad.ends(within_seconds=0.2)
    if has_died:
        end(mediad)
        mediad.start()
        await doing.retry()
    return has_died


def killed_sweeps(run: Run, *, at_most: int) -> Outcome:
    """`mediad sweep`, killed at each step while the service runs; every other time it is too late.

    That is when the same bytes are uploaded again between the killed sweep and the next.
    """
    ledger, total, pictures = Ledger(), Findings(), distinct_pictures(run.seed)
    mediad = CountedMediad(run.folder / "sweep", MEDIAD_CELLS="1")
    try:
        mediad.start()
        asyncio.run(condemned(mediad, ledger, next(pictures)))
        steps = _sweep_steps(mediad, run.folder / "sweep.steps")
        chosen, died = sample(steps, at_most), 0
        for number, step in enumerate(chosen):
            picture = next(pictures)
            asyncio.run(condemned(mediad, ledger, picture))
            died += _swept(mediad, "-e", f"inject={step.call}:signal=KILL:when={step.count}") != 0
            if number % 2:
                asyncio.run(Uploading(mediad, ledger, picture).retry())
            findings = asyncio.run(oracle.judge(mediad, ledger, reading=3))
            total.add(findings)
            run.progress(f"sweep, kill {number + 1}/{len(chosen)}, {step}: {findings}")
        total.add(asyncio.run(oracle.finished(mediad)))
    finally:
        end(mediad)
    return Outcome(
        proof="kills sweep",
        invariant="a sweep killed at any step takes nothing that is held, and the next ends it",
        faults=died,
        acknowledged=ledger.acknowledged,
        losses=total.wrong,
        note=f"{len(chosen)} of {len(steps)} steps tried, {died} died there; wrong: {total}",
    )


async def condemned(mediad: CountedMediad, ledger: Ledger, picture: bytes) -> None:
    """A picture that was uploaded and deleted, and that nobody holds any more."""
    deleting = Deleting(mediad, ledger, picture)
    await deleting.prepare()
    await deleting.retry()


def _sweep_steps(mediad: CountedMediad, log: Path) -> list[Step]:
    """The calls of its threads, each number of each call once."""
    assert _swept(mediad, "-y", "-e", f"trace={','.join(_SWEEP_CALLS)}", log=str(log)) == 0
    steps = {
        (step.call, step.count): dataclasses.replace(step, thread="any thread")
        for step, line in logged(log)
        if is_lasting(step, line)
    }
    return list(steps.values())


def _swept(mediad: CountedMediad, *arguments: str, log: str = "/dev/null") -> int:
    """How a traced `mediad sweep` ends."""
    sweep = (sys.executable, "-m", mediad.module, "sweep", "--grace", "0")
    command: Sequence[str] = ("strace", "-f", "-qq", "-o", log, *arguments, *sweep)
    return subprocess.run(
        command, env=mediad.environment, capture_output=True, check=False
    ).returncode
