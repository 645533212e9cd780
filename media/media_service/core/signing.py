"""Signing: URLs that open a rendition for a while."""

from __future__ import annotations

from datetime import datetime

from media_service.core.access import Links, parse_expiry, quantised_expiry
from media_service.core.errors import RenditionNotFound
from media_service.core.media import MediaId
from media_service.core.ports import Clock
from media_service.core.reading import Reading
from media_service.core.renditions import FULL


class Signing:
    """Hands out signed URLs."""

    def __init__(self, *, reading: Reading, links: Links, clock: Clock) -> None:
        self._reading = reading
        self._links = links
        self._clock = clock

    async def sign(
        self, media_id: MediaId, *, rendition: str, expiry_seconds: int
    ) -> tuple[str, datetime]:
        """A URL for a rendition (`full` when empty), and when it stops working.

        Raises InvalidExpiry, MediaNotFound, RenditionNotFound.
        """
        lasting = parse_expiry(expiry_seconds)
        media = await self._reading.get(media_id)
        found = media.rendition(rendition or FULL)
        if found is None:
            raise RenditionNotFound
        expires_at = quantised_expiry(self._clock(), lasting)
        return self._links.signed_url(media, found, expires_at=expires_at), expires_at
