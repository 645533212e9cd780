"""One request's answer as it goes out: what of it was sent, and under which id."""

from __future__ import annotations

import random
import re

import structlog
from starlette.types import Message, Send

from media_service.core.errors import Forbidden, RenditionNotReady
from media_service.entrypoints.http_api.errors import INTERNAL, Problem, encode, problem_of
from media_service.entrypoints.http_api.headers import (
    CLOSE,
    JSON,
    NO_STORE,
    READABLE,
    SAFETY,
    Block,
    Header,
    block,
    content_length,
)
from media_service.entrypoints.http_api.metrics import METRICS

REQUEST_ID = b"x-request-id"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_ALWAYS = block((*SAFETY, NO_STORE))
_ALWAYS_READABLE = block((*SAFETY, *READABLE, NO_STORE))
_REFUSED = (Forbidden, RenditionNotReady)
"""What is logged as refused, and not as failed: nothing of ours is wrong."""

log = structlog.get_logger()


class Exchange:
    """Sends an answer, and knows how far it got.

    The head waits for the first piece of the body. `status` is 0 until then; after that a fault
    can only cut the connection: by returning without the rest, which servers take for just that.
    `is_readable`: pages of other origins learn what went wrong, too.
    """

    __slots__ = (
        "_head",
        "_is_last",
        "_is_readable",
        "_send",
        "_takes_blocks",
        "body_bytes",
        "is_cut",
        "request_id",
        "status",
    )

    def __init__(
        self,
        send: Send,
        *,
        request_id: bytes | None,
        is_last: bool = False,
        is_readable: bool = False,
        takes_blocks: bool = False,
    ) -> None:
        self._send = send
        self._is_readable = is_readable
        self._is_last = is_last
        self._takes_blocks = takes_blocks
        self._head: Message | None = None
        self.request_id = (
            request_id if request_id and _REQUEST_ID.fullmatch(request_id) else _new_id()
        )
        self.status = 0
        self.body_bytes = 0
        self.is_cut = False

    def start(self, status: int, block: Block, *headers: Header) -> None:
        """The head to send: these headers and the request id."""
        own = [*headers, (REQUEST_ID, self.request_id)]
        if self._is_last:
            own.append(CLOSE)
        head: Message = {"type": "http.response.start", "status": status, "headers": own}
        if self._takes_blocks:
            head["block"] = block
        else:
            head["headers"] = [*block.headers, *own]
        self._head = head

    async def body(self, piece: bytes = b"", *, more: bool = False) -> None:
        """Send a piece of the body; returns when the reader has room for another."""
        if self._head:
            head, self._head = self._head, None
            self.status = head["status"]
            await self._send(head)
        self.body_bytes += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def forward(self, message: Message) -> None:
        """Send what another app answers, with the headers that all our answers have."""
        if message["type"] == "http.response.start":
            self.start(message["status"], _ALWAYS, *message["headers"])
        else:
            await self.body(message.get("body", b""), more=message.get("more_body", False))

    async def fail(self, error: Exception, *, route: str) -> None:
        """Answer with what went wrong, or cut the answer that was begun."""
        problem = problem_of(error)
        METRICS.refuse(problem.code)
        self._log(error, problem, route)
        if self.status:
            self.is_cut = True
            return
        content = encode(problem.code, problem.message)
        length = content_length(len(content))
        always = _ALWAYS_READABLE if self._is_readable else _ALWAYS
        self.start(problem.status, always, JSON, length, *problem.headers)
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
        elif isinstance(error, _REFUSED) and not self.status:
            log.info("http.refused", **about)
        elif problem.status >= INTERNAL.status or self.status:
            log.warning("http.failed", **about, cause=repr(error.__cause__))


def _new_id() -> bytes:
    """A new request id. It need not be hard to guess, only unlike any other."""
    return b"%032x" % random.getrandbits(128)
