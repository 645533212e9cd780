"""One request and its answer on a connection, for uvicorn's protocol.

It behaves as uvicorn's own, with less to do for each request. The head leaves in one write with
the first piece of the body, which is what ASGI asks of servers. And an app may hand over headers
that it has rendered before: where BLOCKS is among the scope's extensions, the message
`http.response.start` may carry a `block` beside its `headers`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from media_service.entrypoints.http_api.headers import Block, Header, lines_of

BLOCKS = "mediad.http.response.blocks"

_BODILESS = frozenset({204, 304})

log = structlog.get_logger()


class _Nobody(asyncio.Event):
    """Stands for the event of a request whose body nobody waits for, as nearly all are."""

    def set(self) -> None:
        """Wake nobody."""


_NOBODY = _Nobody()


class Cycle(RequestResponseCycle):
    """Sends what an app answers. The app names its headers in lower case, as ASGI demands."""

    def __init__(self, protocol: HttpToolsProtocol, *, scope: Scope, keep_alive: bool) -> None:
        """Nothing of uvicorn's constructor is left out, but for what its logs need."""
        self.scope: Any = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self.message_event = _NOBODY
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.disconnected = False
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.chunked_encoding = None
        self.expected_content_length = 0
        self._head = b""
