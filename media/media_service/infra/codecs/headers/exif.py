"""The one EXIF field that matters for pixels: which way up they are."""

from __future__ import annotations

import struct

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3


def read_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in a TIFF structure, with or without its prefix; 1 if unclear.

    Reads the first directory only, and no offsets but the one to it, so that loops and lying
    entries lead nowhere.
    """
    tiff = exif.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for at in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
