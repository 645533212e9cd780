"""Delivering: the bytes of renditions, made there and then if they are not there yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType

from media_service.core.access import UNENDING, Signature, Signer, media_path
from media_service.core.blobs import StoredRendition
from media_service.core.developing import Developing
from media_service.core.errors import (
    MediaDamaged,
    MediaFailed,
    MediaNotFound,
    RenditionNotFound,
    RenditionNotReady,
    is_final,
)
from media_service.core.media import Media, MediaId, ProcessingStatus, Visibility
from media_service.core.playlists import with_urls
from media_service.core.ports import Blobs, Clock, Database, OpenBlob
from media_service.core.reading import Reading
from media_service.core.recipes import PictureRecipe, is_version, key_beside, version_of
from media_service.core.renditions import Rendition
from media_service.core.repairing import Repairing


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """What may be sent to a reader. `is_exact`: these bytes are what its URL will always mean.

    `lasting` is how long the reader may keep them; None is for ever. `signature` is what opened it.
    `recipe` is how a picture is made that is not of the medium's plan; `is_negotiated`: other
    readers may get another.
    """

    media: Media
    stored: StoredRendition
    is_exact: bool
    lasting: timedelta | None
    recipe: PictureRecipe | None = None
    is_negotiated: bool = False
    signature: Signature | None = None


_MOST_PLAYLIST_BYTES = 2 * 1024 * 1024
"""Twice what four hours in segments of two seconds take."""
REDIRECTED_FOR = timedelta(minutes=15)
"""How long a URL of the store works that a reader was sent to; also after the medium is deleted."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Where a reader can get the bytes without us, and how long they may be told to go there."""

    url: str
    lasting: timedelta


