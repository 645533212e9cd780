"""What the service acknowledged, remembered outside of all that is broken; and who drives it."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import itertools
import random
from collections.abc import Iterator
from contextlib import suppress

import grpc
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, Stub, stub, upload_request

OWNER = "alice"
CALL_SECONDS = 20
_COMPLETION_POLLS = 600


@dataclasses.dataclass(slots=True)
class Ledger:
    """Acknowledged uploads by id, with the hash of what was sent; and which were deleted."""

    uploaded: dict[str, str] = dataclasses.field(default_factory=dict)
    deleted: set[str] = dataclasses.field(default_factory=set)
    in_doubt: set[str] = dataclasses.field(default_factory=set)
    """A deletion was asked for and not answered: they may be there or not."""

    @property
    def acknowledged(self) -> int:
        """How many uploads and deletions were."""
        return len(self.uploaded) + len(self.deleted)

    def __str__(self) -> str:
        return f"{len(self.uploaded)} uploads and {len(self.deleted)} deletions acknowledged"

    @property
    def held(self) -> dict[str, str]:
        """What must be there."""
        gone = self.deleted | self.in_doubt
        return {media_id: hash for media_id, hash in self.uploaded.items() if media_id not in gone}


def distinct_pictures(seed: int, *, side: int = 160) -> Iterator[bytes]:
    """JPEGs that differ in every byte stream and cost next to nothing to make."""
    noise = random.Random(seed).randbytes(side * side * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(buffer, "JPEG", quality=80)
    body = buffer.getvalue()
    for number in itertools.count():
        comment = f"{seed}/{number}".encode()
        yield body[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + body[2:]


async def upload(media: Stub, data: bytes, ledger: Ledger, *, raising: bool = False) -> str | None:
    """Upload; its id if it was acknowledged, which the ledger then knows."""
    with suppress(*(() if raising else (grpc.aio.AioRpcError,))):
        answer = await media.UploadMedia(upload_request(data), timeout=CALL_SECONDS)
        ledger.uploaded[answer.media_id] = hashlib.sha256(data).hexdigest()
        return str(answer.media_id)
    return None


async def delete(media: Stub, media_id: str, ledger: Ledger) -> None:
    """Delete; the ledger knows whether that was acknowledged or is in doubt."""
    ledger.in_doubt.add(media_id)
    with suppress(grpc.aio.AioRpcError):
        await media.DeleteMedia(
            pb.DeleteMediaRequest(media_id=media_id, user_id=OWNER), timeout=CALL_SECONDS
        )
        ledger.deleted.add(media_id)
        ledger.in_doubt.discard(media_id)


async def completed(media: Stub, media_id: str) -> None:
    """Wait until its renditions are made, or the service answers no more."""
    with suppress(grpc.aio.AioRpcError):
        for _ in range(_COMPLETION_POLLS):
            known = await media.GetMedia(pb.GetMediaRequest(media_id=media_id), timeout=5)
            if known.status == pb.COMPLETED:
                return
            await asyncio.sleep(0.05)


async def keep_writing(
    mediad: Mediad, ledger: Ledger, pictures: Iterator[bytes], *, at_once: int = 6, seed: int = 1
) -> None:
    """Upload without end, and delete every fifth, until cancelled."""
    chance = random.Random(seed)

    async def write(media: Stub) -> None:
        while True:
            media_id = await upload(media, next(pictures), ledger)
            if media_id is None:
                await asyncio.sleep(0.02)
            elif chance.random() < 0.2:
                await delete(media, media_id, ledger)

    async with mediad.channel() as channel, asyncio.TaskGroup() as writers:
        for _ in range(at_once):
            writers.create_task(write(stub(channel)))
