"""Uploads variants of a picture over several connections; prints the CPU that took of its own.

Arguments: port, file, how many uploads, how many at once, a name that makes them unlike others.
Requests are made and serialised before the first is sent; answers are not looked into.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from media_proto import media_service_pb2 as pb

from benchmarks.photographs import variant
from tests.e2e.processes import upload_request

Call = Callable[..., bytes]
POLL_SECONDS = 0.05


def main() -> None:
    """Wait until everything is COMPLETED."""
    port, file, count, at_once, name = sys.argv[1:]
    base = Path(file).read_bytes()
    requests = [
        upload_request(variant(base, f"{name}-{n}")).SerializeToString() for n in range(int(count))
    ]
    cpu = time.process_time()
    with ThreadPoolExecutor(int(at_once)) as threads:
        lanes = [requests[n :: int(at_once)] for n in range(int(at_once))]
        list(threads.map(lambda lane: _upload(int(port), lane), lanes))
    print(json.dumps({"cpu_seconds": time.process_time() - cpu}))


def _upload(port: int, requests: list[bytes]) -> None:
    """One connection's uploads, one after the other; then wait until the last are COMPLETED."""
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        upload: Call = channel.unary_unary("/media.MediaService/UploadMedia")
        answers = [upload(request, timeout=120) for request in requests]
        get: Call = channel.unary_unary("/media.MediaService/GetMedia")
        for answer in answers:
            media_id = pb.UploadMediaResponse.FromString(answer).media_id
            request = pb.GetMediaRequest(media_id=media_id).SerializeToString()
            while pb.MediaResponse.FromString(get(request)).status != pb.COMPLETED:
                time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