class Delivering:
    """Finds and opens what a URL names."""

    def __init__(  # noqa: PLR0913 - what it stands on
        self,
        *,
        database: Database,
        reading: Reading,
        developing: Developing,
        repairing: Repairing,
        blobs: Blobs,
        signer: Signer,
        clock: Clock,
    ) -> None:
        self._database = database
        self._reading = reading
        self._developing = developing
        self._repairing = repairing
        self._blobs = blobs
        self._signer = signer
        self._clock = clock

    async def find(
        self, media_id: MediaId, name: str, *, version: str, signature: Signature | None
    ) -> Representation:
        """The rendition a URL names, made now if need be.

        Raises InvalidSignature if there is a signature that is not valid, whatever is there;
        MediaNotFound if there is no such medium, or it is private and there is no signature;
        RenditionNotFound; RenditionNotReady for what only jobs make, and have not yet;
        MediaFailed; what `Developing.ensure` raises.
        """
        now = self._clock()
        if signature:
            path = media_path(media_id, name)
            self._signer.verify(signature, path, version=version, now=now)
        media = await self._reading.get(media_id)
        if media.visibility is Visibility.PRIVATE and not signature:
            raise MediaNotFound
        stored, is_exact = await self._stored(media, name, version)
        return Representation(
            media=media,
            stored=stored,
            is_exact=is_exact,
            lasting=lasting(media, signature, now),
            signature=signature,
        )

    async def _stored(self, media: Media, name: str, version: str) -> tuple[StoredRendition, bool]:
        rendition = media.rendition(name)
        is_exact = rendition is not None and version == rendition.recipe.version
        if not is_exact and is_version(version):
            older = await self._older(media, name, version)
            if older:
                return older, True
        if rendition is None:
            raise RenditionNotFound
        return await self._current(media, rendition), is_exact

    async def _older(self, media: Media, name: str, version: str) -> StoredRendition | None:
        """What was made by an older plan; of an older stream, also parts of names that are gone."""
        rows = self._database.latest.renditions
        found = await rows.find_version(media.sha256, version=version)
        if found is None or media.rendition(name):
            return found
        return found if key_beside(found.recipe_key, name) == found.recipe_key else None

    async def _current(self, media: Media, rendition: Rendition) -> StoredRendition:
        """What has been made, or can be at once. What failed shows what it has."""
        key, has_failed = rendition.recipe.key, media.status is ProcessingStatus.FAILED
        known = self._developing.known(media, rendition.recipe)
        if known:
            return known
        # What failed for want of something may be there since: only an attempt can tell.
        if not rendition.stage.is_slow and not (has_failed and is_final(media.failure_code)):
            return (await self._developing.ensure(media))[key]
        made = (await self._developing.made(media)).get(key)
        if made:
            return made
        if has_failed:
            raise MediaFailed
        if media.status is ProcessingStatus.COMPLETED:
            await self._repairing.remake(media.sha256, key)
        raise RenditionNotReady

    async def elsewhere(self, found: Representation, *, disposition: str) -> Elsewhere | None:
        """Where to send the reader; None if the bytes have to come from here. Raises as `open`."""
        works_for = min(found.lasting or REDIRECTED_FOR, REDIRECTED_FOR)
        if works_for < timedelta(seconds=1):
            return None
        try:
            url = await self._presigned(found, disposition, works_for)
        except MediaDamaged:
            healed = await self._healed(found)
            url = await self._presigned(healed, disposition, works_for)
        # Who goes there late must still have time to begin.
        return Elsewhere(url=url, lasting=works_for / 2) if url else None

    async def _presigned(
        self, found: Representation, disposition: str, works_for: timedelta
    ) -> str | None:
        return await self._blobs.presigned_url(
            found.stored.key,
            content_type=found.stored.content_type,
            disposition=disposition,
            expires_in=works_for,
        )

    def open(self, found: Representation) -> Opening:
        """Its bytes; damaged ones are made anew first, so it may change.

        Entering raises MediaDamaged if the original is damaged too; what `Developing.ensure`
        raises.
        """
        return Opening(found, open_=self._open, heal=self._healed)

    async def playlist(self, found: Representation) -> bytes:
        """The playlist that is delivered, with the URLs of what it names.

        They are relative, so that they lead to the host that was asked, and they open for as long
        as the one that was asked for. Raises as `open`; ValueError if it is no playlist.
        """
        async with self.open(found) as (found, opened):
            if opened.size_bytes > _MOST_PLAYLIST_BYTES:
                raise ValueError(f"a playlist of {opened.size_bytes} bytes")
            stored = b"".join([piece async for piece in opened.read(0, opened.size_bytes)])
        return with_urls(stored.decode(), lambda name: self._url(found, name)).encode()

    def _url(self, found: Representation, name: str) -> str:
        """The URL of another rendition of the medium, seen from this one."""
        media, key = found.media, key_beside(found.stored.recipe_key, name)
        if key is None:
            raise ValueError(f"no such part of a stream: {name}")
        version = version_of(key)
        url = f"{name}?v={version}"
        if media.visibility is Visibility.PUBLIC or found.signature is None:
            return url
        made = self._signer.sign(
            media_path(media.id, name),
            version=version,
            expires_at=datetime.fromtimestamp(found.signature.expires, UTC),
        )
        return f"{url}&{made.query}"

    def _open(self, stored: StoredRendition) -> AbstractAsyncContextManager[OpenBlob]:
        return self._blobs.open(stored.key, size_bytes=stored.size_bytes, sha256=stored.checksum)

    async def _healed(self, found: Representation) -> Representation:
        if found.recipe:
            picture = await self._developing.ensure_picture(
                found.media, found.recipe, damaged=found.stored
            )
            return dataclasses.replace(found, stored=picture)
        media, damaged = found.media, found.stored
        planned = [r for r in media.renditions if r.recipe.key == damaged.recipe_key]
        if not planned:  # made by a recipe the medium no longer has
            raise RenditionNotFound
        if planned[0].stage.is_slow:
            return dataclasses.replace(found, stored=await self._made_anew(media, damaged))
        made = await self._developing.ensure(media, damaged=damaged)
        return dataclasses.replace(found, stored=made[damaged.recipe_key])

    async def _made_anew(self, media: Media, damaged: StoredRendition) -> StoredRendition:
        """What has replaced it, if something has; else it is forgotten, and made by a job."""
        made = (await self._developing.made(media)).get(damaged.recipe_key)
        if made and made != damaged:
            return made
        await self._repairing.remake(media.sha256, damaged.recipe_key, damaged=damaged)
        self._developing.forget(media, damaged)
        raise RenditionNotReady


class Opening:
    """A context: what was found, and its bytes. A class, as a generator costs more per read."""

    def __init__(
        self,
        found: Representation,
        *,
        open_: Callable[[StoredRendition], AbstractAsyncContextManager[OpenBlob]],
        heal: Callable[[Representation], Awaitable[Representation]],
    ) -> None:
        self._found = found
        self._open = open_
        self._heal = heal
        self._opened = open_(found.stored)

    async def __aenter__(self) -> tuple[Representation, OpenBlob]:
        try:
            return self._found, await self._opened.__aenter__()
        except MediaDamaged:
            healed = await self._heal(self._found)
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
