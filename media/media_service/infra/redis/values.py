"""Media as Redis holds them: a header, a checksum, JSON.

The header names the shape of what follows, so that in a rolling upgrade neither version reads
what the other wrote. It stands in the value and not in the key, so that dropping a key drops it
for both. The checksum tells values that are ours and whole from all others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, get_args

import orjson

from media_service.core.media import (
    Media,
    MediaId,
    MediaType,
    ProcessingStatus,
    Purpose,
    Visibility,
)
from media_service.core.recipes import Encoding, Recipe, Shape, SoundEncoding
from media_service.core.records import options_from_record, recipe_from_record, rendition_to_record
from media_service.core.renditions import ProcessingOptions, Rendition, Role, Stage

_FORMAT = 1
"""Raised when equal fields come to mean something else; other changes show in the header."""

_CHECKSUM_BYTES = 4
_MEDIA_FIELDS = tuple(field.name for field in dataclasses.fields(Media))
_NOT_THERE: Final = b"mediad:not-there"


class Unreadable(Exception):
    """A value that this version did not write, or that is damaged."""


def encoded(media: Media | None) -> bytes:
    """The value for a medium, or for an id that is known not to be there."""
    if media is None:
        return _NOT_THERE
    renditions = [rendition_to_record(rendition) for rendition in media.renditions]
    fields = {field: getattr(media, field) for field in _MEDIA_FIELDS}
    body = orjson.dumps(fields | {"renditions": renditions})
    return _HEADER + _checksum(body) + body


def decoded(value: bytes, media_id: MediaId) -> Media | None:
    """What was encoded under this id. Raises Unreadable."""
    if value == _NOT_THERE:
        return None
    checksum, body = value[len(_HEADER) : _BODY_AT], value[_BODY_AT:]
    if not value.startswith(_HEADER) or _checksum(body) != checksum:
        raise Unreadable
    media = _media(orjson.loads(body))
    if media.id != media_id:
        raise Unreadable
    return media


def _media(record: dict[str, Any]) -> Media:
    options = record["options"]
    rebuilt: dict[str, Any] = {
        "purpose": Purpose(record["purpose"]),
        "media_type": MediaType(record["media_type"]),
        "visibility": Visibility(record["visibility"]),
        "status": ProcessingStatus(record["status"]),
        "options": None if options is None else options_from_record(options),
        "renditions": tuple(_rendition(each) for each in record["renditions"]),
        "created_at": _moment(record["created_at"]),
        "updated_at": _moment(record["updated_at"]),
        "expires_at": _moment(record["expires_at"]),
        "deleted_at": _moment(record["deleted_at"]),
    }
    return Media(**(record | rebuilt))


def _rendition(record: dict[str, Any]) -> Rendition:
    recipe = _recipe(orjson.dumps(record["recipe"]))
    stage, role = Stage(record["stage"]), Role(record["role"])
    return Rendition(**(record | {"recipe": recipe, "stage": stage, "role": role}))


@lru_cache(maxsize=1000)
def _recipe(record: bytes) -> Recipe:
    """The recipe: there are few, and they make up most of every medium."""
    return recipe_from_record(orjson.loads(record))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big")


def _shape() -> str:
    """Every field with its type, and every member of the enums among them."""
    things = (Media, Rendition, ProcessingOptions, *get_args(Recipe))
    fields = [(f.name, str(f.type)) for thing in things for f in dataclasses.fields(thing)]
    enums = (MediaType, Purpose, Visibility, ProcessingStatus, Shape, Encoding, SoundEncoding)
    return repr((_FORMAT, fields, [member.value for enum in enums for member in enum]))


_HEADER: Final = b"mediad:" + hashlib.sha256(_shape().encode()).digest()[:8]
_BODY_AT: Final = len(_HEADER) + _CHECKSUM_BYTES
