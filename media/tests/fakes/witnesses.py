"""Who saw what strangers' bytes did: how much memory a process took, and who was called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


def most_memory(pid: int) -> int:
    """In bytes, as far as it can be told: a cell that died can't be asked, and had its limit."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int((status.partition("VmHWM:")[2].split() or ["0"])[0]) * 1024


@asynccontextmanager
async def silent_sink() -> AsyncIterator[int]:
    """The port of a server that nobody may talk to."""
    calls = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    assert not calls
