"""I23: whoever floods the queue waits behind himself, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

from media_proto import media_service_pb2 as pb

from proofs.callers import Caller, calling
from proofs.flipped_bytes import until_done
from proofs.ledger import distinct_pictures
from proofs.outcomes import Outcome, Run
from proofs.stack import open_stack, running

INVARIANT = "I23: with {} jobs of another queued, an upload is COMPLETED within 2× idle + one job"
_WAITING = "select count(*) from procrastinate_jobs where status = 'todo'"
_SIDE = 1200


def prove(run: Run) -> list[Outcome]:
    """Uploads of one owner alone, then beside the flood of another."""
    return [asyncio.run(_proved(run))]


async def _proved(run: Run) -> Outcome:
    flood, uploads = run.size(300, quick=60), run.size(15, quick=5)
    contents = distinct_pictures(run.seed, side=_SIDE)
    async with open_stack(run.folder) as stack:
        api = stack.mediad("api", MEDIAD_ROLES="grpc,http")
        worker = stack.mediad("worker", MEDIAD_ROLES="http,worker", MEDIAD_CELLS="1")
        async with running(api), calling(api) as caller:
            async with running(worker):
                alone = [await _completed(caller, next(contents)) for _ in range(uploads)]
            await _flooded(caller, contents, flood)
            waiting, beside = await stack.count(_WAITING), list[float]()
            async with running(worker):
                while len(beside) < uploads and await stack.count(_WAITING):
                    beside.append(await _completed(caller, next(contents)))
    return _judged(flood, alone, beside, waiting=waiting, uploads=uploads)


def _judged(
    flood: int, alone: list[float], beside: list[float], *, waiting: int, uploads: int
) -> Outcome:
    # What runs when an upload arrives is a job as large as its own, which takes at most as long.
    idle, one_job = statistics.median(alone), max(alone)
    took = statistics.median(beside) if beside else 0.0
    slow = took > 2 * idle + one_job
    return Outcome(
        proof="fairness",
        invariant=INVARIANT.format(flood),
        faults=flood,
        acknowledged=len(alone) + len(beside),
        losses=slow + (len(beside) < uploads),
        note=f"medians of {uploads}: alone {idle:.2f} s, beside {waiting} jobs {took:.2f} s",
    )


async def _completed(caller: Caller, content: bytes) -> float:
    """How long it took from the call to COMPLETED."""
    begun = time.monotonic()
    media_id = await caller.upload(content, user="bob")
    known = await until_done(caller, media_id)
    assert known.status == pb.COMPLETED
    return time.monotonic() - begun


async def _flooded(caller: Caller, contents: Iterator[bytes], count: int) -> None:
    """Another owner uploads so many while nobody works on them."""
    gate = asyncio.Semaphore(8)

    async def upload(content: bytes) -> None:
        async with gate:
            await caller.upload(content, user="alice", timeout=120)

    await asyncio.gather(*(upload(next(contents)) for _ in range(count)))
