"""I6: whatever is done in whatever order, rows and bytes are what a simple model says."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from media_service.composition import open_media_service
from media_service.config import read_settings
from media_service.core.errors import MediaNotFound, NotTheOwner
from media_service.core.media import MediaId, Purpose, UserId
from media_service.core.service import MediaService
from media_service.core.uploads import Declared

from proofs.ledger import distinct_pictures
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack

INVARIANT = "I6: deleting one of many keeps the bytes, deleting the last removes them"
T = TypeVar("T")
_NO_TIME = timedelta()


def prove(run: Run) -> list[Outcome]:
    """Examples of many steps each, over a real PostgreSQL and the real store."""
    with asyncio.Runner() as runner, _Opened(runner, run.folder) as stack:
        contents = itertools.islice(distinct_pictures(run.seed), 4)
        machine = _machine(runner, stack, dict(zip("abcd", contents, strict=True)))
        examples, steps = run.size(500, quick=2), run.size(50, quick=15)
        lost = _failure(machine, examples=examples, steps=steps)
    return [
        Outcome(
            proof="life of media",
            invariant=INVARIANT,
            faults=machine.restarts,
            acknowledged=machine.acknowledged,
            losses=int(bool(lost)),
            note=lost or f"{examples} sequences of up to {steps} steps, {machine.steps} in all",
        )
    ]


class _Opened:
    """The shared parts, opened in a loop that others run too."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self._context = open_stack(folder)

    def __enter__(self) -> Stack:
        return self._runner.run(self._context.__aenter__())

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))


def _failure(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> str:
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=settings)
    except AssertionError as error:
        return repr(error)
    return ""


class LifeOfMedia(RuleBasedStateMachine):
    """Users upload, read and delete; the sweeper sweeps; the service restarts."""

    media = Bundle("media")
    runner: asyncio.Runner
    stack: Stack
    contents: dict[str, bytes]
    acknowledged = restarts = steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[MediaId, tuple[UserId, str]] = {}
        self.developed: dict[str, str] = {}
        self._open()

    def teardown(self) -> None:
        """At the end all is deleted and swept, and nothing is left."""
        for media_id, (owner, _) in list(self.live.items()):
            self.do(self.service.deleting.delete(media_id, user=owner))
        self.live = {}
        self.sweep()
        left = [*self.stack.files("originals"), *self.stack.files("renditions")]
        self.do(self.opened.aclose())
        assert not left, f"{left[0]} is nobody's"

    def do(self, doing: Coroutine[Any, Any, T]) -> T:
        """What the doing returns."""
        return self.runner.run(doing)

    def _open(self) -> None:
        self.opened = AsyncExitStack()
        settings = read_settings(
            database_url=self.stack.database_url,
            storage_url=f"file://{self.stack.blobs}",
            signing_keys="k1:0123456789abcdef",
            cells=1,
        )
        opened = self.do(self.opened.enter_async_context(open_media_service(settings)))
        self.service: MediaService = opened.service

    @rule(target=media, name=st.sampled_from("abcd"), owner=st.sampled_from(["ada", "bob"]))
    def upload(self, name: str, owner: str) -> MediaId:
        """One of four contents, of one of two owners."""
        declared = _declared(UserId(owner))
        media = self.do(self.service.uploading.upload(declared, _chunks(self.contents[name])))
        self.live[media.id] = UserId(owner), name
        type(self).acknowledged += 1
        return media.id

    @rule(media_id=consumes(media))
    def delete(self, media_id: MediaId) -> None:
        """Twice is no error."""
        owner, _ = self.live.pop(media_id)
        self.do(self.service.deleting.delete(media_id, user=owner))
        self.do(self.service.deleting.delete(media_id, user=owner))
        assert self._is_gone(media_id)

    @rule(media_id=media)
    def delete_what_is_not_yours(self, media_id: MediaId) -> None:
        """Refused."""
        try:
            self.do(self.service.deleting.delete(media_id, user=UserId("eve")))
        except NotTheOwner:
            return
        raise AssertionError(f"a stranger deleted {media_id}")

    @rule()
    def sweep(self) -> None:
        """Just the bytes of the living stay."""
        self.do(self.service.housekeeping.sweep(grace=_NO_TIME))
        self.do(self.service.housekeeping.collect_orphans())
        held = {hashlib.sha256(self.contents[name]).hexdigest() for _, name in self.live.values()}
        there = {file.name.partition(".")[0] for file in self.stack.files("originals")}
        assert there == held

    @rule(media_id=media)
    def read(self, media_id: MediaId) -> None:
        """The same bytes each time."""
        _, name = self.live[media_id]
        body = hashlib.sha256(self.do(self._body(media_id))).hexdigest()
        assert self.developed.setdefault(name, body) == body

    @rule(chance=st.integers(0, 9))
    def restart(self, chance: int) -> None:
        """Now and then."""
        if chance:
            return
        self.do(self.opened.aclose())
        self._open()
        type(self).restarts += 1

    @invariant()
    def bytes_of_the_living_are_there(self) -> None:
        """After every step."""
        type(self).steps += 1
        for name in {name for _, name in self.live.values()}:
            assert self.stack.holds(self.contents[name])

    def _is_gone(self, media_id: MediaId) -> bool:
        try:
            self.do(self.service.reading.get(media_id))
        except MediaNotFound:
            return True
        return False

    async def _body(self, media_id: MediaId) -> bytes:
        found = await self.service.delivering.find(media_id, "full", version="", signature=None)
        async with self.service.delivering.open(found) as (_, blob):
            return b"".join([piece async for piece in blob.read(0, blob.size_bytes)])


def _machine(runner: asyncio.Runner, stack: Stack, contents: dict[str, bytes]) -> type[LifeOfMedia]:
    """The machine, on these parts."""
    parts = {"runner": runner, "stack": stack, "contents": contents}
    return type("LifeOfMediaHere", (LifeOfMedia,), parts)


def _declared(owner: UserId) -> Declared:
    return Declared(
        owner=owner,
        purpose=Purpose.AVATAR,
        filename="photo.jpg",
        content_type="image/jpeg",
        options=None,
        idempotency_key="",
        visibility=None,
        sha256="",
        size_bytes=None,
    )


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content
