"""ISO base media files (MP4, MOV) as boxes: made, found, changed."""

from __future__ import annotations


def box(kind: bytes, content: bytes) -> bytes:
    """One box."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def span_of(file: bytes, *path: bytes) -> tuple[int, int]:
    """Where the box at this path begins and ends, its header included; the first of its kind."""
    start, end = 0, len(file)
    for kind in path:
        start, end = _child(file, start, end, kind)
        inside, outer = start + 8, (start, end)
        start = inside
    return outer


def _child(file: bytes, start: int, end: int, kind: bytes) -> tuple[int, int]:
    at = start
    while at + 8 <= end:
        size = int.from_bytes(file[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(file[at + 8 : at + 16], "big")
        if file[at + 4 : at + 8] == kind:
            return at, at + size
        at += size or end
    raise LookupError(kind)


def appended_to(file: bytes, kind: bytes, content: bytes) -> bytes:
    """The file with a box put at the end of another at its top; nothing after it may be located."""
    start, end = span_of(file, kind)
    grown = (end - start + len(content)).to_bytes(4, "big")
    return file[:start] + grown + file[start + 4 : end] + content + file[end:]


def overwritten(file: bytes, *path: bytes, at: int, with_: bytes) -> bytes:
    """The file with bytes of a box replaced, counted from the end of its header."""
    start = span_of(file, *path)[0] + 8 + at
    return file[:start] + with_ + file[start + len(with_) :]


def replaced(file: bytes, *path: bytes, with_: bytes) -> bytes:
    """The file with a box replaced by others, which its parents grow with; offsets stay as told."""
    start, end = span_of(file, *path)
    grown = file[:start] + with_ + file[end:]
    for depth in range(1, len(path)):
        at, outer_end = span_of(file, *path[:depth])
        size = outer_end - at + len(with_) - (end - start)
        grown = grown[:at] + size.to_bytes(4, "big") + grown[at + 4 :]
    return grown
