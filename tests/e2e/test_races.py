"""Short versions of what `make proofs` does at length, all on one set of processes."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from proofs.callers import Caller, browsing, calling
from proofs.cut_off import Leaving
from proofs.equal_uploads import Race, uploads_of
from proofs.flipped_bytes import Flipping, heal, removed, subject_of
from proofs.killed_workers import Scene
from proofs.last_deletes import Races, sweeping
from proofs.ledger import Ledger, distinct_pictures
from proofs.outcomes import Run, Verdict
from proofs.stack import Stack, open_stack, running
from proofs.worker import STEPS
from tests.e2e.processes import Mediad
from tests.e2e.samples import flip_a_byte, noisy_picture
from tests.e2e.userd_process import Userd

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]


@dataclasses.dataclass
class Parts:
    run: Run
    stack: Stack
    one: Mediad
    other: Mediad
    users: Userd
    first: Caller
    second: Caller
    http: httpx.AsyncClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    """Two media services without a worker, and a user service, on shared parts."""
    folder = tmp_path_factory.mktemp("proofs")
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        stack = await enter(open_stack(folder))
        one = stack.mediad("one", MEDIAD_ROLES="grpc,http")
        other = stack.mediad("other", MEDIAD_ROLES="grpc,http")
        users = stack.userd("users", one)
        await enter(running(one, other, users))
        first, second = await enter(calling(one)), await enter(calling(other))
        run = Run(Path(folder), is_quick=True, seed=1)
        yield Parts(run, stack, one, other, users, first, second, await enter(browsing(users)))


async def test_equal_uploads_at_once_are_one_file_and_one_blob(parts: Parts) -> None:
    uploads = uploads_of(parts.first, parts.second, parts.http, count=20)
    content = next(distinct_pictures(101))
    race = Race(parts.stack, parts.first, (parts.one, parts.other), content, has_worker=False)

    assert await race.run(uploads) == []


async def test_an_upload_of_what_is_deleted_and_swept_is_not_lost(parts: Parts) -> None:
    races = Races(parts.stack, parts.first, parts.second, Ledger())
    async with sweeping(parts.stack):
        await races.lane(next(distinct_pictures(102)), rounds=15, run=parts.run)

    assert races.wrong == []
    for media_id, sha256 in races.ledger.held.items():
        assert await parts.second.is_readable(media_id, sha256=sha256)


async def test_a_sweeper_that_loses_its_lock_before_it_removes_takes_nothing_new(
    parts: Parts,
) -> None:
    races = Races(parts.stack, parts.first, parts.second, Ledger())
    content = next(distinct_pictures(103))
    async with sweeping(parts.stack, "stopping") as sweeper:
        await races.against_sleeper(sweeper, content, loses_lock=True, seconds=0.3)

    assert races.wrong == []


async def test_wrong_bytes_are_not_served_and_an_upload_heals_them(parts: Parts) -> None:
    subject = await subject_of(
        parts.first, parts.stack, noisy_picture(7), "image/jpeg", waits=False
    )
    flipping = Flipping(parts.first, parts.stack, parts.run.chance)
    for _ in range(8):
        await flipping.flip(subject)

    assert flipping.wrong == []
    assert flipping.right > 0
    for ruin in (removed, flip_a_byte):
        assert await heal(parts.first, parts.stack, subject, ruin=ruin) == []


async def test_a_worker_killed_amid_its_renditions_leaves_no_half_one(parts: Parts) -> None:
    scene = Scene(parts.stack, parts.first, parts.one, Ledger())

    outcome = await scene.killed_and_read(STEPS.index("after rendition 2") + 1)

    assert outcome.verdict is Verdict.PROVED, outcome.note


@pytest.mark.parametrize("way", ["cut_stream", "cut_form", "cancelled_call", "short_deadline"])
async def test_who_leaves_leaves_nothing(parts: Parts, way: str) -> None:
    leaving = Leaving(parts.stack, parts.one, parts.users, parts.first, parts.run)

    outcome = await leaving.outcome(getattr(leaving, way))

    assert outcome.verdict is Verdict.PROVED, outcome.note
