"""The directory of a ZIP file (APPNOTE 6.3), read strictly: who reads it otherwise sees the same.

Where programs are known to differ in what they take for a file's directory or entries (two ends, a
prefix, entries over each other, local headers that say otherwise), the file is refused.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Final

from media_service.core.archives import MAX_ENTRIES, Entry
from media_service.core.errors import BrokenFile, UnsafeArchive
from media_service.infra.codecs.headers.limits import Buffer

_END: Final = struct.Struct("<4s4H2LH")
_END_64_LOCATOR: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES: Final = 0xFFFF
_MAX_DIRECTORY_BYTES: Final = 16 * 1024**2
_IN_ZIP_64_16, _IN_ZIP_64_32 = 0xFFFF, 0xFFFF_FFFF
_ZIP_64_FIELD: Final = 1
_SIZES_FOLLOW, _IS_UTF_8, _IS_ENCRYPTED = 0x8, 0x800, 0x1
_STORED: Final = 0
_UNIX_HOSTS: Final = (3, 19)


@dataclasses.dataclass(frozen=True, slots=True)
class _End:
    entries: int
    size_bytes: int
    start: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Central:
    entry: Entry
    raw_name: bytes
    flags: int
    packed_bytes: int
    start: int


def read_directory(data: Buffer) -> list[Entry]:
    """Every entry. Raises BrokenFile, UnsafeArchive."""
    end = _read_end(data)
    if end.entries > MAX_ENTRIES or end.size_bytes > _MAX_DIRECTORY_BYTES:
        raise UnsafeArchive
    try:
        found = list(_read_central(data[end.start : end.start + end.size_bytes], end.entries))
        _check_places(data, found, end=end.start)
    except struct.error as cause:
        raise BrokenFile from cause
    return [each.entry for each in found]


def _read_end(data: Buffer) -> _End:
    tail = data[max(0, len(data) - _END.size - _MAX_COMMENT_BYTES) :]
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise BrokenFile
    _, disk, first_disk, here, entries, size_bytes, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise BrokenFile
    place = len(data) - len(tail) + at
    _check_only_end(tail, at)
    if _IN_ZIP_64_16 in (here, entries) or _IN_ZIP_64_32 in (size_bytes, start):
        return _read_end_64(data, place)
    if disk or first_disk or here != entries:
        raise UnsafeArchive
    return _ending_at(place, _End(entries, size_bytes, start))


def _check_only_end(tail: bytes, last: int) -> None:
    """Raise UnsafeArchive if something before it could be the end, with the rest as its comment."""
    at = -1
    while (at := tail.find(b"PK\5\6", at + 1, last)) >= 0:
        comment = int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little")
        if at + _END.size + comment == len(tail):
            raise UnsafeArchive


def _read_end_64(data: Buffer, end: int) -> _End:
    at = end - _END_64_LOCATOR.size
    if at < 0:
        raise BrokenFile
    mark, disk, place, _ = _END_64_LOCATOR.unpack(data[at:end])
    if mark != b"PK\6\7" or disk or place + _END_64.size > at:
        raise BrokenFile
    fields = _END_64.unpack(data[place : place + _END_64.size])
    mark, _, _, _, disk, first_disk, here, entries, size_bytes, start = fields
    if mark != b"PK\6\6" or disk or first_disk or here != entries:
        raise BrokenFile
    return _ending_at(place, _End(entries, size_bytes, start))


def _ending_at(place: int, end: _End) -> _End:
    """The same, if the directory lies right before this place."""
    if end.start + end.size_bytes != place:
        raise BrokenFile
    return end


def _read_central(directory: bytes, count: int) -> Iterator[_Central]:
    at = 0
    for _ in range(count):
        fields = _CENTRAL.unpack_from(directory, at)
        mark, version, _, flags, method, _, _, _, packed, unpacked = fields[:10]
        name_bytes, extra_bytes, comment_bytes, _, _, attributes, start = fields[10:]
        names_at = at + _CENTRAL.size
        raw_name = directory[names_at : names_at + name_bytes]
        extra = directory[names_at + name_bytes : names_at + name_bytes + extra_bytes]
        at = names_at + name_bytes + extra_bytes + comment_bytes
        if mark != b"PK\1\2" or at > len(directory):
            raise BrokenFile
        unpacked, packed, start = _widened(extra, unpacked, packed, start)
        if method == _STORED and not flags & _IS_ENCRYPTED and packed != unpacked:
            raise UnsafeArchive
        mode = attributes >> 16 if version >> 8 in _UNIX_HOSTS else 0
        entry = Entry(name=_name(raw_name, flags), unpacked_bytes=unpacked, mode=mode)
        yield _Central(
            entry=entry, raw_name=raw_name, flags=flags, packed_bytes=packed, start=start
        )
    if at != len(directory):
        raise BrokenFile


def _widened(extra: bytes, *numbers: int) -> tuple[int, int, int]:
    """Those that did not fit into their fields are in an extra one, in this order."""
    field = _extra_field(extra)
    wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
    found = [next(wide, -1) if number == _IN_ZIP_64_32 else number for number in numbers]
    if min(found) < 0:
        raise BrokenFile
    return found[0], found[1], found[2]


def _extra_field(extra: bytes) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP_64_FIELD:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _name(raw: bytes, flags: int) -> str:
    """Old names are of a code page that a cell can't load; what matters of them is ASCII."""
    try:
        return raw.decode("utf-8" if flags & _IS_UTF_8 else "latin-1")
    except UnicodeDecodeError as cause:
        raise BrokenFile from cause


def _check_places(data: Buffer, found: list[_Central], *, end: int) -> None:
    """Raise UnsafeArchive if entries share bytes, or call themselves otherwise where they lie."""
    free_from = 0
    for each in sorted(found, key=lambda each: each.start):
        if each.start < free_from:
            raise UnsafeArchive
        free_from = _end_of(data, each)
        if free_from > end:
            raise BrokenFile


def _end_of(data: Buffer, central: _Central) -> int:
    names_at = central.start + _LOCAL.size
    fields = _LOCAL.unpack(data[central.start : names_at])
    mark, _, flags, _, _, _, _, packed, _, name_bytes, extra_bytes = fields
    if mark != b"PK\3\4":
        raise BrokenFile
    is_told = not flags & _SIZES_FOLLOW and packed != _IN_ZIP_64_32
    if data[names_at : names_at + name_bytes] != central.raw_name:
        raise UnsafeArchive
    if is_told and packed != central.packed_bytes:
        raise UnsafeArchive
    return central.packed_bytes + int(names_at + name_bytes + extra_bytes)
