"""What a URL asks for: parsed once, from its raw bytes, and strictly.

A signed URL works in exactly the form it was given out in. So nothing is decoded or normalised
here: whatever is spelled otherwise is refused, and no other layer reads the URL again.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from media_service.core.access import Signature
from media_service.core.errors import (
    InvalidMediaId,
    InvalidRequest,
    InvalidSignature,
    InvalidTransformation,
    NotFound,
)
from media_service.core.media import MediaId
from media_service.core.transformations import Transformation, parse_transformation

PREFIX = b"/media/"
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PATH = re.compile(rb"/media/(%s)/([A-Za-z0-9_-]{1,64})" % _ID.pattern)
_TRANSFORMED = re.compile(rb"/media/(%s)/([^/:]*:.*)" % _ID.pattern, re.DOTALL)
_MOST_SPELLED_BYTES = 64
_TWO_SEGMENTS = re.compile(rb"/media/([^/]+)/[^/]+")
_ONLY_VERSION = re.compile(rb"v=([0-9A-Za-z]{1,64})")
_VERSION = re.compile(rb"[0-9A-Za-z]{1,64}")
_EXPIRES = re.compile(rb"[1-9][0-9]{0,11}")
_KEY_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_SIGNATURE = re.compile(rb"[A-Za-z0-9_-]{43}")
_SIGNED = re.compile(rb"[?&;](?:exp|kid|sig)(?:[=&;]|$)")

_Parameter = tuple[bytes, bytes]


class Target(NamedTuple):
    """What a delivery URL names: a rendition, or a transformation by its spelling."""

    media_id: MediaId
    rendition: str
    version: str
    signature: Signature | None
    transformation: Transformation | None = None


def parse_target(raw_path: bytes, query: bytes) -> Target:
    """What the URL names.

    Raises InvalidSignature for anything odd about a URL that seems to be signed, and otherwise
    InvalidMediaId, InvalidTransformation, NotFound or InvalidRequest.
    """
    path = _PATH.fullmatch(raw_path)
    if path is None:
        transformed = _TRANSFORMED.fullmatch(raw_path)
        if transformed:
            return _parse_transformed(transformed[1], transformed[2], query)
        raise _unlike_ours(raw_path, query)
    media_id, rendition = path.groups()
    version, signature = _parse_query(query) if query else ("", None)
    return Target(MediaId(media_id.decode()), rendition.decode(), version, signature)


def _parse_transformed(media_id: bytes, spelled: bytes, query: bytes) -> Target:
    version, signature = _parse_query(query) if query else ("", None)
    try:
        text = spelled[: _MOST_SPELLED_BYTES + 1].decode("ascii")
        transformation = parse_transformation(text)
    except (InvalidTransformation, UnicodeDecodeError):
        raise (InvalidSignature if signature else InvalidTransformation) from None
    return Target(MediaId(media_id.decode()), text, version, signature, transformation)


def seems_signed(raw_path: bytes, query: bytes) -> bool:
    """Whether somebody presents a signature here, however it is spelled."""
    return _SIGNED.search(unquote_to_bytes(raw_path + b"?" + query).lower()) is not None


def _unlike_ours(raw_path: bytes, query: bytes) -> Exception:
    if seems_signed(raw_path, query):
        return InvalidSignature()
    segments = _TWO_SEGMENTS.fullmatch(raw_path)
    if segments is None or _ID.fullmatch(segments[1]):
        return NotFound()
    return InvalidMediaId()


def _parse_query(query: bytes) -> tuple[str, Signature | None]:
    only_version = _ONLY_VERSION.fullmatch(query)
    if only_version:
        return only_version[1].decode(), None
    parameters: list[_Parameter] = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        parameters.append((name, value))
    if seems_signed(b"", query):
        return _parse_signed(parameters)
    return _parse_unsigned(parameters), None


def _parse_signed(parameters: list[_Parameter]) -> tuple[str, Signature]:
    """Version and signature. Raises InvalidSignature unless each is there, once, to the letter."""
    values = dict(parameters)
    if len(parameters) != 4 or values.keys() != {b"v", b"exp", b"kid", b"sig"}:
        raise InvalidSignature
    version = _VERSION.fullmatch(values[b"v"])
    expires = _EXPIRES.fullmatch(values[b"exp"])
    key_id = _KEY_ID.fullmatch(values[b"kid"])
    signature = _SIGNATURE.fullmatch(values[b"sig"])
    if not (version and expires and key_id and signature):
        raise InvalidSignature
    return version[0].decode(), Signature(
        expires=int(expires[0]), key_id=key_id[0].decode(), signature=signature[0].decode()
    )


def _parse_unsigned(parameters: list[_Parameter]) -> str:
    """The version, empty if none is named. What others append to links is not our business.

    Raises InvalidRequest for two versions, or one that is none.
    """
    versions = [value for name, value in parameters if name == b"v"]
    if not versions or versions == [b""]:
        return ""
    if len(versions) > 1 or not _VERSION.fullmatch(versions[0]):
        raise InvalidRequest
    return versions[0].decode()
