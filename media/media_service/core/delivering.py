"""Delivering: the bytes of renditions, made there and then if they are not there yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from types import TracebackType

from media_service.core.access import UNENDING, Signature, Signer, media_path
from media_service.core.blobs import StoredRendition
from media_service.core.developing import Developing
from media_service.core.errors import (
    MediaDamaged,
    MediaFailed,
    MediaNotFound,
    RenditionNotFound,
    is_final,
)
from media_service.core.media import Media, MediaId, ProcessingStatus, Visibility
from media_service.core.ports import Blobs, Clock, Database, OpenBlob
from media_service.core.reading import Reading
from media_service.core.recipes import PictureRecipe, is_version
from media_service.core.renditions import Rendition


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What may be sent to a reader. `is_exact`: these bytes are what its URL will always mean.

    `lasting` is how long the reader may keep them; None is for ever. `recipe` is how a picture
    is made that is not of the medium's plan; `is_negotiated`: other readers may get another.
    """

    media: Media
    stored: StoredRendition
    is_exact: bool
    lasting: timedelta | None
    recipe: PictureRecipe | None = None
    is_negotiated: bool = False


REDIRECTED_FOR = timedelta(minutes=15)
"""How long a URL of the store works that a reader was sent to; also after the medium is deleted."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Where a reader can get the bytes without us, and how long they may be told to go there."""

    url: str
    lasting: timedelta


class Delivering:
    """Finds and opens what a URL names."""

    def __init__(
        self,
        *,
        database: Database,
        reading: Reading,
        developing: Developing,
        blobs: Blobs,
        signer: Signer,
        clock: Clock,
    ) -> None:
        self._database = database
        self._reading = reading
        self._developing = developing
        self._blobs = blobs
        self._signer = signer
        self._clock = clock

    async def find(
        self, media_id: MediaId, name: str, *, version: str, signature: Signature | None
    ) -> Delivery:
        """The rendition a URL names, made now if need be.

        Raises InvalidSignature if there is a signature that is not valid, whatever is there;
        MediaNotFound if there is no such medium, or it is private and there is no signature;
        RenditionNotFound; MediaFailed; what `Developing.ensure` raises.
        """
        now = self._clock()
        if signature:
            path = media_path(media_id, name)
            self._signer.verify(signature, path, version=version, now=now)
        media = await self._reading.get(media_id)
        if media.visibility is Visibility.PRIVATE and not signature:
            raise MediaNotFound
        stored, is_exact = await self._stored(media, name, version)
        return Delivery(
            media=media,
            stored=stored,
            is_exact=is_exact,
            lasting=lasting(media, signature, now),
        )

    async def _stored(self, media: Media, name: str, version: str) -> tuple[StoredRendition, bool]:
        rendition = media.rendition(name)
        if rendition is None:
            raise RenditionNotFound
        is_exact = version == rendition.recipe.version
        if not is_exact and is_version(version):
            older = await self._database.latest.renditions.find_version(
                media.sha256, version=version
            )
            if older:
                return older, True
        return await self._current(media, rendition), is_exact

    async def _current(self, media: Media, rendition: Rendition) -> StoredRendition:
        # What failed for want of something may be there since: only an attempt can tell.
        if media.status is ProcessingStatus.FAILED and is_final(media.failure_code):
            raise MediaFailed
        known = self._developing.known(media, rendition.recipe)
        return known or (await self._developing.ensure(media))[rendition.recipe.key]

    async def elsewhere(self, delivery: Delivery, *, disposition: str) -> Elsewhere | None:
        """Where to send the reader; None if the bytes have to come from here. Raises as `open`."""
        works_for = min(delivery.lasting or REDIRECTED_FOR, REDIRECTED_FOR)
        if works_for < timedelta(seconds=1):
            return None
        try:
            url = await self._presigned(delivery, disposition, works_for)
        except MediaDamaged:
            healed = await self._healed(delivery)
            url = await self._presigned(healed, disposition, works_for)
        # Who goes there late must still have time to begin.
        return Elsewhere(url=url, lasting=works_for / 2) if url else None

    async def _presigned(
        self, delivery: Delivery, disposition: str, works_for: timedelta
    ) -> str | None:
        return await self._blobs.presigned_url(
            delivery.stored.key,
            content_type=delivery.stored.content_type,
            disposition=disposition,
            expires_in=works_for,
        )

    def open(self, delivery: Delivery) -> Opening:
        """The delivery's bytes; damaged ones are made anew first, so the delivery may change.

        Entering raises MediaDamaged if the original is damaged too; what `Developing.ensure`
        raises.
        """
        return Opening(delivery, open_=self._open, heal=self._healed)

    def _open(self, stored: StoredRendition) -> AbstractAsyncContextManager[OpenBlob]:
        return self._blobs.open(stored.key, size_bytes=stored.size_bytes, sha256=stored.checksum)

    async def _healed(self, delivery: Delivery) -> Delivery:
        if delivery.recipe:
            picture = await self._developing.ensure_picture(
                delivery.media, delivery.recipe, damaged=delivery.stored
            )
            return dataclasses.replace(delivery, stored=picture)
        made = await self._developing.ensure(delivery.media, damaged=delivery.stored)
        healed = made.get(delivery.stored.recipe_key)
        if healed is None:  # made by a recipe the medium no longer has
            raise RenditionNotFound
        return dataclasses.replace(delivery, stored=healed)


class Opening:
    """A context with a delivery and its bytes. A class, because a generator costs more per read."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        open_: Callable[[StoredRendition], AbstractAsyncContextManager[OpenBlob]],
        heal: Callable[[Delivery], Awaitable[Delivery]],
    ) -> None:
        self._delivery = delivery
        self._open = open_
        self._heal = heal
        self._opened = open_(delivery.stored)

    async def __aenter__(self) -> tuple[Delivery, OpenBlob]:
        try:
            return self._delivery, await self._opened.__aenter__()
        except MediaDamaged:
            healed = await self._heal(self._delivery)
        self._opened = self._open(healed.stored)
        return healed, await self._opened.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, trace)


def lasting(media: Media, signature: Signature | None, now: datetime) -> timedelta | None:
    """How long a reader may keep what it is given: until the medium or the signature ends."""
    ends = [media.expires_at.timestamp()] if media.expires_at else []
    if signature and signature.expires < UNENDING.timestamp():
        ends.append(signature.expires)
    return timedelta(seconds=max(0, int(min(ends) - now.timestamp()))) if ends else None
