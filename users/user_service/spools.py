"""Files on their way through: a little in memory, the rest on disk, gone when closed.

A retry needs the bytes again, and half a gigabyte a request would not fit in memory many times.
The file on disk has no name, so nothing is left behind however the process ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from user_service.errors import StorageFull

IN_MEMORY_BYTES = 512 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpooledFile:
    """A whole file, open at its start, and what its sender says of it. Open as long as its spool.

    Up to IN_MEMORY_BYTES are in memory.
    """

    filename: str
    content_type: str
    size_bytes: int
    content: BinaryIO


class Spool:
    """Takes bytes in, then gives them out again. Open it with `open_spool`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending = bytearray()
        self._file: BinaryIO | None = None
        self._writing: asyncio.Future[Any] | None = None
        self.size_bytes = 0

    async def write(self, data: bytes) -> None:
        """Take these bytes. Raises StorageFull."""
        self._pending += data
        self.size_bytes += len(data)
        if len(self._pending) > IN_MEMORY_BYTES:
            await self._flush()

    async def content(self) -> BinaryIO:
        """All bytes, from the start; nothing may be written after this. Raises StorageFull."""
        if self._file is None:
            return io.BytesIO(self._pending)
        await self._flush()
        self._file.seek(0)
        return self._file

    async def _flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        writing = asyncio.get_running_loop().run_in_executor(None, self._append, pending)
        self._writing = writing
        try:
            # A thread can't be cancelled: it goes on, and `close` waits for it.
            await asyncio.shield(writing)
        except OSError as error:
            raise StorageFull from error

    def _append(self, pending: bytearray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        view = memoryview(pending)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        """Forget the bytes, when no thread is at them: a free descriptor is soon another file's."""
        if self._writing is not None and not self._writing.done():
            self._writing.add_done_callback(lambda _: self.close())
            return
        self._pending = bytearray()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


@asynccontextmanager
async def open_spool(folder: Path) -> AsyncIterator[Spool]:
    """A spool whose bytes are kept in this folder if they are many, as long as this lasts."""
    spool = Spool(folder)
    try:
        yield spool
    finally:
        spool.close()
