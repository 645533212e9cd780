"""Which picture format a reader gets where the URL leaves it open (RFC 9110, section 12.5.1).

There are three outcomes, whatever is said: what a reader names without refusing it, the smallest
first; else JPEG, which everybody takes. A wildcard names nothing: old browsers send it too.
"""

from __future__ import annotations

import re
from typing import Final

from media_service.core.recipes import Encoding

_MOST_BYTES: Final = 4096
_PREFERRED: Final = (Encoding.AVIF, Encoding.WEBP)
_REFUSED = re.compile(rb"q=0(?:\.0{0,3})?")


def encoding_for(accept: bytes | None) -> Encoding:
    """What to send to a reader who says this of what they take."""
    if not accept or len(accept) > _MOST_BYTES:
        return Encoding.JPEG
    named = {kind for part in accept.lower().split(b",") if (kind := _taken(part))}
    for encoding in _PREFERRED:
        if encoding.value.encode() in named:
            return encoding
    return Encoding.JPEG


def _taken(part: bytes) -> bytes:
    """The type that is named, unless it is refused."""
    kind, *parameters = (piece.strip() for piece in part.split(b";"))
    return b"" if any(_REFUSED.fullmatch(piece) for piece in parameters) else kind
