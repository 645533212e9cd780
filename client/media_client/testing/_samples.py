"""Pictures for tests, without an image library."""

from __future__ import annotations

import random
import struct
import zlib


def sample_picture(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A PNG of this size that the real service takes, too; other seeds give other bytes.

    >>> sample_picture() == sample_picture()
    True
    >>> sample_picture() == sample_picture(seed=1)
    False
    """
    colours = random.Random(f"{seed} {width} {height}")
    left, right = colours.randbytes(3), colours.randbytes(3)
    edge = width // 2
    row = b"\0" + left * edge + right * (width - edge)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)
