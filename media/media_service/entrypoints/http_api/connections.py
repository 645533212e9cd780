"""Connections that can be trusted to end: HTTP/1.1 for uvicorn's server, within limits.

The protocols that come with uvicorn bound neither heads nor time. This one does:

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
from collections import deque
from collections.abc import Mapping
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Scope
from uvicorn.server import ServerState

from media_service.entrypoints.http_api.cycles import BLOCKS, Cycle
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
    READABLE,
    SAFETY,
    Header,
    content_length,
    lines_of,
    status_line,
)

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_EXTENSIONS: Mapping[str, object] = {BLOCKS: {}}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How much, how long and how many."""

    max_connections: int = 10_000
    max_head_bytes: int = 32 * 1024
    max_request_bytes: int = 1024 * 1024
    max_pipelined: int = 64
    head_seconds: float = 10
    stall_seconds: float = 60
    keep_alive_seconds: float = 75
    look_seconds: float = 2


class HeadRefused(Exception):
    """Ends the parsing of a request that will not be answered by the app."""


class Connection(asyncio.Protocol):
    """One connection of a client: parses requests, and has each answered in its turn."""

    transport: asyncio.Transport

    def __init__(self, app: ASGIApp, state: ServerState, *, limits: ConnectionLimits) -> None:
        self._app = app
        self._state = state
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._addresses: dict[str, object] = {}
        self._answering: Cycle | None = None
        self._queue: deque[Cycle] = deque()
        self.room: asyncio.Event | None = None
        self._dated: list[Header] = []
        self._date = b""
        self._scope: Scope = {}
        self._headers: list[Header] = []
        self._url = b""
        self._problem = MALFORMED
        self._chunk_bytes = 0
        self._requests = 0
        self._request_bytes = 0
        self._is_within_body = False
        self._is_idle = False
        self._waiting_for: tuple[float, object] | None = None
        self._waiting_since = 0.0

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it quickly when there are too many."""
        self.transport = transport
        self._addresses = {
            "server": _address(transport, "sockname"),
            "client": _address(transport, "peername"),
        }
        self._state.connections.add(self)  # type: ignore[arg-type]
        if len(self._state.connections) > self._limits.max_connections:
            self._refuse(TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell whoever still answers that nobody listens."""
        self._state.connections.discard(self)
        self._queue.clear()
        if self._answering:
            self._answering.end()
        self.resume_writing()
        del self._parser  # it refers to us: without it nothing waits for the garbage collector

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self.room = asyncio.Event()

    def resume_writing(self) -> None:
        """The client has taken enough to be sent more."""
        room, self.room = self.room, None
        if room:
            room.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the request it belongs to never ends."""
        self._is_idle = False
        self._chunk_bytes = len(data)
        self._request_bytes += len(data)
        if self._request_bytes > self._limits.max_request_bytes:
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # offered, and ignored, as we may
        except httptools.HttpParserError:
            self._give_up(self._problem)
        if self._request_bytes > self._limits.max_head_bytes and self._is_within_head():
            self._give_up(self._too_large())

    # What the parser finds

    def on_message_begin(self) -> None:
        """Count from here: the chunk that the request began in counts as its own."""
        self._requests += 1
        self._request_bytes = self._chunk_bytes
        self._url = b""
        self._headers = []
        self._scope = {}

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Those that follow a body are not for us."""
        if not self._is_within_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Have the request answered, now or in its turn, if its head is within the limits."""
        if self._request_bytes > self._limits.max_head_bytes:
            self._check_head()
        if len(self._queue) >= self._limits.max_pipelined:
            raise HeadRefused
        cycle = self._new_cycle()
        self._is_within_body = True
        if self._answering:
            self._queue.append(cycle)
            self.transport.pause_reading()
        else:
            self._begin(cycle)

    def on_message_complete(self) -> None:
        """The request is here to its last byte."""
        self._is_within_body = False

    def _new_cycle(self) -> Cycle:
        path, query = _split(self._url)
        text = path.decode("ascii")
        parser = self._parser
        version = parser.get_http_version()
        self._scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "extensions": _EXTENSIONS,
            **self._addresses,
        }
        # Nothing is spoken here but HTTP/1: what follows an upgrade can't be understood.
        is_lasting = version != "1.0" and parser.should_keep_alive() and not parser.should_upgrade()
        return Cycle(self, self._scope, is_last=not is_lasting)

    def _check_head(self) -> None:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self._limits.max_head_bytes:
            self._problem = self._too_large()
            raise HeadRefused

    # What cycles need

    def date(self) -> bytes:
        """The line with the date, which uvicorn keeps right: another list every second."""
        headers = self._state.default_headers
        if headers is not self._dated:
            self._dated, self._date = headers, lines_of(headers)
        return self._date

    def begin_next(self) -> None:
        """Go on with the next request that is here, or wait for one."""
        self._state.total_requests += 1
        self._answering = None
        if self._queue:
            self._begin(self._queue.popleft())
        else:
            self._is_idle = not self._is_within_body
            self.transport.resume_reading()

    def forget(self, cycle: Cycle) -> None:
        """The cycle's task is about to end."""
        if cycle.task:
            self._state.tasks.discard(cycle.task)
            cycle.task = None

    def _begin(self, cycle: Cycle) -> None:
        self._answering = cycle
        cycle.task = self._loop.create_task(cycle.run(self._app))
        self._state.tasks.add(cycle.task)

    # How it ends

    def shutdown(self) -> None:
        """Called by uvicorn's server: what is under way may finish, and that is all."""
        if self._answering:
            self._let_be_last()
        else:
            self.transport.close()

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
        if self._answering:
            return None
        is_idle = self._is_idle
        seconds = self._limits.keep_alive_seconds if is_idle else self._limits.head_seconds
        return seconds, (is_idle, self._requests)

    def _give_up(self, problem: Problem) -> None:
        """Refuse what was sent, unless that could be taken for the answer to something else."""
        if self._answering:
            self._let_be_last()
            self.transport.pause_reading()
        elif self._is_within_body:
            self.transport.close()
        else:
            self._refuse(problem)

    def _let_be_last(self) -> None:
        last = self._queue[-1] if self._queue else self._answering
        if last:
            last.is_last = True

    def _refuse(self, problem: Problem) -> None:
        """Answer in place of the app, and close.

        Pages of any origin may read it: which URL was meant is not known yet, or never, and it
        tells nothing of what is there.
        """
        if self.transport.is_closing():
            return
        content = encode(problem.code, problem.message)
        own = (JSON, content_length(len(content)), CLOSE, *problem.headers)
        lines = lines_of((*own, *SAFETY, *READABLE, NO_STORE))
        head = (status_line(problem.status), self.date(), lines, b"\r\n")
        self.transport.write(b"".join((*head, content)))
        self.transport.close()

    def _is_within_head(self) -> bool:
        return not self._scope and bool(self._url)

    def _too_large(self) -> Problem:
        is_url = len(self._url) > self._limits.max_head_bytes // 2
        return URI_TOO_LONG if is_url else HEADERS_TOO_LARGE


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Path and query. Raises HeadRefused, or what the parser raises, for what has neither."""
    if b"#" in url:
        raise HeadRefused  # fragments are not sent: this is none of our URLs any more
    if url.startswith(b"/"):
        path, _, query = url.partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    if not parsed.path or not parsed.schema:
        raise HeadRefused
    return parsed.path, parsed.query or b""


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int] | None:
    address = transport.get_extra_info(name)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None


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
