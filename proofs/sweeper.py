"""A process that sweeps without end, with no grace: `python -m proofs.sweeper [stopping]`.

Told to be `stopping`, it stops itself (SIGSTOP) whenever it has looked under the lock and is about
to take a content's bytes away, and says so first: whoever started it lets it go on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from media_service.composition import open_media_service
from media_service.config import read_settings
from media_service.core.errors import MediaError
from media_service.core.ports import Deletion
from media_service.infra.blobs.local import LocalBlobs

_NO_GRACE = timedelta()
STOPS = "stops"


class _StoppingDeletion:
    """Stops this process before anything is set aside."""

    def __init__(self, deletion: Deletion) -> None:
        self._deletion = deletion

    async def set_aside(self, keys: Iterable[str]) -> None:
        wanted = list(keys)
        if wanted:
            print(f"{STOPS} {wanted[0]}", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        await self._deletion.set_aside(wanted)


def _stop_between_look_and_removal() -> None:
    removal = LocalBlobs.deleting

    @asynccontextmanager
    async def deleting(blobs: LocalBlobs) -> AsyncIterator[_StoppingDeletion]:
        async with removal(blobs) as deletion:
            yield _StoppingDeletion(deletion)

    LocalBlobs.deleting = deleting  # type: ignore[method-assign,assignment]


async def main(*, is_stopping: bool) -> None:
    """Sweep until killed; what fails is tried again."""
    if is_stopping:
        _stop_between_look_and_removal()
    async with open_media_service(read_settings()) as opened:
        housekeeping = opened.service.housekeeping
        print("ready", flush=True)
        while True:
            with suppress(MediaError):
                report = await housekeeping.sweep(grace=_NO_GRACE)
                print(f"swept {report.condemned_blobs}", flush=True)
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(is_stopping="stopping" in sys.argv[1:]))
