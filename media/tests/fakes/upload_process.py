"""A process that stages and puts one blob: to be killed, starved and lied to by tests.

Arguments: a folder, and whether to `put` the blob or to `hold` it staged until stdin ends.
Prints `staged`, `acknowledged` or the name of the error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path

from media_service.core.blobs import original_key
from media_service.core.errors import MediaError
from media_service.infra.blobs import disk
from media_service.infra.blobs.local import open_local_blobs
from media_service.infra.blobs.staging import open_local_staging

CONTENT = bytes(range(256)) * 256


async def started(folder: Path, action: str, *, strace: tuple[str, ...] = ()) -> Process:
    """This module as a process, its system calls traced or tampered with if told so."""
    tracer = ("strace", "-f", "-qq", *strace) if strace else ()
    return await asyncio.create_subprocess_exec(
        *(*tracer, sys.executable, __file__, str(folder), action),
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def main(folder: Path, action: str) -> None:
    async with AsyncExitStack() as stack:
        staging = await stack.enter_async_context(open_local_staging(folder))
        blobs = await stack.enter_async_context(open_local_blobs(folder))
        staged = await stack.enter_async_context(staging.new())
        await staged.write(CONTENT)
        if action == "hold":
            print("staged", flush=True)
            sys.stdin.read()
        else:
            await blobs.put(original_key(staged.sha256), staged)
            print("acknowledged", flush=True)


if __name__ == "__main__":
    disk._THREADS = 1  # strace counts the calls of each thread by itself
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
    except MediaError as error:
        print(type(error).__name__, flush=True)
