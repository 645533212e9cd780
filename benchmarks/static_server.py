"""The references of the delivery benchmark: one file by the same HTTP stack, in two ways.

`static` is what the stack has for the purpose, Starlette's StaticFiles; `bare` the least that can
serve a file: an ASGI function that opens, reads and sends it, with three headers.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import uvicorn
from starlette.staticfiles import StaticFiles

FILE, PORT, KIND = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SIZE = os.stat(FILE).st_size
HEADERS = [
    (b"content-type", b"image/jpeg"),
    (b"content-length", str(SIZE).encode()),
    (b"cache-control", b"public, max-age=31536000, immutable"),
]


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
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
        bare if KIND == "bare" else StaticFiles(directory=os.path.dirname(FILE)),
        port=PORT,
        log_level="error",
        access_log=False,
        loop="uvloop",
        http="httptools",
        lifespan="off",
    )
