"""Disks that fail at every step: an honest answer, or the end of the process; then all is well."""

from __future__ import annotations

import asyncio
import os

import grpc

from proofs import oracle
from proofs.ledger import Ledger, completed, distinct_pictures, upload
from proofs.oracle import Findings
from proofs.outcomes import Outcome, Run, require
from proofs.power_cuts import end
from proofs.tracing import CountedMediad, Step, injected, recorded, sample
from tests.e2e.processes import stub
from tests.e2e.refusals import code_of

FAULTS = {
    "fsync": "EIO",
    "write": "ENOSPC",
    "rename": "EIO",
    "openat": "EMFILE",
    "mkdir": "EDQUOT",
    "unlink": "EIO",
}
_HONEST = frozenset({"storage_full", "storage_unavailable"})
_INVARIANT = "a disk that fails is told of, or ends the process; nothing is lost or left"


def prove(run: Run) -> list[Outcome]:
    """Fail each call of an upload and its job, one after the other."""
    require("strace")
    return [failing(run, call, error) for call, error in FAULTS.items()]


def failing(run: Run, call: str, error: str) -> Outcome:
    """Let each of these calls fail once; then the same upload must succeed."""
    ledger, pictures = Ledger(), distinct_pictures(run.seed)
    mediad = CountedMediad(run.folder / call, MEDIAD_CELLS="1")
    wrong: list[str] = []
    try:
        mediad.start()
        steps = asyncio.run(_steps(run, mediad, ledger, [next(pictures), next(pictures)], call))
        chosen = sample(steps, run.size(1000, quick=2))
        for number, step in enumerate(chosen):
            said = asyncio.run(_failed(mediad, ledger, next(pictures), step, error))
            wrong += said
            told = "; ".join(said) or "as promised"
            run.progress(f"{error}, {number + 1}/{len(chosen)}, {step}: {told}")
        findings = asyncio.run(oracle.judge(mediad, ledger, reading=len(chosen)))
        findings.add(asyncio.run(oracle.finished(mediad)))
    finally:
        end(mediad)
    return Outcome(
        proof=f"disk_errors {call} {error}",
        invariant=_INVARIANT,
        faults=len(chosen),
        acknowledged=ledger.acknowledged,
        losses=findings.wrong + len(wrong),
        note=_note(findings, wrong),
    )


def _note(findings: Findings, wrong: list[str]) -> str:
    return "; ".join([*wrong[:3], *([str(findings)] if findings.wrong else [])])


async def _steps(
    run: Run, mediad: CountedMediad, ledger: Ledger, pictures: list[bytes], call: str
) -> list[Step]:
    """The steps of an upload by a service that has uploaded before."""
    await _upload(mediad, ledger, pictures[0])
    with recorded(mediad, run.folder / f"{call}.steps") as steps:
        await _upload(mediad, ledger, pictures[1])
    return [step for step in steps if step.call == call and step.thread.startswith("disk")]


async def _upload(mediad: CountedMediad, ledger: Ledger, picture: bytes) -> str:
    """Upload and wait for the renditions; the code of what stood in the way."""
    async with mediad.channel() as channel:
        try:
            media_id = await upload(stub(channel), picture, ledger, raising=True)
        except grpc.aio.AioRpcError as error:
            return code_of(error) or error.code().name
        await completed(stub(channel), str(media_id))
    return ""


async def _failed(
    mediad: CountedMediad, ledger: Ledger, picture: bytes, step: Step, error: str
) -> list[str]:
    """What was not as promised when this step failed."""
    with injected(mediad, step, f"error={error}"):
        code = await _upload(mediad, ledger, picture)
    is_fatal = step.call == "fsync"
    wrong = []
    if mediad.ends(within_seconds=5 if is_fatal else 0.1):
        if not is_fatal or mediad.status != os.EX_IOERR:
            wrong.append(f"{step}: it ended with {mediad.status}")
        end(mediad)
        mediad.start()
    elif code and code not in _HONEST:
        wrong.append(f"{step}: it answered {code}")
    if again := await _upload(mediad, ledger, picture):
        wrong.append(f"{step}: a retry answered {again}")
    return wrong
