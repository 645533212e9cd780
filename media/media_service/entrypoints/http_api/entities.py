"""What is said of a rendition beside its bytes: its headers, worked out once and remembered."""

from __future__ import annotations

import functools
import re
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import quote

from media_service.core.delivering import Elsewhere, Representation
from media_service.core.formats import Format
from media_service.core.media import Visibility
from media_service.core.recipes import PLAYLIST
from media_service.entrypoints.http_api.headers import (
    READABLE,
    SAFETY,
    VARY_ACCEPT,
    Block,
    Header,
    block,
)

_YEAR_SECONDS = 31_536_000
_REVALIDATED_SECONDS = 60
_FOREVER: Header = (b"cache-control", b"public, max-age=%d, immutable" % _YEAR_SECONDS)
_BRIEFLY: Header = (
    b"cache-control",
    b"public, max-age=%d, must-revalidate" % _REVALIDATED_SECONDS,
)

_REMEMBERED = 4096
_EXTENSIONS = {
    **{format.value: format.extension for format in Format},
    "application/json": ".json",
    PLAYLIST: ".m3u8",
}
_TEXT_EXTENSIONS = (".txt", ".csv", ".md", ".log")
"""Text keeps the one of these that it came with: all of them open as text."""
_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+")
_INERT = re.compile(r"(?:image|video|audio)/[a-z0-9.-]+")
"""Types that no browser runs; `image/svg+xml` is not among them."""
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_UNSAFE_IN_QUOTES = re.compile(r"[^ !#$&'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]")
_PLAIN_IN_EXTENDED = "!#$&+-.^_`|~"


class Entity(NamedTuple):
    """A rendition's tag and size, and its headers: for all of it, and for any part."""

    etag: bytes
    size_bytes: int
    whole: Block
    part: Block


def describe(found: Representation) -> tuple[Entity, tuple[Header, ...]]:
    """What is said of what is delivered, and the headers that only this one answer has."""
    stored, caching = found.stored, cache_control(found)
    is_lasting = caching is _FOREVER or caching is _BRIEFLY
    entity = _describe(
        stored.checksum,
        stored.size_bytes,
        stored.content_type,
        filename=found.media.filename,
        # What counts down the seconds is another every second: not worth remembering.
        caching=caching if is_lasting else None,
    )
    vary = (VARY_ACCEPT,) if found.is_negotiated else ()
    return entity, vary if is_lasting else (caching, *vary)


@functools.lru_cache(_REMEMBERED)
def _describe(
    checksum: str, size_bytes: int, content_type: str, *, filename: str, caching: Header | None
) -> Entity:
    if not _TYPE.fullmatch(content_type):
        content_type = "application/octet-stream"
    etag = b'"%s"' % checksum[:32].encode()
    headers = (
        (b"content-type", _with_charset(content_type).encode("ascii")),
        (b"etag", etag),
        (b"accept-ranges", b"bytes"),
        (b"content-disposition", content_disposition(content_type, filename).encode("ascii")),
        *SAFETY,
        *READABLE,
        *((caching,) if caching else ()),
    )
    return Entity(etag, size_bytes, block(headers, body_bytes=size_bytes), block(headers))


def _with_charset(content_type: str) -> str:
    """Text is told to be of the one charset that is taken in."""
    return f"{content_type}; charset=utf-8" if content_type == Format.TXT else content_type


def is_inert(content_type: str) -> bool:
    """Whether no browser runs content of this type, whatever is in it."""
    return content_type == PLAYLIST or bool(_INERT.fullmatch(content_type))


def content_disposition(content_type: str, filename: str) -> str:
    """How to show a content and what to call it (RFC 6266), in plain visible ASCII.

    The name ends as the type says, whatever it ended with.
    """
    kind = "inline" if is_inert(content_type) else "attachment"
    stem = _EXTENSION.sub("", filename) or "file"
    name = stem + _extension(content_type, filename)
    plain = _UNSAFE_IN_QUOTES.sub("_", name)
    value = f'{kind}; filename="{plain}"'
    if plain != name:
        extended = quote(name, safe=_PLAIN_IN_EXTENDED, errors="replace")
        value += f"; filename*=UTF-8''{extended}"
    return value


def _extension(content_type: str, filename: str) -> str:
    if content_type == Format.TXT:
        ending = "." + filename.rpartition(".")[2].lower()
        return ending if ending in _TEXT_EXTENSIONS else Format.TXT.extension
    return _EXTENSIONS.get(content_type, ".bin")


def cache_control(found: Representation) -> Header:
    """How long, and by whom, it may be kept."""
    is_public = found.media.visibility is Visibility.PUBLIC
    if found.lasting is None and is_public:
        return _FOREVER if found.is_exact else _BRIEFLY
    scope = b"public" if is_public else b"private"
    if found.is_exact:
        seconds, then = _seconds(found.lasting, _YEAR_SECONDS), b"immutable"
    else:
        seconds, then = _seconds(found.lasting, _REVALIDATED_SECONDS), b"must-revalidate"
    if not is_public:
        return (b"cache-control", b"private, max-age=%d" % seconds)
    return (b"cache-control", b"%s, max-age=%d, %s" % (scope, seconds, then))


def redirect_caching(found: Representation, elsewhere: Elsewhere) -> Header:
    """How long, and by whom, the way to the store may be kept."""
    scope = b"public" if found.media.visibility is Visibility.PUBLIC else b"private"
    return (b"cache-control", b"%s, max-age=%d" % (scope, elsewhere.lasting.total_seconds()))


def _seconds(lasting: timedelta | None, most: int) -> int:
    return most if lasting is None else min(most, int(lasting.total_seconds()))
