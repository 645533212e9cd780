"""Text, looked at from its first byte to its last."""

from __future__ import annotations

import codecs

from media_service.core.errors import BrokenFile
from media_service.core.sniffing import is_plain
from media_service.infra.codecs.headers.limits import Buffer

_PIECE_BYTES = 256 * 1024


def check_text(data: Buffer) -> None:
    """Raise BrokenFile unless all of it is UTF-8 without control characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            decoder.decode(piece)
            if not is_plain(piece):
                raise BrokenFile
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as cause:
        raise BrokenFile from cause
