"""Connections that can be trusted to end: bounds that uvicorn's own protocol does not have.

uvicorn answers what is well-formed and prompt. This adds what happens to the rest:

- A head of more than `max_head_bytes` is refused (414, 431), and a request that goes on for more
  than `max_request_bytes` is cut: nothing here takes a body.
- What can't be parsed gets one 400 and the end of the connection, but only where no other answer
  could be taken for its answer: never while one is under way, nor after a request's own.
- A head that is not there after `head_seconds`, or a reader that takes not one byte for
  `stall_seconds`, ends the connection. One look at all connections every few seconds finds them,
  so requests pay nothing for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import struct
import termios
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from media_service.entrypoints.http_api.cycles import Cycle
from media_service.entrypoints.http_api.errors import (
    HEADERS_TOO_LARGE,
    MALFORMED,
    TOO_MANY_CONNECTIONS,
    URI_TOO_LONG,
    Problem,
    encode,
)
from media_service.entrypoints.http_api.headers import (
    CLOSE,
    JSON,
    NO_STORE,
    SAFETY,
    content_length,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How much, how long and how many."""

    max_connections: int = 10_000
    max_head_bytes: int = 32 * 1024
    max_request_bytes: int = 1024 * 1024
    max_pipelined: int = 64
    head_seconds: float = 10
    stall_seconds: float = 60
    keep_alive_seconds: int = 75
    look_seconds: float = 2


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
        self._chunk_bytes = 0
        self._request_bytes = 0
        self._is_within_body = False
        self._is_idle = False
        self._waiting_for: tuple[float, object] | None = None
        self._waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it quickly when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the request it belongs to never ends."""
        self._is_idle = False
        self._chunk_bytes = len(data)
        self._request_bytes += len(data)
        if self._request_bytes > self._limits.max_request_bytes:
            self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # offered, and ignored, as we may
        except httptools.HttpParserError:
            self._give_up(self._problem)
        if self._request_bytes > self._limits.max_head_bytes and self._is_within_head():
            self._give_up(self._too_large())

    def on_message_begin(self) -> None:
        """Count from here: the chunk that it began in counts as its own."""
        self._request_bytes = self._chunk_bytes
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, if its head is within the limits."""
        if self._request_bytes > self._limits.max_head_bytes:
            self._check_head()
        if len(self.pipeline) >= self._limits.max_pipelined:
            raise HeadRefused
        is_first = not self._is_answering()
        cycle = self.cycle = self._new_cycle()
        self._is_within_body = True
        if is_first:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _new_cycle(self) -> Cycle:
        self._complete_scope()
        parser = self.parser
        version = parser.get_http_version()
        # Nothing is spoken here but HTTP/1: what follows an upgrade can't be understood.
        is_lasting = version != "1.0" and parser.should_keep_alive() and not parser.should_upgrade()
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=is_lasting,
            on_response=self.on_response_complete,
        )

    def _complete_scope(self) -> None:
        """Raises HeadRefused or a parsing error for a URL that is none; fragments are not sent."""
        if b"#" in self.url:
            raise HeadRefused
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = self.parser.get_http_version()
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""

    def on_response_complete(self) -> None:
        """Go on with the next request that is here, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._is_idle = True

    def on_message_complete(self) -> None:
        """The request is here to its last byte."""
        self._is_within_body = False
        super().on_message_complete()

    def _give_up(self, problem: Problem) -> None:
        """Refuse what was sent, unless that could be taken for the answer to something else."""
        if self._is_answering():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self._is_within_body:
            self.transport.close()
        else:
            self._refuse(problem)

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
            return self._limits.stall_seconds, unsent + _unacknowledged(self.transport)
        if self._is_answering():
            return None
        is_idle = self._is_idle
        seconds = self._limits.keep_alive_seconds if is_idle else self._limits.head_seconds
        return seconds, (is_idle, id(self.cycle))

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_within_head(self) -> bool:
        return self.scope is not None and "method" not in self.scope

    def _check_head(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
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
        content = encode(problem.code, problem.message)
        headers = (JSON, content_length(len(content)), CLOSE, *problem.headers, *SAFETY, NO_STORE)
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", content]))
        self.transport.close()


def _unacknowledged(transport: asyncio.Transport) -> int:
    """How many bytes the kernel holds that the reader has not taken.

    Our own buffer alone moves only when the kernel's, of megabytes, has room again: a slow reader
    would seem to stall.
    """
    socket = transport.get_extra_info("socket")
    try:
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):  # it is closed by now
        return 0
    return int(struct.unpack("i", answer)[0])
