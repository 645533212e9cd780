"""Four unary uploads of 100 MB at once, from a process of their own."""

from __future__ import annotations

import asyncio
import sys

import grpc
from media_proto import media_service_pb2 as pb

from benchmarks.photographs import photograph
from tests.e2e.processes import MESSAGE_BYTES, stub, upload_request

MB = 1024 * 1024


async def main(port: int) -> None:
    """Upload; each its own channel, as from four callers."""
    picture = photograph(6)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(_upload(port, picture, number) for number in range(4)))


async def _upload(port: int, picture: bytes, number: int) -> None:
    data = picture + bytes(100 * MB - len(picture) - 1) + bytes([number])
    options = [("grpc.max_send_message_length", MESSAGE_BYTES)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        request = upload_request(data, purpose=pb.MESSAGE_ATTACHMENT)
        await stub(channel).UploadMedia(request, timeout=120)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
