"""Opens a server in the folder it is told, prints its URL, holds it until standard input closes."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from embedded_servers.postgres import open_postgres
from embedded_servers.seaweedfs import open_seaweedfs
from embedded_servers.valkey import open_valkey

_OPEN: dict[str, Callable[[Path], AbstractAsyncContextManager[object]]] = {
    "postgres": open_postgres,
    "seaweedfs": open_seaweedfs,
    "valkey": open_valkey,
}


async def main(kind: str, folder: Path) -> None:
    opened = _OPEN[kind](folder)
    async with opened as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
