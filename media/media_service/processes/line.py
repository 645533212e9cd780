"""A line between two processes over a pair of sockets: either side may ask the other.

A frame is its kind (one byte), the length of what it carries (four) and that. There is one
question at a time in each direction; answers need no numbers.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_HEAD = struct.Struct("!cI")
_QUESTION, _ANSWER, _NEWS = b"?", b"!", b"*"

Answer = Callable[[bytes], Awaitable[bytes]]


class LineBroken(Exception):
    """The other process is gone, or does not answer."""


class Line:
    """One end. `answer` answers the other's questions; `on_news` is called when it tells us so."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answer: Answer,
        on_news: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._on_news = on_news
        self._turn = asyncio.Lock()
        self._awaited: asyncio.Future[bytes] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def ask(self, question: bytes, *, within_seconds: float) -> bytes:
        """What the other side answers. Raises LineBroken."""
        async with self._turn:
            if self._awaited is not None and not self._awaited.done():
                raise LineBroken  # a late answer must not be taken for the next one
            self._awaited = asyncio.get_running_loop().create_future()
            try:
                self._send(_QUESTION, question)
                async with asyncio.timeout(within_seconds):
                    return await asyncio.shield(self._awaited)
            except (OSError, TimeoutError):
                raise LineBroken from None

    def tell(self) -> None:
        """Have the other side's `on_news` called."""
        self._send(_NEWS, b"")

    async def listen(self) -> None:
        """Answer and hear until the other side is gone."""
        try:
            while True:
                kind, size = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                self._take(kind, await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            if self._awaited is not None and not self._awaited.done():
                self._awaited.set_exception(LineBroken())
                self._awaited.exception()  # whoever asked may have given up

    def _take(self, kind: bytes, carried: bytes) -> None:
        if kind == _QUESTION:
            task = asyncio.create_task(self._reply(carried))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif kind == _NEWS:
            self._on_news()
        elif self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(carried)

    async def _reply(self, question: bytes) -> None:
        self._send(_ANSWER, await self._answer(question))

    def _send(self, kind: bytes, carried: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(_HEAD.pack(kind, len(carried)) + carried)


def _ignore() -> None:
    """Nothing is made of news."""


@asynccontextmanager
async def open_line(
    end: socket.socket, *, answer: Answer, on_news: Callable[[], None] = _ignore
) -> AsyncIterator[Line]:
    """A line over this end of a pair of sockets; it is closed on leaving."""
    reader, writer = await asyncio.open_connection(sock=end)
    line = Line(reader, writer, answer=answer, on_news=on_news)
    listening = asyncio.create_task(line.listen())
    try:
        yield line
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        writer.close()
