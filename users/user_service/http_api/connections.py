"""Connections that can be trusted to end: bounds that uvicorn's own protocol does not have.

- A head of more than `max_head_bytes` is refused (414, 431).
- What can't be parsed gets one 400 and the end of the connection, but only where no other answer
  could be taken for its answer: never while one is under way.
- A head that is not there after `head_seconds`, or a reader that takes not one byte for
  `stall_seconds`, ends the connection. Bodies have bounds of their own, where they are read.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from user_service.http_api.errors import (
    HEADERS_TOO_LARGE,
    MALFORMED,
    TOO_MANY_CONNECTIONS,
    URI_TOO_LONG,
    Problem,
    encode,
)
from user_service.http_api.headers import CLOSE, INERT, JSON, NO_STORE, SAFETY, content_length


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How much, how long and how many."""

    max_connections: int = 5_000
    max_head_bytes: int = 32 * 1024
    max_pipelined: int = 16
    head_seconds: float = 10
    stall_seconds: float = 60
    keep_alive_seconds: int = 75


class HeadRefused(Exception):
    """Ends the parsing of a request that will not be answered by the app."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a client, within limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._problem = MALFORMED
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._is_within_body = False
        self._waiting_for: tuple[float, object] | None = None
        self._waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it quickly when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it belongs to a head that never ends."""
        self._chunk_bytes = len(data)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self._limits.max_head_bytes and self._is_within_head():
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        """Count from here: the chunk that it began in counts as its own."""
        self._head_bytes = self._chunk_bytes
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, if its head is within the limits."""
        if self._head_bytes > self._limits.max_head_bytes:
            self._check_head()
        if len(self.pipeline) >= self._limits.max_pipelined or b"#" in self.url:
            raise HeadRefused
        super().on_headers_complete()
        self._is_within_body = True
        if self.parser.should_upgrade():
            # Nothing is spoken here but HTTP/1.1, so what follows can't be understood.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The request is here to its last byte."""
        self._is_within_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name and signature
        """Called for what can't be parsed: refuse it, or let what is under way be the last."""
        if self._is_within_body:
            self.transport.close()
        elif self._is_answering():
            self.cycle.keep_alive = False
        else:
            self._refuse(self._problem)

    def _unsupported_upgrade_warning(self) -> None:
        """Clients may offer to upgrade; we may ignore it, and need not say so each time."""

    def end_if_stuck(self, now: float) -> None:
        """End the connection if it has waited too long for one and the same thing."""
        waiting_for = self._what_for()
        if waiting_for != self._waiting_for:
            self._waiting_for, self._waiting_since = waiting_for, now
        elif waiting_for is not None and now - self._waiting_since >= waiting_for[0]:
            self.transport.abort()

    def _what_for(self) -> tuple[float, object] | None:
        """How long this may last, and what tells it from what it waits for next."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            return self._limits.stall_seconds, unsent
        if self._is_answering() or self.timeout_keep_alive_task is not None:
            return None
        return self._limits.head_seconds, id(self.cycle)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_within_head(self) -> bool:
        return self.scope is not None and "method" not in self.scope

    def _check_head(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.max_head_bytes:
            self._problem = self._too_large()
            raise HeadRefused

    def _too_large(self) -> Problem:
        is_url = len(self.url) > self._limits.max_head_bytes // 2
        return URI_TOO_LONG if is_url else HEADERS_TOO_LARGE

    def _refuse(self, problem: Problem) -> None:
        """Answer in place of the app, and close."""
        if self.transport.is_closing():
            return
        content = encode(problem)
        length = content_length(len(content))
        headers = (JSON, length, CLOSE, *problem.headers, *SAFETY, NO_STORE, INERT)
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", content]))
        self.transport.close()
