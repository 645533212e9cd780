"""Opens a server in the folder it is told, prints the URL, holds it until standard input closes."""

import asyncio
import logging
import sys
from pathlib import Path

from embedded_servers.postgres import open_postgres
from embedded_servers.valkey import open_valkey


async def main(kind: str, folder: Path) -> None:
    opened = open_postgres(folder) if kind == "postgres" else open_valkey(folder)
    async with opened as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
