"""Uploads that have their place and send no more than they are told to."""

from __future__ import annotations

import asyncio
import json
from typing import Self

from media_client.testing import sample_picture
from user_fakes.forms import BOUNDARY, form
from user_fakes.running import Person, Running


class HeldUpload:
    """An upload over a socket of its own, whose body the service waits for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._body = form(sample_picture())
        self.answer = asyncio.ensure_future(_answered(reader))
        """Status and code, once there is an answer."""

    @classmethod
    async def of(cls, service: Running, person: Person, path: str) -> Self:
        """One that has its place: the service says go on when it begins to read the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        lines = (
            f"POST {path} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {person.access_token}",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
            f"Content-Length: {len(form(sample_picture()))}",
            "Expect: 100-continue",
            "Connection: close",
        )
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert told == b"HTTP/1.1 100 Continue\r\n\r\n", told
        return cls(reader, writer)

    async def finish(self) -> tuple[int, str]:
        """Send the whole body; what is answered."""
        self._writer.write(self._body)
        return await asyncio.wait_for(self.answer, 20)

    def close(self) -> None:
        """Leave."""
        self._writer.close()
        self.answer.cancel()


async def _answered(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    body = json.loads(await reader.readexactly(length))
    return int(head.split()[1]), body.get("error", {}).get("code", "")
