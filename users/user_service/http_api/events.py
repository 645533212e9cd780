"""Server-sent events: what is known of a medium, told again whenever it has changed.

A stream ends when there is no more to tell, when the service stops, and after some minutes in any
case: by then its token may have ended too. Who wants more asks again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import orjson
from prometheus_client import Gauge
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from user_service.errors import TooManyListeners, UserError
from user_service.records import UserId

STREAMS_OF_ONE = 16
STREAMS_AT_ONCE = 768
"""Fewer than the media service lets one connection watch: whoever is let in is told."""
_LOOK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0
_LONGEST_SECONDS = 600.0
_OPEN = Gauge("userd_event_streams", "Streams of events that are open")


class EventStreams:
    """Streams of events, bounded for each person and together."""

    def __init__(self, *, is_draining: Callable[[], bool]) -> None:
        self._is_draining = is_draining
        self._open: Counter[UserId] = Counter()

    async def answer(self, views: AsyncIterator[BaseModel], *, user: UserId) -> StreamingResponse:
        """A stream of these views. What fails before the first is raised as for any request.

        Its place is taken before the first view is waited for, and free again when it was sent.
        """
        with ExitStack() as stack:
            stack.enter_context(self._counted(user))
            first = await anext(views)
            return _Stream(self._events(first, views), place=stack.pop_all())

    async def _events(
        self, first: BaseModel, views: AsyncIterator[BaseModel]
    ) -> AsyncIterator[bytes]:
        yield _event(first)
        try:
            async for view in _paused(views, self._is_draining):
                yield b":\n\n" if view is None else _event(view)
        except UserError as error:
            yield _refusal(error)

    @contextmanager
    def _counted(self, user: UserId) -> Iterator[None]:
        if self._open[user] >= STREAMS_OF_ONE or self._open.total() >= STREAMS_AT_ONCE:
            raise TooManyListeners
        self._open[user] += 1
        _OPEN.inc()
        try:
            yield
        finally:
            _OPEN.dec()
            self._open[user] -= 1
            self._open += Counter()  # forgets whoever has none


class _Stream(StreamingResponse):
    """A stream that leaves its place when it was sent, or could not be."""

    def __init__(self, content: AsyncIterator[bytes], *, place: ExitStack) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._place:
            await super().__call__(scope, receive, send)


async def _paused(
    views: AsyncIterator[BaseModel], is_over: Callable[[], bool]
) -> AsyncGenerator[BaseModel | None, None]:
    """The views; None where there was silence for so long that a proxy might take it for death."""
    loop = asyncio.get_running_loop()
    ends_at, silent_until = loop.time() + _LONGEST_SECONDS, loop.time() + _HEARTBEAT_SECONDS
    coming = asyncio.ensure_future(anext(views, None))
    try:
        while not is_over() and loop.time() < ends_at:
            await asyncio.wait({coming}, timeout=_LOOK_SECONDS)
            if coming.done():
                view = coming.result()
                if view is None:
                    return
                yield view
                coming = asyncio.ensure_future(anext(views, None))
            elif loop.time() < silent_until:
                continue
            else:
                yield None
            silent_until = loop.time() + _HEARTBEAT_SECONDS
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, UserError):
            await coming


def _event(view: BaseModel) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(view.model_dump())


def _refusal(error: UserError) -> bytes:
    told = orjson.dumps({"code": error.code, "message": str(error)})
    return b"event: error\ndata: %s\n\n" % told
