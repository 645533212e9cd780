"""One request and its answer on a connection.

The head leaves in one write with the first piece of the body, which is what ASGI asks of servers.
An app may hand over headers that it has rendered before: where BLOCKS is among the scope's
extensions, the message `http.response.start` may carry a `block` beside its `headers`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from starlette.types import ASGIApp, Message, Scope

from media_service.entrypoints.http_api.headers import CLOSE, Block, Header, lines_of, status_line

BLOCKS = "mediad.http.response.blocks"

_BODILESS = frozenset({204, 304})
_CHUNKED: Header = (b"transfer-encoding", b"chunked")

log = structlog.get_logger()


class Line(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    room: asyncio.Event | None
    """Set when the client has taken enough of what was sent; None if it has already."""

    def date(self) -> bytes:
        """The line with the date that every answer has."""

    def begin_next(self) -> None:
        """Called when the answer is complete, and the connection stays open."""

    def forget(self, cycle: Cycle) -> None:
        """Called when the app has returned."""


class Cycle:
    """Runs the app for one request and sends what it answers.

    The app names its headers in lower case, as ASGI demands. Bodies of requests are never kept:
    nothing here takes one.
    """

    __slots__ = (
        "_head",
        "_is_begun",
        "_is_chunked",
        "_is_over",
        "_is_received",
        "_left",
        "_line",
        "_over",
        "_scope",
        "is_complete",
        "is_last",
        "task",
    )

    def __init__(self, line: Line, scope: Scope, *, is_last: bool) -> None:
        self._line = line
        self._scope = scope
        self._head = b""
        self._left = 0
        self._is_begun = False
        self._is_chunked = False
        self._is_received = False
        self._is_over = False
        self._over: asyncio.Event | None = None
        self.is_complete = False
        self.is_last = is_last
        self.task: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer. Whatever it leaves undone, it is the connection's end."""
        transport = self._line.transport
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            log.exception("http.bug")
        finally:
            if not self.is_complete and not self._is_over:
                self.end()
                transport.close()
            self._line.forget(self)

    def end(self) -> None:
        """The client has left, or nothing more can be sent to it."""
        self._is_over = True
        if self._over:
            self._over.set()

    async def receive(self) -> Message:
        """A request without a body; then, when it comes to that, that the client has left."""
        if not self._is_received:
            self._is_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if not self._is_over:
            self._over = self._over or asyncio.Event()
            await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the next event. Returns when there is room for another.

        Raises RuntimeError for events out of order and a body of another length than the head
        says, ValueError for line breaks in headers.
        """
        if self._line.room:
            await self._line.room.wait()
        if self._is_over or self._line.transport.is_closing():
            self.end()
        elif message["type"] == "http.response.body" and self._is_begun and not self.is_complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not self._is_begun:
            self._head = self._encode(message)
            self._is_begun = True
        else:
            raise RuntimeError(f"{message['type']} is out of order")

    def _encode(self, message: Message) -> bytes:
        status = message["status"]
        block: Block | None = message.get("block")
        headers = list(message["headers"])
        length = block.body_bytes if block else None
        if length is None:
            length = next((int(v) for name, v in headers if name == b"content-length"), None)
        self.is_last = self.is_last or CLOSE in headers
        if self.is_last and CLOSE not in headers:
            headers.append(CLOSE)
        if length is None and self._has_body(status):
            self._is_chunked = True
            headers.append(_CHUNKED)
        self._left = length or 0
        lines = block.lines if block else b""
        head = (status_line(status), self._line.date(), lines, lines_of(headers), b"\r\n")
        return b"".join(head)

    def _has_body(self, status: int) -> bool:
        return self._scope["method"] != "HEAD" and status not in _BODILESS

    def _send_body(self, piece: bytes, *, more: bool) -> None:
        head, self._head = self._head, b""
        if self._scope["method"] == "HEAD":
            piece, self._left = b"", 0
        elif self._is_chunked:
            piece = _chunk(piece, is_last=not more)
        else:
            self._left -= len(piece)
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("the body has another length than the head says")
        if head:
            self._line.transport.writelines((head, piece) if piece else (head,))
        else:
            self._line.transport.write(piece)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self.end()
        if self.is_last:
            self._line.transport.close()
        else:
            self._line.begin_next()


def _chunk(piece: bytes, *, is_last: bool) -> bytes:
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
    return chunk + b"0\r\n\r\n" if is_last else chunk
