"""What a serving process has to do with its supervisor."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY

from media_service.processes.line import Line, LineBroken, open_line
from media_service.processes.totals import heard, shown, told

_ASK_SECONDS = 3.0


class Membership:
    """Of one process in a team."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def say_ready(self) -> None:
        """Tell the supervisor that we serve."""
        self._line.tell()

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """Those of the whole team; ours alone if the supervisor does not answer."""
        try:
            answer = await self._line.ask(accept.encode(), within_seconds=_ASK_SECONDS)
        except LineBroken:
            return shown(heard(told(REGISTRY)), accept)
        content_type, _, content = answer.partition(b"\n")
        return content, content_type.decode()


@asynccontextmanager
async def open_membership(end: socket.socket | None) -> AsyncIterator[Membership | None]:
    """A membership over our end of a line; None where there is none."""
    if end is None:
        yield None
        return

    async def answer(_question: bytes) -> bytes:
        return told(REGISTRY)

    async with open_line(end, answer=answer) as line:
        yield Membership(line)
