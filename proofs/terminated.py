"""I22: SIGTERM at any moment under load: calls end well or are refused, and nothing is lost."""

from __future__ import annotations

import asyncio
import time

from proofs.callers import Caller, calling
from proofs.load import Call, Load, loaded, refusals
from proofs.oracle import Findings, ask, compare, settled, sweep
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running
from tests.e2e.processes import Mediad

INVARIANT = "I22: SIGTERM at any moment ends within 25 s, cuts no answer off, and loses nothing"
_EXIT_SECONDS = 25.0
_LOADED_SECONDS = 60.0


def prove(run: Run) -> list[Outcome]:
    """One process, asked to end at random moments of its load, and started again."""
    return [asyncio.run(_proved(run))]


async def _proved(run: Run) -> Outcome:
    async with open_stack(run.folder) as stack:
        drain = str(run.size(1, quick=0))
        mediad = stack.mediad("one", MEDIAD_DELETE_GRACE_SECONDS="0", MEDIAD_DRAIN_SECONDS=drain)
        async with running(mediad), calling(mediad) as caller:
            return await terminated(run, stack, mediad, caller)


async def terminated(run: Run, stack: Stack, mediad: Mediad, caller: Caller) -> Outcome:
    """So many moments; then everything that was acknowledged is looked for."""
    moments, chance = run.size(50, quick=5), run.chance
    load, wrong, slowest = Load(caller, run.seed), list[str](), 0.0
    async with loaded(load):
        for number in range(moments):
            await _at_work(load)
            await asyncio.sleep(chance.uniform(0, run.size(3, quick=1) / 2))
            status, seconds = await asyncio.to_thread(_stopped, mediad)
            slowest = max(slowest, seconds)
            wrong += [] if status == 0 else [f"it ended with {status}"]
            await asyncio.to_thread(mediad.start)
            run.progress(f"moment {number + 1} of {moments}: gone after {seconds:.1f} s")
        await _at_work(load)
    findings = Findings()
    await settled(stack.database_url)
    await ask(mediad, load.ledger, findings)
    await sweep(mediad)
    await compare(stack.database_url, stack.blobs, findings, load.ledger)
    wrong += _cut_off(load.calls) + ([] if slowest <= _EXIT_SECONDS else ["it was too slow to end"])
    return Outcome(
        proof="terminated",
        invariant=INVARIANT,
        faults=moments,
        acknowledged=load.ledger.acknowledged,
        losses=len(wrong) + findings.wrong,
        note=f"{wrong[:3] or ''} {findings} wrong; gone after {slowest:.1f} s at most; "
        f"refusals {_by_kind(load.calls)}".strip(),
    )


async def _at_work(load: Load) -> None:
    """Return when an upload that ended from now on was acknowledged."""
    begun = time.monotonic()
    async with asyncio.timeout(_LOADED_SECONDS):
        while not any(c.what == "upload" and not c.refusal for c in load.since(begun)):
            await asyncio.sleep(0.01)


def _stopped(mediad: Mediad) -> tuple[int, float]:
    """Its exit status, and how long it took to go."""
    begun = time.monotonic()
    return mediad.stop(timeout=2 * _EXIT_SECONDS), time.monotonic() - begun


def _cut_off(calls: list[Call]) -> list[str]:
    """Refusals that are not what an instance that goes, or is not there, must look like."""
    return [f"{call.what}: {call.refusal}" for call in calls if call.refusal and not _clean(call)]


def _clean(call: Call) -> bool:
    if call.what == "read":
        return call.refusal.startswith("HTTP 503") or _never_answered(call)
    # gRPC itself answers CANCELLED to what arrives while it says that it goes.
    return call.refusal in ("UNAVAILABLE", "CANCELLED")


def _never_answered(call: Call) -> bool:
    """Whether the connection was refused, reset, or closed before any byte of an answer."""
    without = ("ConnectError", "ReadError", "WriteError", "without sending a response")
    return any(words in call.refusal for words in without)


def _by_kind(calls: list[Call]) -> dict[str, int]:
    return {name.partition("(")[0]: count for name, count in refusals(calls).items()}
