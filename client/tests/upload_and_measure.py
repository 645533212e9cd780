"""Uploads a file to a service in the same process; prints by how many bytes memory grew."""

from __future__ import annotations

import asyncio
import resource
import sys

from media_client import MediaClient, Purpose
from scripted.service import Attempt, ScriptedService, succeed


async def swallow(attempt: Attempt) -> bytes:
    async for _ in attempt.messages:
        pass
    return await succeed(attempt)


def most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(path: str) -> None:
    async with ScriptedService().running() as service, MediaClient(service.address) as media:
        service.then(swallow, swallow)
        about = {"filename": "film.png", "user_id": "alice"}
        await media.upload_media_stream(bytes(20_000_000), **about, purpose=Purpose.STORY)  # type: ignore[arg-type]
        before = most_bytes()
        await media.upload_media_stream(path, **about, purpose=Purpose.STORY)  # type: ignore[arg-type]
        print(most_bytes() - before)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
