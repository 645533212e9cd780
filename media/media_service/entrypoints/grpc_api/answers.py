"""Answers about media, encoded once and sent many times.

A medium does not change under its identity (changes make another value), so its encoded answer
holds until the URLs in it, if they are signed, give way to the next ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from media_service.core.access import ANSWER_EXPIRY, Links, quantised_expiry
from media_service.core.media import Media, MediaId
from media_service.entrypoints.grpc_api.convert import media_response

_MOST = 20_000


class MediaAnswers:
    """MediaResponse messages in wire format, those used last remembered."""

    def __init__(self, links: Links, *, clock: Callable[[], datetime], most: int = _MOST) -> None:
        self._links = links
        self._clock = clock
        self._most = most
        self._encoded: OrderedDict[MediaId, tuple[Media, datetime, bytes]] = OrderedDict()

    def encoded(self, media: Media) -> bytes:
        """The MediaResponse of this medium."""
        now = self._clock()
        entry = self._encoded.get(media.id)
        if entry is not None and entry[0] is media and now <= entry[1]:
            return entry[2]
        answer = media_response(media, self._links, now=now).SerializeToString()
        holds_until = quantised_expiry(now, ANSWER_EXPIRY) - ANSWER_EXPIRY
        self._encoded[media.id] = (media, holds_until, answer)
        if len(self._encoded) > self._most:
            self._encoded.popitem(last=False)
        return answer
