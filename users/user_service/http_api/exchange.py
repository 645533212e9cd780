"""One request and its answer as they go in and out: what was read, what was sent, under which id.

An answer may come before the request is whole: too large, not theirs, not a picture. Closing the
connection at that moment would make the kernel throw the answer away together with what the client
still sends. So the answer goes out complete, and for a short while what arrives is read and
forgotten; then the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterable
from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

from user_service.http_api.errors import Problem, encode
from user_service.http_api.headers import (
    CLOSE,
    INERT,
    JSON,
    NO_STORE,
    SAFETY,
    Header,
    content_length,
)

LINGER_SECONDS = 3.0
LINGER_BYTES = 32 * 1024 * 1024
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Exchange:
    """Stands between the app and the server for one request.

    `status` is 0 until the head was sent. Once it was, a fault can only cut the connection: by
    returning without the rest, which the server takes for just that.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, is_last: bool) -> None:
        given = _value(scope, b"x-request-id")
        is_good = given is not None and _REQUEST_ID.fullmatch(given)
        self.request_id = (given or b"").decode() if is_good else uuid.uuid4().hex
        self.status = 0
        self.is_cut = False
        self._receive = receive
        self._send = send
        self._is_last = is_last
        self._is_body_to_come = _has_body(scope)

    async def receive(self) -> Message:
        """The next piece of the request."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_body_to_come = False
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the answer, with the headers that all our answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._send({**message, "headers": self._completed(message["headers"])})
        elif self._is_body_to_come and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def answer(self, problem: Problem) -> None:
        """Answer with what went wrong, or cut the answer that was begun."""
        if self.status:
            self.is_cut = True
            return
        content = encode(problem)
        headers = [JSON, content_length(len(content)), *problem.headers]
        await self.send(
            {"type": "http.response.start", "status": problem.status, "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": content})

    def _completed(self, headers: Iterable[Header]) -> list[Header]:
        completed = [*headers, *SAFETY, (b"x-request-id", self.request_id.encode())]
        names = {name for name, _ in completed}
        completed += [header for header in (NO_STORE, INERT) if header[0] not in names]
        if self._is_last or self._is_body_to_come:
            completed.append(CLOSE)
        return completed

    async def _linger(self) -> None:
        """Read and forget, for a while."""
        forgotten = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self._is_body_to_come and forgotten < LINGER_BYTES:
                    forgotten += len((await self.receive()).get("body", b""))


def _has_body(scope: Scope) -> bool:
    length = _value(scope, b"content-length")
    return _value(scope, b"transfer-encoding") is not None or length not in (None, b"0")


def _value(scope: Scope, name: bytes) -> bytes | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if values else None
