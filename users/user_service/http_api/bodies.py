"""Bodies of requests as they arrive: not for ever, not too slowly, not too much."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from user_service.errors import BodyTooLarge, InvalidBody, NotJson, TimedOut, UploadStalled
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


async def arriving(request: Request, pace: Pace) -> AsyncIterator[bytes]:
    """The body, piece by piece. Raises UploadStalled, ClientGone.

    Only the time spent waiting for the client counts, not what we do with the bytes.
    """
    loop = asyncio.get_running_loop()
    waited, received, is_more = 0.0, 0, True
    while is_more:
        began = loop.time()
        try:
            async with asyncio.timeout(pace.idle_seconds):
                message = await request.receive()
        except TimeoutError:
            raise UploadStalled from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        waited += loop.time() - began
        received += len(message.get("body", b""))
        is_more = message.get("more_body", False)
        late = is_more and waited > pace.measured_after_seconds
        if late and received < waited * pace.least_bytes_per_second:
            raise UploadStalled
        yield message.get("body", b"")


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
            async for piece in arriving(request, Pace(idle_seconds=_JSON_SECONDS)):
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
