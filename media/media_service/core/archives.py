"""Archives: what the directory of a ZIP may say, and which format it says the file is.

Nothing is ever unpacked: this is so that whoever does so with what we deliver comes to no harm.
The sizes that a directory states are believed. They can lie, as they can to any program that
unpacks; that no two entries share bytes can't be faked.
"""

from __future__ import annotations

import dataclasses
import re
import stat
from collections.abc import Sequence
from typing import Final

from media_service.core.errors import UnsafeArchive, UnsupportedType
from media_service.core.formats import Format

MAX_ENTRIES: Final = 10_000
MAX_UNPACKED_BYTES: Final = 1024**3
MAX_RATIO: Final = 200
"""How many times its own size an archive may unpack to, beyond what is harmless anyway."""
_HARMLESS_BYTES: Final = 16 * 1024**2

_MEETS_THE_EYE = re.compile(r"[^\x00-\x1f\x7f]+")
_DRIVE = re.compile(r"[A-Za-z]:")
_ORDINARY = (0, stat.S_IFREG, stat.S_IFDIR)

_OPEN_DOCUMENTS: Final = frozenset({Format.ODT, Format.ODS, Format.ODP})
_OFFICE_FOLDERS: Final = {"word": Format.DOCX, "xl": Format.XLSX, "ppt": Format.PPTX}
_OFFICE_TYPES: Final = "[content_types].xml"
_OFFICE_MACROS: Final = re.compile(r".*/vbaproject\.bin|.*/vbadata\.xml|xl/macrosheets/.*")
_OPEN_DOCUMENT_MACROS: Final = re.compile(r"(?:basic|scripts)/.+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a directory. `mode` is a Unix file's, 0 if there is none."""

    name: str
    unpacked_bytes: int
    mode: int = 0


def check_entries(entries: Sequence[Entry], *, size_bytes: int) -> None:
    """Raise UnsafeArchive if it would unpack to what it must not; `size_bytes` is the file's."""
    if len(entries) > MAX_ENTRIES or len({entry.name for entry in entries}) < len(entries):
        raise UnsafeArchive
    unpacked = sum(entry.unpacked_bytes for entry in entries)
    if unpacked > min(MAX_UNPACKED_BYTES, max(_HARMLESS_BYTES, size_bytes * MAX_RATIO)):
        raise UnsafeArchive
    if not all(_is_ordinary(entry) for entry in entries):
        raise UnsafeArchive


def format_of(entries: Sequence[Entry], *, sniffed: Format) -> Format:
    """What the archive is. Raises UnsupportedType for an office document with macros.

    OpenDocument's name is in the first entry's bytes, which `sniffed` was told by.
    """
    names = [entry.name.lower() for entry in entries]
    if sniffed in _OPEN_DOCUMENTS:
        return _without(_OPEN_DOCUMENT_MACROS, names, format=sniffed)
    if _OFFICE_TYPES not in names:
        return Format.ZIP
    folders = {name.partition("/")[0] for name in names if "/" in name}
    found = [format for folder, format in _OFFICE_FOLDERS.items() if folder in folders]
    return _without(_OFFICE_MACROS, names, format=found[0] if len(found) == 1 else Format.ZIP)


def _without(macros: re.Pattern[str], names: Sequence[str], *, format: Format) -> Format:
    if any(macros.fullmatch(name) for name in names):
        raise UnsupportedType
    return format


def _is_ordinary(entry: Entry) -> bool:
    """Whether it is a file or a folder, and lies within the folder it is unpacked to."""
    name = entry.name.replace("\\", "/")
    is_within = not name.startswith("/") and ".." not in name.split("/") and not _DRIVE.match(name)
    is_named = bool(_MEETS_THE_EYE.fullmatch(name))
    return is_named and is_within and stat.S_IFMT(entry.mode) in _ORDINARY
