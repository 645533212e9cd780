"""One request and its answer on a connection, for uvicorn's protocol.

The same as uvicorn's own, but that the head leaves in one write with the first piece of the body
(which is what ASGI asks of servers), and that headers are checked all at once: both cost more
than everything else that happens to a thumbnail here.
"""

from __future__ import annotations

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_BODILESS = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """Sends what an app answers. The app names its headers in lower case, as ASGI demands."""

    _head = b""

    async def send(self, message: ASGISendEvent) -> None:
        """Send the next event. Returns when there is room for another.

        Raises RuntimeError for events out of order, a body of another length than the head says,
        and line breaks in headers.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.transport.is_closing():
            self.disconnected = True
            return
        if message["type"] == "http.response.body" and self.response_started:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not self.response_started:
            self._head = self._encode(message)
            self.response_started = True
            self.waiting_for_100_continue = False
        else:
            raise RuntimeError(f"{message['type']} is out of order")

    def _encode(self, message: HTTPResponseStartEvent) -> bytes:
        parts = [STATUS_LINE[message["status"]]]
        lines = 2
        for headers in (self.default_headers, message.get("headers", ())):
            for name, value in headers:
                if name == b"connection":  # only ever to close; said below
                    self.keep_alive = False
                    continue
                if name == b"content-length":
                    self.expected_content_length = int(value)
                    self.chunked_encoding = False
                parts += (name, b": ", value, b"\r\n")
                lines += 1
        if self.chunked_encoding is None and self._has_body(message["status"]):
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
            lines += 1
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise RuntimeError("a header holds a line break")
        return head

    def _has_body(self, status: int) -> bool:
        return self.scope["method"] != "HEAD" and status not in _BODILESS

    def _send_body(self, piece: bytes, *, more: bool) -> None:
        if self.response_complete:
            raise RuntimeError("the response was complete")
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            piece = b""
            self.expected_content_length = 0
        elif self.chunked_encoding:
            piece = _chunk(piece, is_last=not more)
        else:
            self.expected_content_length -= len(piece)
        if self.expected_content_length < 0 or (self.expected_content_length and not more):
            raise RuntimeError("the body has another length than the head says")
        if head:
            self.transport.writelines((head, piece) if piece else (head,))
        else:
            self.transport.write(piece)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _chunk(piece: bytes, *, is_last: bool) -> bytes:
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
    return chunk + b"0\r\n\r\n" if is_last else chunk
