"""One request's answer as it goes out: what of it was sent, and under which id."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

import structlog
from starlette.types import Message, Send

from media_service.core.errors import Kind, MediaError
from media_service.entrypoints.http_api.errors import INTERNAL, Problem, encode, problem_of
from media_service.entrypoints.http_api.headers import (
    CLOSE,
    JSON,
    NO_STORE,
    SAFETY,
    Header,
    content_length,
)

REQUEST_ID = b"x-request-id"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_LOGGED_QUIETLY = frozenset({Kind.FORBIDDEN})

log = structlog.get_logger()


class Exchange:
    """Sends an answer, and knows how far it got.

    `status` is 0 until the head was sent. Once it was, a fault can only cut the connection: by
    returning without the rest, which the server takes for just that.
    """

    __slots__ = ("_send", "body_bytes", "is_cut", "request_id", "status", "trailing")

    def __init__(self, send: Send, *, request_id: bytes | None, is_last: bool) -> None:
        self._send = send
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex.encode()
        self.request_id = request_id
        self.trailing: tuple[Header, ...] = ((REQUEST_ID, request_id),)
        if is_last:
            self.trailing += (CLOSE,)
        self.status = 0
        self.body_bytes = 0
        self.is_cut = False

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Send the head: these headers and the request id."""
        self.status = status
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self.trailing],
            }
        )

    async def body(self, piece: bytes = b"", *, more: bool = False) -> None:
        """Send a piece of the body; returns when the reader has room for another."""
        self.body_bytes += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def forward(self, message: Message) -> None:
        """Send what another app answers, with the headers that all our answers have."""
        if message["type"] == "http.response.start":
            await self.start(message["status"], [*message["headers"], *SAFETY, NO_STORE])
        else:
            await self.body(message.get("body", b""), more=message.get("more_body", False))

    async def fail(self, error: Exception, *, route: str) -> None:
        """Answer with what went wrong, or cut the answer that was begun."""
        problem = problem_of(error)
        self._log(error, problem, route)
        if self.status:
            self.is_cut = True
            return
        content = encode(problem.code, problem.message)
        length = content_length(len(content))
        await self.start(problem.status, (JSON, length, *problem.headers, *SAFETY, NO_STORE))
        await self.body(content)

    def _log(self, error: Exception, problem: Problem, route: str) -> None:
        about = {
            "route": route,
            "code": problem.code,
            "request_id": self.request_id.decode(),
            "is_cut": bool(self.status),
        }
        if problem is INTERNAL:
            log.error("http.bug", **about, exc_info=error)
        elif problem.status >= INTERNAL.status or self.status:
            log.warning("http.failed", **about, cause=repr(error.__cause__))
        elif isinstance(error, MediaError) and error.kind in _LOGGED_QUIETLY:
            log.info("http.refused", **about)
