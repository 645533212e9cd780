"""A user service that dies between the media service's answer and its own rows leaves nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx

from proofs.callers import browsing, put_picture
from proofs.ledger import distinct_pictures
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running
from tests.e2e.userd_process import Userd

INVARIANT = "no medium is left that no profile holds, when the user service dies in between"
_WAITING = (
    "select count(*) from pg_stat_activity where application_name = 'userd' "
    "and wait_event_type = 'Lock'"
)
_HELD = "select count(*) from profiles where profile_picture is not null"
_LIVE = "select count(*) from media where deleted_at is null"
_ATTEMPTS = "select count(*) from upload_attempts"
_TIDY_SECONDS = 60


def prove(run: Run) -> list[Outcome]:
    """Kill it while it waits for its own row; half of the callers try again with the same key."""
    return [asyncio.run(_proved(run))]


async def _proved(run: Run) -> Outcome:
    kills, wrong = run.size(10, quick=1), []
    async with open_stack(run.folder) as stack:
        mediad = stack.mediad("one", MEDIAD_DELETE_GRACE_SECONDS="0")
        users = stack.userd("users", mediad, USERD_ABANDONED_SECONDS="1")
        contents = distinct_pictures(run.seed)
        async with running(mediad), running(users):
            for number in range(kills):
                user, content = f"user-{number}", next(contents)
                await _killed_in_between(stack, users, content, user=user)
                if not await stack.count(_LIVE + " and owner = $1", user):
                    wrong.append("it died before the media service had answered")
                await asyncio.to_thread(users.start)
                if number % 2:
                    async with browsing(users) as http:
                        answer = await put_picture(http, content, user=user, key="k")
                        wrong += [] if answer.status_code in (200, 409) else [answer.text]
                wrong += await _left(stack)
                run.progress(f"kill {number + 1} of {kills}")
    return Outcome(
        proof="left behind",
        invariant=INVARIANT,
        faults=kills,
        acknowledged=kills // 2,
        losses=len(wrong),
        note="; ".join(wrong[:3]) or "media without a profile: 0",
    )


async def _killed_in_between(stack: Stack, users: Userd, content: bytes, *, user: str) -> None:
    """The profiles are locked, so that it has its answer and can't write it down."""
    async with stack.rows() as rows, browsing(users) as http:
        async with rows.transaction():
            await rows.execute("lock table profiles in access exclusive mode")
            asked = asyncio.create_task(put_picture(http, content, user=user, key="k"))
            while not await stack.count(_WAITING):
                await asyncio.sleep(0.02)
            await asyncio.to_thread(users.kill)
        with suppress(httpx.TransportError):
            await asked


async def _left(stack: Stack) -> list[str]:
    """Media that no profile holds, when there was time to tidy."""
    begun = time.monotonic()
    while time.monotonic() - begun < _TIDY_SECONDS:
        live, held = await stack.count(_LIVE), await stack.count(_HELD)
        if live == held and not await stack.count(_ATTEMPTS):
            return []
        await asyncio.sleep(0.1)
    return [f"{live} media, of which profiles hold {held}"]
