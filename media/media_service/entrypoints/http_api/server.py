"""The HTTP server: uvicorn in the running loop, with bounds, and an end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from media_service.entrypoints.http_api.connections import Connection, ConnectionLimits

_BACKLOG = 2048
_DEFAULT_LIMITS = ConnectionLimits()

log = structlog.get_logger()


@asynccontextmanager
async def serve_http(  # noqa: PLR0913 - keywords, each with a default that is right
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sockets: Sequence[socket.socket] | None = None,
    limits: ConnectionLimits = _DEFAULT_LIMITS,
    drain_seconds: float = 20,
    is_shared: bool = False,
) -> AsyncIterator[int]:
    """Serve while the context lasts; yields the port. `sockets`, if given, already listen.

    `is_shared` lets other processes of this user listen on the same port. On leaving nothing new
    is taken; requests under way may finish within `drain_seconds`, then they are cut. Signals are
    left to the caller. Raises OSError if it can't listen there.
    """
    listening = list(sockets) if sockets else [_listen(host, port, is_shared=is_shared)]
    server = uvicorn.Server(_config(app, limits, drain_seconds))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(listening)
    await server.on_tick(0)  # sets the Date header, which no answer may go out without
    tasks = [
        asyncio.create_task(server.main_loop()),
        asyncio.create_task(_look_after(server, limits.look_seconds)),
    ]
    try:
        yield int(listening[0].getsockname()[1])
    finally:
        for task in tasks:
            task.cancel()
        await _drain(server, listening)


def _listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    is_everywhere = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        backlog=_BACKLOG,
        reuse_port=is_shared,
        dualstack_ipv6=is_everywhere,
    )


def _config(app: ASGIApp, limits: ConnectionLimits, drain_seconds: float) -> uvicorn.Config:
    def connect(*, server_state: ServerState, **_: object) -> Connection:
        return Connection(app, server_state, limits=limits)

    return uvicorn.Config(
        cast("Any", app),
        http=cast("type[asyncio.Protocol]", connect),
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        # Nobody's word is taken for a client's address: nothing here depends on it.
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=cast("int", drain_seconds),
        workers=1,
    )


async def _look_after(server: uvicorn.Server, seconds: float) -> None:
    """End the connections that are stuck, looking at all of them every so often."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(seconds)
        now = loop.time()
        for connection in list(server.server_state.connections):
            try:
                cast("Connection", connection).end_if_stuck(now)
            except Exception:
                log.exception("http.bug")


async def _drain(server: uvicorn.Server, listening: list[socket.socket]) -> None:
    """Let requests under way finish; whatever is left after that is cut."""
    state = server.server_state
    try:
        await server.shutdown(listening)
    finally:
        for connection in list(state.connections):
            cast("Connection", connection).transport.abort()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=1)
