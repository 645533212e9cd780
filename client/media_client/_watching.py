"""Watching a medium: one stream after the other, until its processing is over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from media_proto import media_service_pb2 as pb

from media_client import _convert
from media_client._context import current_request_id
from media_client._retrying import Retries
from media_client._transport import WATCH_MEDIA, Call, Transport
from media_client.errors import DeadlineExceeded, Interrupted, Limited, Unavailable
from media_client.models import Media, Status

_STREAM_SECONDS = 600.0
"""After so long a stream is begun anew: one that a proxy has forgotten would stay silent."""
_PATIENCE_SECONDS = 60.0
"""How long nothing may be heard of a service that can't be reached."""
_UNFINISHED = frozenset({Status.PENDING, Status.PROCESSING})


class Watch:
    """One medium that is watched; `until` is when the caller's patience ends."""

    def __init__(
        self, transport: Transport, media_id: str, *, seconds: float | None, retries: Retries
    ) -> None:
        self._transport = transport
        self._request = pb.WatchMediaRequest(media_id=_convert.text(media_id))
        self._retries = retries
        self._clock = asyncio.get_running_loop().time
        self._until = float("inf") if seconds is None else self._clock() + seconds
        self._request_id = current_request_id()
        self._heard_at = self._clock()
        self._failed = 0
        self._last: Media | None = None

    async def states(self) -> AsyncGenerator[Media, None]:
        """Each state that differs from the one before, until the last."""
        while True:
            try:
                async with aclosing(self._stream()) as told:
                    async for media in told:
                        yield media
                if self._last and self._last.status not in _UNFINISHED:
                    return
                raise Interrupted(request_id=self._request_id)
            except (Limited, Unavailable, DeadlineExceeded) as error:
                pause = self._pause(error)
            await asyncio.sleep(pause)

    async def _stream(self) -> AsyncGenerator[Media, None]:
        deadline = min(self._until, self._clock() + _STREAM_SECONDS)
        call = Call(self._request_id, deadline)
        answers = self._transport.watch(WATCH_MEDIA, self._request, call)
        async with aclosing(answers):
            async for answer in answers:
                self._failed, self._heard_at = 0, self._clock()
                media = _convert.understood(answer, _convert.media, request_id=self._request_id)
                if media != self._last:
                    self._last = media
                    yield media
                self._heard_at = self._clock()

    def _pause(self, error: Limited | Unavailable | DeadlineExceeded) -> float:
        """How long to wait before the next stream. Raises when there is no time for one."""
        now, is_cut_off = self._clock(), isinstance(error, DeadlineExceeded)
        self._failed += 1
        pause = self._retries.pause(
            failed=self._failed, asked=error.retry_after, chance=random.random()
        )
        if now + pause >= self._until:
            raise DeadlineExceeded(request_id=self._request_id) from error
        if not is_cut_off and now + pause >= self._heard_at + _PATIENCE_SECONDS:
            raise error
        return pause
