"""Usernames: what people call themselves, in one spelling.

A name is normalised (NFKC, then case folded), so that `Ada`, `ada` and `ａｄａ` are one
person. What remains has 3 to 32 characters of a-z, 0-9 and . _ -, and begins and ends with a letter
or digit: nothing that looks like another name, or could be taken for a path or an address.
"""

from __future__ import annotations

import re
import unicodedata

from user_service.errors import InvalidUsername

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,30}[a-z0-9]")
_MAX_TYPED_CHARACTERS = 128


def normalised(typed: str) -> str:
    """The one spelling of a name. Raises InvalidUsername."""
    if len(typed) > _MAX_TYPED_CHARACTERS:
        raise InvalidUsername
    folded = unicodedata.normalize("NFKC", typed).casefold()
    if not _USERNAME.fullmatch(folded):
        raise InvalidUsername
    return folded
