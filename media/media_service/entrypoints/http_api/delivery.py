"""Delivery: the bytes of renditions over HTTP.

This is the path that carries the traffic, so it is plain ASGI, and what can be known before is
not worked out again for each request.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Mapping
from http import HTTPStatus

from starlette.types import Receive, Scope

from media_service.core.delivering import Delivering, Representation
from media_service.core.media import Sha256
from media_service.core.ports import OpenBlob
from media_service.core.recipes import PLAYLIST
from media_service.core.transforming import Transforming
from media_service.entrypoints.http_api.conditionals import may_be_continued, none_match
from media_service.entrypoints.http_api.entities import (
    Entity,
    content_disposition,
    describe,
    is_inert,
    redirect_caching,
)
from media_service.entrypoints.http_api.errors import Refused, range_not_satisfiable
from media_service.entrypoints.http_api.exchange import Exchange
from media_service.entrypoints.http_api.headers import (
    PREFLIGHT,
    READABLE,
    SAFETY,
    VARY_ACCEPT,
    block,
    content_length,
)
from media_service.entrypoints.http_api.negotiation import encoding_for
from media_service.entrypoints.http_api.ranges import (
    ByteRange,
    RangeNotSatisfiable,
    parse_range,
)
from media_service.entrypoints.http_api.targets import Target, parse_target

_OK, _NO_CONTENT, _PARTIAL, _FOUND, _NOT_MODIFIED = (
    int(HTTPStatus.OK),
    int(HTTPStatus.NO_CONTENT),
    int(HTTPStatus.PARTIAL_CONTENT),
    int(HTTPStatus.FOUND),
    int(HTTPStatus.NOT_MODIFIED),
)
_REDIRECTION = block((*SAFETY, *READABLE), body_bytes=0)
_PREFLIGHT = block((*SAFETY, *PREFLIGHT))
_PREFLIGHT_METHOD = b"access-control-request-method"
_WATCHED_BYTES = 256 * 1024
"""Above this a body goes out in several pieces, and it pays to notice a reader who leaves."""

RequestHeaders = Mapping[bytes, bytes]


class CutShort(Exception):
    """The store gave fewer bytes, or more, than it said there are."""


class DeliveryRoute:
    """Answers GET and HEAD for `/media/{media_id}/{rendition or transformation}`.

    `redirects`: readers are sent to the store where they can be.
    """

    def __init__(
        self, delivering: Delivering, transforming: Transforming, *, redirects: bool = False
    ) -> None:
        self._delivering = delivering
        self._transforming = transforming
        self._redirects = redirects

    async def answer(
        self, scope: Scope, receive: Receive, *, exchange: Exchange, headers: RequestHeaders
    ) -> None:
        """Answer the request that has these headers.

        Raises what `parse_target`, `Delivering.find`, `Transforming.find` and `Delivering.open`
        raise; Refused.
        """
        target = parse_target(scope["raw_path"], scope["query_string"])
        found = await self._find(target, headers)
        playlist = None
        if found.stored.content_type == PLAYLIST:
            playlist = await self._delivering.playlist(found)
            found = _of_content(found, playlist)
        entity, own = describe(found)
        if_none_match = headers.get(b"if-none-match")
        if if_none_match is not None and not none_match(if_none_match, etag=entity.etag):
            exchange.start(_NOT_MODIFIED, entity.part, *own)
            await exchange.body()
        elif scope["method"] == "HEAD":
            exchange.start(_OK, entity.whole, *own)
            await exchange.body()
        elif playlist is not None:
            start, length = _begin(found, exchange=exchange, headers=headers)
            await exchange.body(playlist[start : start + length])
        elif not (self._redirects and await self._redirect(found, exchange)):
            await self._send(found, receive, exchange=exchange, headers=headers)

    async def _find(self, target: Target, headers: RequestHeaders) -> Representation:
        if target.transformation is None:
            return await self._delivering.find(
                target.media_id,
                target.rendition,
                version=target.version,
                signature=target.signature,
            )
        return await self._transforming.find(
            target.media_id,
            target.transformation,
            version=target.version,
            signature=target.signature,
            encoding=encoding_for(headers.get(b"accept")),
        )

    async def _redirect(self, found: Representation, exchange: Exchange) -> bool:
        """Send the reader to the store; whether that was possible.

        Only for types that no browser runs, because the store sends none of our safety headers.
        """
        content_type = found.stored.content_type
        if not is_inert(content_type):
            return False
        disposition = content_disposition(content_type, found.media.filename)
        elsewhere = await self._delivering.elsewhere(found, disposition=disposition)
        if elsewhere is None:
            return False
        location = (b"location", elsewhere.url.encode("ascii"))
        caching = redirect_caching(found, elsewhere)
        vary = (VARY_ACCEPT,) if found.is_negotiated else ()
        exchange.start(_FOUND, _REDIRECTION, location, caching, *vary)
        await exchange.body()
        return True

    async def _send(
        self,
        found: Representation,
        receive: Receive,
        *,
        exchange: Exchange,
        headers: RequestHeaders,
    ) -> None:
        async with self._delivering.open(found) as (found, opened):
            part = _begin(found, exchange=exchange, headers=headers)
            at_hand = opened.at_hand(*part)
            if at_hand is not None:
                await exchange.body(at_hand)
            elif part.length <= _WATCHED_BYTES:
                await _send_pieces(opened, part, exchange)
            else:
                await _send_watching(opened, part, exchange, receive)


def is_preflight(method: str, headers: RequestHeaders) -> bool:
    """Whether a browser asks what a page of another origin may send here."""
    return method == "OPTIONS" and _PREFLIGHT_METHOD in headers


async def answer_preflight(exchange: Exchange) -> None:
    """Tell what may be sent, whether or not there is anything under the URL."""
    exchange.start(_NO_CONTENT, _PREFLIGHT)
    await exchange.body()


def _of_content(found: Representation, content: bytes) -> Representation:
    """The representation of what is sent instead of what is stored."""
    checksum = Sha256(hashlib.sha256(content).hexdigest())
    sent = dataclasses.replace(found.stored, size_bytes=len(content), checksum=checksum)
    return dataclasses.replace(found, stored=sent)


def _begin(found: Representation, *, exchange: Exchange, headers: RequestHeaders) -> ByteRange:
    """Begin the answer; which part of the content is to follow. Raises Refused."""
    entity, own = describe(found)
    part = _part_asked_for(headers, entity)
    if part is None:
        exchange.start(_OK, entity.whole, *own)
        return ByteRange(0, entity.size_bytes)
    place = (b"content-range", part.of(entity.size_bytes))
    exchange.start(_PARTIAL, entity.part, *own, place, content_length(part.length))
    return part


def _part_asked_for(headers: RequestHeaders, entity: Entity) -> ByteRange | None:
    value = headers.get(b"range")
    if value is None or not may_be_continued(headers.get(b"if-range"), etag=entity.etag):
        return None
    try:
        return parse_range(value, size=entity.size_bytes)
    except RangeNotSatisfiable:
        raise Refused(range_not_satisfiable(entity.size_bytes)) from None


async def _send_pieces(
    opened: OpenBlob,
    part: ByteRange,
    exchange: Exchange,
    *,
    leaving: asyncio.Task[None] | None = None,
) -> None:
    remaining = part.length
    async for piece in opened.read(part.start, part.length):
        if leaving and leaving.done():
            return
        remaining -= len(piece)
        if remaining < 0:
            break
        await exchange.body(piece, more=remaining > 0)
    if remaining:
        raise CutShort


async def _send_watching(
    opened: OpenBlob, part: ByteRange, exchange: Exchange, receive: Receive
) -> None:
    """The same for a long body: reading stops soon after the reader has left."""
    leaving = asyncio.create_task(_left(receive))
    try:
        await _send_pieces(opened, part, exchange, leaving=leaving)
    finally:
        leaving.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
