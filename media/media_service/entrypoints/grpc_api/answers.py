"""Answers about media, encoded once and sent many times.

A medium does not change under its identity (changes make another value), so its encoded answer
holds until the URLs in it, if they are signed, give way to the next ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime

from media_proto import media_service_pb2 as pb

from media_service.core.access import ANSWER_EXPIRY, Links, quantised_expiry
from media_service.core.media import Media, MediaId
from media_service.entrypoints.grpc_api.convert import media_response

_MOST = 20_000
_MEDIA_TAG = bytes([pb.BatchGetMediaResponse.MEDIA_FIELD_NUMBER << 3 | 2])


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

    def encoded_batch(self, media: Sequence[Media], *, missing: Sequence[str]) -> bytes:
        """The BatchGetMediaResponse with these answers, as they are, one behind the other."""
        parts: list[bytes] = []
        for each in media:
            answer = self.encoded(each)
            parts += (_MEDIA_TAG, _varint(len(answer)), answer)
        parts.append(pb.BatchGetMediaResponse(missing_ids=missing).SerializeToString())
        return b"".join(parts)


def _varint(number: int) -> bytes:
    """The number as protobuf writes lengths: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
