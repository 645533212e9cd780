"""People who use the service all the time, and how each of their calls went."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import httpx
from media_proto import media_service_pb2 as pb

from proofs.callers import Caller
from proofs.ledger import OWNER, Ledger, distinct_pictures
from proofs.stack import sha256_of

_PAUSE_SECONDS = 0.01
_RETRY_SECONDS = 0.1
_DEADLINE_SECONDS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call: what, when it ended, how long it took, and its refusal, if any."""

    what: str
    at: float
    seconds: float
    refusal: str = ""


@dataclasses.dataclass(slots=True)
class Load:
    """Uploads, reads over gRPC and HTTP, deletes; each retried until it is answered.

    Every upload has a key, so that what was answered twice can be told from what was done twice.
    """

    caller: Caller
    seed: int
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    calls: list[Call] = dataclasses.field(default_factory=list)
    keys: dict[str, str] = dataclasses.field(default_factory=dict)
    known: list[str] = dataclasses.field(default_factory=list)
    urls: list[str] = dataclasses.field(default_factory=list)

    def since(self, moment: float, until: float = float("inf")) -> list[Call]:
        """The calls that ended in this time."""
        return [call for call in self.calls if moment <= call.at < until]

    async def upload(self, content: bytes, key: str, *, is_doomed: bool = False) -> str:
        """Until it is acknowledged, always with the same key. Nobody reads what is doomed."""
        while True:
            answer = await self._try("upload", self.caller.uploaded(content, user=OWNER, key=key))
            if answer is not None:
                self.ledger.uploaded[answer.media_id] = sha256_of(content)
                self.keys[key] = answer.media_id
                if not is_doomed:
                    self.known.append(answer.media_id)
                    self.urls.append(answer.url)
                return str(answer.media_id)

    async def delete(self, media_id: str) -> None:
        """Until it is acknowledged."""
        self.ledger.in_doubt.add(media_id)
        request = pb.DeleteMediaRequest(media_id=media_id, user_id=OWNER)
        while True:
            deletion = self.caller.media.DeleteMedia(request, timeout=_DEADLINE_SECONDS)
            if await self._try("delete", deletion) is not None:
                self.ledger.deleted.add(media_id)
                return

    async def get(self, media_id: str) -> None:
        """Once."""
        await self._try("get", self.caller.get(media_id, timeout=_DEADLINE_SECONDS))

    async def read(self, url: str) -> None:
        """Once, over HTTP."""
        begun, refusal = time.monotonic(), ""
        try:
            answer = await self.caller.http.get(url)
            if answer.status_code != 200:
                patience = answer.headers.get("retry-after", "no Retry-After")
                refusal = f"HTTP {answer.status_code} {patience}"
        except httpx.TransportError as error:
            refusal = f"HTTP {error!r}"
        self._note("read", begun, refusal)

    async def _try(self, what: str, call: Awaitable[Any]) -> Any:
        begun = time.monotonic()
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self._note(what, begun, error.code().name)
            await asyncio.sleep(_RETRY_SECONDS)
            return None
        self._note(what, begun, "")
        return answer

    def _note(self, what: str, begun: float, refusal: str) -> None:
        now = time.monotonic()
        self.calls.append(Call(what, now, now - begun, refusal))


@asynccontextmanager
async def loaded(load: Load) -> AsyncIterator[None]:
    """The load, as long as this lasts; what is under way at the end is finished."""
    stop = asyncio.Event()
    contents = distinct_pictures(load.seed)
    await load.upload(next(contents), f"{load.seed}-first")
    people = [
        asyncio.create_task(_uploads(load, contents, stop)),
        asyncio.create_task(_reads(load, stop)),
        asyncio.create_task(_reads(load, stop)),
    ]
    try:
        yield
    finally:
        stop.set()
        for person in people:
            with suppress(asyncio.CancelledError):
                await person


async def _uploads(load: Load, contents: Iterator[bytes], stop: asyncio.Event) -> None:
    for number in itertools.count():
        if stop.is_set():
            return
        is_doomed = number % 4 == 3
        key = f"{load.seed}-{number}"
        media_id = await load.upload(next(contents), key, is_doomed=is_doomed)
        if is_doomed:
            await load.delete(media_id)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _reads(load: Load, stop: asyncio.Event) -> None:
    chance = random.Random(load.seed)
    while not stop.is_set():
        at = chance.randrange(len(load.known))
        media_id, url = load.known[at], load.urls[at]
        await load.get(media_id)
        await load.read(url)
        await asyncio.sleep(_PAUSE_SECONDS)


def p99(calls: list[Call]) -> float:
    """How long all but one in a hundred took, at most; in seconds."""
    slowest = sorted(call.seconds for call in calls)
    return slowest[int(len(slowest) * 0.99)] if slowest else 0.0


def refusals(calls: list[Call]) -> dict[str, int]:
    """How often each refusal was met."""
    counted: dict[str, int] = {}
    for call in calls:
        if call.refusal:
            name = f"{call.what}: {call.refusal}"
            counted[name] = counted.get(name, 0) + 1
    return counted
