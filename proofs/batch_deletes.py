"""I25 and I4: a batch of deletions is killed at each step and tried again; nothing else goes."""

from __future__ import annotations

import asyncio
import random

import grpc
from media_proto import media_service_pb2 as pb

from proofs.callers import Caller, calling
from proofs.ledger import Ledger, distinct_pictures
from proofs.oracle import Findings, compare, settled, sweep
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running, sha256_of
from tests.e2e.processes import Mediad

INVARIANT = "I25: a batch of deletions that was cut short can be repeated; others' media stay"
ORPHANS = "I4: after a sweep with no grace no byte is nobody's"
_BATCH = 100
_OWNER, _STRANGER = "alice", "bob"


def prove(run: Run) -> list[Outcome]:
    """Batches of own and foreign ids; the service is killed in their middle."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    kills, ids = run.size(20, quick=1), run.size(_BATCH, quick=20)
    async with open_stack(run.folder) as stack:
        mediad = stack.mediad("one", MEDIAD_DELETE_GRACE_SECONDS="0")
        wrong: list[str] = []
        ledger, contents = Ledger(), distinct_pictures(run.seed)
        async with running(mediad):
            for number in range(kills):
                async with calling(mediad) as caller:
                    own = await _uploaded(caller, [next(contents) for _ in range(ids - 1)], ledger)
                    foreign = await caller.upload(next(contents), user=_STRANGER)
                    await _killed(caller, mediad, [*own, foreign], run.chance, number / kills)
                await asyncio.to_thread(mediad.start)
                async with calling(mediad) as caller:
                    wrong += await _repeated(caller, own, foreign)
                    ledger.deleted |= set(own)
                run.progress(f"kill {number + 1} of {kills}")
            findings = await _judged(stack, mediad, ledger)
    return [
        Outcome(
            proof="batch deletes",
            invariant=INVARIANT,
            faults=kills,
            acknowledged=kills * (ids - 1),
            losses=len(wrong),
            note="; ".join(wrong[:3]) or f"{ids} ids each, one of them foreign",
        ),
        Outcome(
            proof="batch deletes",
            invariant=ORPHANS,
            faults=kills,
            losses=findings.wrong,
            note=f"{findings} wrong",
        ),
    ]


async def _uploaded(caller: Caller, contents: list[bytes], ledger: Ledger) -> list[str]:
    ids = await asyncio.gather(*(caller.upload(content, user=_OWNER) for content in contents))
    ledger.uploaded |= dict(zip(ids, map(sha256_of, contents), strict=True))
    return list(ids)


async def _killed(
    caller: Caller, mediad: Mediad, ids: list[str], chance: random.Random, part: float
) -> None:
    """Ask for the deletion of all, and kill the service when some of it is done."""
    request = pb.BatchDeleteMediaRequest(media_ids=ids, user_id=_OWNER)
    asked = asyncio.create_task(_settled(caller, request))
    await asyncio.sleep(part * 0.5 + chance.uniform(0, 0.02))
    await asyncio.to_thread(mediad.kill)
    await asked


async def _settled(caller: Caller, request: pb.BatchDeleteMediaRequest) -> bool:
    try:
        await caller.media.BatchDeleteMedia(request, timeout=30)
    except grpc.aio.AioRpcError:
        return False
    return True


async def _repeated(caller: Caller, own: list[str], foreign: str) -> list[str]:
    """The same batch again, twice: both answer the same, and only own media are gone."""
    request = pb.BatchDeleteMediaRequest(media_ids=[*own, foreign], user_id=_OWNER)
    wrong = []
    for _ in range(2):
        answer = await caller.media.BatchDeleteMedia(request, timeout=60)
        if (answer.deleted_count, list(answer.failed_ids)) != (len(own), [foreign]):
            wrong.append(f"{answer.deleted_count} deleted, {list(answer.failed_ids)} failed")
    left = await caller.media.BatchGetMedia(
        pb.BatchGetMediaRequest(media_ids=[*own, foreign]), timeout=30
    )
    there = [media.media_id for media in left.media]
    return wrong if there == [foreign] else [*wrong, f"{len(there)} are left"]


async def _judged(stack: Stack, mediad: Mediad, ledger: Ledger) -> Findings:
    findings = Findings()
    await settled(stack.database_url)
    await sweep(mediad)
    await compare(stack.database_url, stack.blobs, findings, ledger)
    return findings
