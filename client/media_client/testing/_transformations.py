"""What the double knows of transformations: which there are, by their one spelling."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from media_client import errors

UNENDING = datetime(2100, 1, 1, tzinfo=UTC)
"""When the URLs of transformations of public media end."""

_SIDES = frozenset({64, 128, 256, 320, 480, 640, 800, 1080, 1280, 1920, 2048})
_SHARE = r"(?:0|1|0\.[0-9]?[1-9])"
_SPELLING = re.compile(
    r"(?P<operation>fit|fill|crop):(?P<width>[1-9][0-9]*):(?P<height>[1-9][0-9]*)"
    rf"(?:,focus:(?P<focus>{_SHARE}:{_SHARE}))?"
    r"(?:,q:(?P<quality>[1-9][0-9]?|100))?(?:\.(?:jpg|webp|avif))?"
)


def version_of(spelled: str) -> str:
    """What stands as `v` in a transformation's URL. Raises InvalidTransformation."""
    match = _SPELLING.fullmatch(spelled)
    if match is None or not {int(match["width"]), int(match["height"])} <= _SIDES:
        raise errors.InvalidTransformation
    is_needless = match["focus"] == "0.5:0.5" or match["quality"] == "85"
    if is_needless or (match["focus"] and match["operation"] != "crop"):
        raise errors.InvalidTransformation
    return hashlib.sha256(spelled.encode()).hexdigest()[:10]
