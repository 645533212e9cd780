"""Signing: URLs that open a rendition for a while."""

from __future__ import annotations

from datetime import datetime, timedelta

from media_service.core.access import UNENDING, Links, parse_expiry, quantised_expiry
from media_service.core.errors import RenditionNotFound
from media_service.core.media import MediaId, Visibility
from media_service.core.ports import Clock
from media_service.core.reading import Reading
from media_service.core.renditions import FULL
from media_service.core.transformations import Offer, is_transformation, require_picture


class Signing:
    """Hands out signed URLs."""

    def __init__(self, *, reading: Reading, links: Links, offer: Offer, clock: Clock) -> None:
        self._reading = reading
        self._links = links
        self._offer = offer
        self._clock = clock

    async def sign(
        self, media_id: MediaId, *, rendition: str, expiry_seconds: int
    ) -> tuple[str, datetime]:
        """A URL for a rendition (`full` when empty) or transformation; when it stops working.

        Raises InvalidExpiry, InvalidTransformation, MediaNotFound, RenditionNotFound.
        """
        lasting = parse_expiry(expiry_seconds)
        if is_transformation(rendition):
            return await self._sign_transformed(media_id, rendition, lasting)
        media = await self._reading.get(media_id)
        found = media.rendition(rendition or FULL)
        if found is None:
            raise RenditionNotFound
        expires_at = quantised_expiry(self._clock(), lasting)
        return self._links.signed_url(media, found, expires_at=expires_at), expires_at

    async def _sign_transformed(
        self, media_id: MediaId, spelled: str, lasting: timedelta
    ) -> tuple[str, datetime]:
        """The URL of what is public is always the same, so that caches keep what it leads to."""
        transformation = self._offer.require(spelled)
        media = await self._reading.get(media_id)
        require_picture(media)
        is_public = media.visibility is Visibility.PUBLIC
        expires_at = UNENDING if is_public else quantised_expiry(self._clock(), lasting)
        url = self._links.transformed_url(media, transformation, expires_at=expires_at)
        return url, expires_at
