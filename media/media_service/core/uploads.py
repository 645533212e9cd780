"""Uploads: what a caller says of a file before its bytes arrive, checked and made safe."""

from __future__ import annotations

import dataclasses
import re
import unicodedata

from media_service.core.errors import (
    InvalidChecksum,
    InvalidFilename,
    InvalidIdempotencyKey,
    InvalidSize,
    InvalidUserId,
)
from media_service.core.formats import parse_content_type
from media_service.core.media import Purpose, UserId, Visibility
from media_service.core.renditions import ProcessingOptions

MAX_UNARY_BYTES = 100 * 1024 * 1024
MAX_CHUNK_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARACTERS = 1024
_KEPT_NAME_BYTES = 200
_KEPT_EXTENSION_BYTES = 16
_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is said of a file to come. Build it with `declare`, which checks it."""

    owner: UserId
    purpose: Purpose
    filename: str
    content_type: str
    options: ProcessingOptions | None
    idempotency_key: str
    visibility: Visibility | None
    sha256: str
    size_bytes: int | None


def declare(declared: Declared) -> Declared:
    """The same, with names made safe. Raises the error of the first field that can't be right."""
    if declared.idempotency_key and not _VISIBLE.fullmatch(declared.idempotency_key):
        raise InvalidIdempotencyKey
    if declared.sha256 and not _SHA256.fullmatch(declared.sha256):
        raise InvalidChecksum
    if declared.size_bytes is not None and declared.size_bytes <= 0:
        raise InvalidSize
    return dataclasses.replace(
        declared,
        owner=parse_user_id(declared.owner),
        filename=safe_filename(declared.filename),
        content_type=parse_content_type(declared.content_type),
        sha256=declared.sha256.lower(),
    )


def parse_user_id(text: str) -> UserId:
    """The user id. Raises InvalidUserId unless it is 1 to 128 visible ASCII characters."""
    if not _VISIBLE.fullmatch(text):
        raise InvalidUserId
    return UserId(text)


def safe_filename(text: str) -> str:
    """The last part of a name, without what could hide, break or escape; `file` if none is left.

    Control, format (right-to-left marks) and private-use characters go, so do separators of any
    system; the form of Unicode is kept as it came. Raises InvalidFilename above 1024 characters.
    """
    if len(text) > MAX_NAME_CHARACTERS:
        raise InvalidFilename
    visible = "".join(c for c in text if unicodedata.category(c)[0] not in "CZ" or c == " ")
    name = re.split(r"[/\\:]", visible)[-1].strip(" .")
    return _shortened(name).rstrip(" .") or "file"


def _shortened(name: str) -> str:
    """The name within 200 bytes of UTF-8, its extension kept."""
    encoded = name.encode()
    if len(encoded) <= _KEPT_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = (dot + extension).encode()
    if not stem or len(tail) > _KEPT_EXTENSION_BYTES:
        stem, tail = name, b""
    return stem.encode()[: _KEPT_NAME_BYTES - len(tail)].decode(errors="ignore") + tail.decode()
