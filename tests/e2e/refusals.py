"""What a refusal says, and what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


async def refused(call: Awaitable[object]) -> tuple[str, str]:
    """The status and the stable code a call ended with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, code_of(error)
    raise AssertionError("it was not refused")


def code_of(error: grpc.aio.AioRpcError) -> str:
    """The stable code in a refusal's details; empty if the transport refused."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def staged_files(folder: Path) -> list[Path]:
    """What lies in staging but the claims of living processes."""
    staging = folder / "data" / "blobs" / "staging"
    return [f for f in staging.rglob("*") if f.is_file() and "lock" not in f.name]


async def nothing_stays_staged(folder: Path) -> None:
    """Wait until nothing lies in staging: jobs of earlier pictures stage their renditions."""
    async with asyncio.timeout(10):
        while staged_files(folder):
            await asyncio.sleep(0.02)


def stored_files(folder: Path) -> list[Path]:
    """Originals and renditions on disk."""
    blobs = folder / "data" / "blobs"
    return [
        f for kind in ("originals", "renditions") for f in (blobs / kind).rglob("*") if f.is_file()
    ]
