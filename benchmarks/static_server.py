"""The reference of the delivery benchmark: one file by the same HTTP stack, and nothing more."""

from __future__ import annotations

import os
import sys
from typing import Any

import uvicorn

FILE, PORT = sys.argv[1], int(sys.argv[2])
SIZE = os.stat(FILE).st_size
HEADERS = [
    (b"content-type", b"image/jpeg"),
    (b"content-length", str(SIZE).encode()),
    (b"cache-control", b"public, max-age=31536000, immutable"),
]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Open, read and send the file."""
    descriptor = os.open(FILE, os.O_RDONLY)
    try:
        body = os.pread(descriptor, SIZE, 0)
    finally:
        os.close(descriptor)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=PORT,
        log_level="error",
        access_log=False,
        loop="uvloop",
        http="httptools",
        lifespan="off",
    )
