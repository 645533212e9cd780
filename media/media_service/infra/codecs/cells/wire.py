"""What a cell and its parent say to each other: JSON with its length before it, and open files.

Files travel as descriptors (SCM_RIGHTS), so that a cell needs no file system.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

Message = dict[str, Any]
SourceId = tuple[int, int, int, int]
"""A file's device, inode, size and time of change of its bytes: equal while it is the same."""

LENGTH_BYTES: Final = 4
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_FILES: Final = 32


def source_id(file: int | Path) -> SourceId:
    """The identity of a file, whatever its name. Raises OSError."""
    found = os.stat(file)  # noqa: PTH116 - of a descriptor, too
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    payload = json.dumps(message).encode()
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def unpack(payload: bytes) -> Message:
    """The message of bytes without their length. Raises ValueError for what is none."""
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def length_of(prefix: bytes) -> int:
    """How long the payload is. Raises ValueError for more than may be."""
    length = int.from_bytes(prefix, "big")
    if length > MAX_MESSAGE_BYTES:
        raise ValueError("message too long")
    return length


def receive(link: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for the next message and its files, which the caller closes; None at the end."""
    start, files, _, _ = socket.recv_fds(link, LENGTH_BYTES, MAX_FILES)
    try:
        prefix = start + _exactly(link, LENGTH_BYTES - len(start)) if start else b""
        if len(prefix) == LENGTH_BYTES:
            length = length_of(prefix)
            payload = _exactly(link, length)
            if len(payload) == length:
                return unpack(payload), files
    except ValueError:
        close_all(files)
        raise
    close_all(files)
    return None


def _exactly(link: socket.socket, length: int) -> bytes:
    """So many bytes, or fewer at the end."""
    received = b""
    while len(received) < length and (more := link.recv(length - len(received))):
        received += more
    return received


def close_all(files: Sequence[int]) -> None:
    """Close the descriptors."""
    for file in files:
        os.close(file)
