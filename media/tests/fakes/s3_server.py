"""A real S3 server for the tests, and buckets in it.

Run as a program it keeps a server up until its input ends: a process of its own, so that it can
be shared by tests whatever event loop they are in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from embedded_servers.seaweedfs import SeaweedFS, open_seaweedfs


@contextmanager
def running_seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    """An S3 server without buckets."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            assert line, "SeaweedFS did not start: see above"
            yield SeaweedFS(**json.loads(line))
        finally:
            process.stdin.close()


@functools.cache
def sync_client(server: SeaweedFS) -> Any:
    """A plain client, to look and meddle behind a store's back."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def make_bucket(server: SeaweedFS, name: str) -> str:
    """Make a bucket, and return its name."""
    sync_client(server).create_bucket(Bucket=name)
    return name


async def _serve(folder: Path) -> None:
    async with open_seaweedfs(folder) as server:
        print(json.dumps(dataclasses.asdict(server)), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
