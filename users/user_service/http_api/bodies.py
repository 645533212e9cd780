"""Bodies of requests as they arrive: not for ever, not too slowly, not too much."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Message

from user_service.errors import (
    BodyTooLarge,
    InvalidBody,
    NotJson,
    TimedOut,
    UploadGaveWay,
    UploadStalled,
)
from user_service.http_api.errors import ClientGone

MAX_JSON_BYTES = 16 * 1024
_JSON_SECONDS = 15.0
_M = TypeVar("_M", bound=BaseModel)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slowly an upload may come: bytes a second on average, once it had time to begin."""

    idle_seconds: float = 30.0
    least_bytes_per_second: int = 8 * 1024
    measured_after_seconds: float = 30.0
    wanted_bytes_per_second: int = 128 * 1024
    """Who is slower may have to give way to others; alone they may go on."""


class Arrival:
    """A body on its way: how much of it came, how long we waited for that, whether it may go on."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waited = 0.0
        self._waiting_since: float | None = None
        self._waiting: asyncio.Timeout | None = None
        self.received = 0
        self.is_whole = False
        self.has_to_go = False

    @property
    def waited(self) -> float:
        """Seconds spent waiting for the client; what we do with the bytes does not count."""
        if self._waiting_since is None:
            return self._waited
        return self._waited + asyncio.get_running_loop().time() - self._waiting_since

    @property
    def bytes_per_second(self) -> float:
        """How fast it came so far."""
        return self.received / max(self.waited, 0.001)

    def make_way(self) -> None:
        """End it at once: others want its place."""
        self.has_to_go = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises UploadStalled, UploadGaveWay, ClientGone."""
        while not self.is_whole:
            message = await self._next(request)
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            self.received += len(piece)
            self.is_whole = not message.get("more_body", False)
            if not self.is_whole:
                self._check()
            yield piece

    async def _next(self, request: Request) -> Message:
        loop = asyncio.get_running_loop()
        self._waiting_since = loop.time()
        try:
            async with asyncio.timeout(self._pace.idle_seconds) as self._waiting:
                return await request.receive()
        except TimeoutError:
            raise (UploadGaveWay if self.has_to_go else UploadStalled) from None
        finally:
            self._waited, self._waiting_since, self._waiting = self.waited, None, None

    def _check(self) -> None:
        if self.has_to_go:
            raise UploadGaveWay
        late = self.waited > self._pace.measured_after_seconds
        if late and self.received < self.waited * self._pace.least_bytes_per_second:
            raise UploadStalled


async def read_json(request: Request, model: type[_M]) -> _M:
    """The body as this model. Raises NotJson, BodyTooLarge, InvalidBody, TimedOut, ClientGone."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise NotJson
    body = await _read_small(request)
    try:
        return model.model_validate(orjson.loads(body), strict=True)
    except ValidationError as error:
        raise InvalidBody(_first_fault(error)) from None
    except (orjson.JSONDecodeError, RecursionError):
        raise InvalidBody from None


async def _read_small(request: Request) -> bytes:
    if _announced(request) > MAX_JSON_BYTES:
        raise BodyTooLarge
    body = bytearray()
    try:
        async with asyncio.timeout(_JSON_SECONDS):
            async for piece in Arrival(Pace(idle_seconds=_JSON_SECONDS)).pieces(request):
                body += piece
                if len(body) > MAX_JSON_BYTES:
                    raise BodyTooLarge
    except (TimeoutError, UploadStalled):
        raise TimedOut from None
    return bytes(body)


def _announced(request: Request) -> int:
    """How long the body says it is; the server has checked that it is a number."""
    return int(request.headers.get("content-length") or 0)


def _first_fault(error: ValidationError) -> str:
    """Which field is wrong, and how; never what was in it."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return "The body has a field that is not taken here."
    return f"{where}: {first['msg']}." if where else InvalidBody().args[0]
