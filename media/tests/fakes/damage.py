"""Files with something wrong: cut off, or with bits turned over; always the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterable


def prefixes(content: bytes, *, count: int) -> Iterable[bytes]:
    """So many of the content's beginnings, evenly spread, none of them whole."""
    return (content[: 1 + i * (len(content) - 2) // count] for i in range(count))


def bit_flips(content: bytes, *, count: int, seed: int) -> Iterable[bytes]:
    """The content with one bit wrong, each time another."""
    chance = random.Random(seed)
    return (_flipped(content, [chance.randrange(len(content) * 8)]) for _ in range(count))


def flipped(content: bytes, *, seed: int) -> bytes:
    """The content with one to eight bits wrong (T09)."""
    chance = random.Random(seed)
    bits = chance.randint(1, 8)
    return _flipped(content, [chance.randrange(len(content) * 8) for _ in range(bits)])


def _flipped(content: bytes, positions: Iterable[int]) -> bytes:
    changed = bytearray(content)
    for position in positions:
        changed[position // 8] ^= 1 << position % 8
    return bytes(changed)
