"""What the double keeps of an upload, and how it tells of it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import time
import uuid
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from media_proto import media_service_pb2 as pb

from media_client.testing._pictures import Picture
from media_client.testing._policies import Made

BLURHASH = "LEHV6nWB2yk8pyo0adR*.7kCMdnj"
"""A BlurHash of 4×3 components; every picture in a double has this one."""
_BASE_URL = "https://media.invalid"
_ANSWER_SECONDS = 3600
_GRID_SECONDS = (86_400, 21_600, 3_600, 900, 300, 60, 15, 5, 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One upload. `options` are None where the purpose decides."""

    id: str
    owner: str
    purpose: pb.MediaPurpose.ValueType
    filename: str
    visibility: pb.Visibility.ValueType
    idempotency_key: str
    sha256: str
    size_bytes: int
    picture: Picture
    options: pb.ProcessingOptions | None
    renditions: tuple[Made, ...]
    status: pb.ProcessingStatus.ValueType
    failure_code: str
    deduplicated: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    is_deleted: bool = False

    @property
    def recipes(self) -> frozenset[tuple[str, str]]:
        """What there is to make, and of what."""
        return frozenset((self.sha256, made.recipe) for made in self.renditions)

    def is_gone(self, now: datetime) -> bool:
        """Whether nobody may see it any more."""
        return self.is_deleted or (self.expires_at is not None and self.expires_at <= now)

    def rendition(self, name: str) -> Made | None:
        """The rendition of this name."""
        return next((made for made in self.renditions if made.name == name), None)

    def upload_response(self, now: datetime) -> pb.UploadMediaResponse:
        """The answer to its upload."""
        thumbnails = self._messages(self.renditions[1:], now)
        wants_blurhash = self.options is None or self.options.generate_blurhash
        return pb.UploadMediaResponse(
            media_id=self.id,
            url=self._url(self.renditions[0], now),
            thumbnail_url=thumbnails[0].url if thumbnails else "",
            width=self.picture.width,
            height=self.picture.height,
            blurhash=BLURHASH if wants_blurhash else "",
            media_type=pb.IMAGE,
            content_type=self.picture.content_type,
            size_bytes=self.size_bytes,
            status=self.status,
            thumbnails=thumbnails,
            sha256=self.sha256,
            deduplicated=self.deduplicated,
            created_at=timestamp(self.created_at),
        )

    def media_response(self, now: datetime) -> pb.MediaResponse:
        """All that is known of it."""
        message = pb.MediaResponse()
        # The fields of both have equal numbers.
        message.MergeFromString(self.upload_response(now).SerializeToString())
        message.MergeFrom(
            pb.MediaResponse(
                user_id=self.owner,
                purpose=self.purpose,
                filename=self.filename,
                visibility=self.visibility,
                renditions=self._messages(self.renditions[:1], now),
                failure_code=self.failure_code,
                updated_at=timestamp(self.updated_at),
                expires_at=timestamp(self.expires_at) if self.expires_at else None,
                progress_percent=100 if self.status == pb.COMPLETED else 0,
            )
        )
        return message

    def _messages(self, renditions: tuple[Made, ...], now: datetime) -> list[pb.Thumbnail]:
        is_made = self.status == pb.COMPLETED
        return [
            pb.Thumbnail(
                name=made.name,
                url=self._url(made, now),
                width=made.width,
                height=made.height,
                content_type=made.content_type,
                size_bytes=made.width * made.height // 8 + 300 if is_made else 0,
            )
            for made in renditions
        ]

    def _url(self, made: Made, now: datetime) -> str:
        if self.visibility == pb.PRIVATE:
            return self.signed_url(made, signed_until(now, _ANSWER_SECONDS))
        return f"{_BASE_URL}/media/{self.id}/{made.name}?v={made.version}"

    def signed_url(self, made: Made, expires_at: datetime) -> str:
        """A URL that says until when it works; its signature is made up."""
        return self.signed(made.name, made.version, expires_at)

    def signed(self, name: str, version: str, expires_at: datetime) -> str:
        """The same for a rendition or transformation of this name."""
        plain = f"{_BASE_URL}/media/{self.id}/{name}?v={version}"
        expiring = f"{plain}&exp={int(expires_at.timestamp())}&kid=double"
        return f"{expiring}&sig={hashlib.sha256(expiring.encode()).hexdigest()[:43]}"


def signed_until(now: datetime, seconds: int) -> datetime:
    """When a URL that is signed now ends: never early, up to a quarter late, on a grid."""
    step = next((each for each in _GRID_SECONDS if each * 4 <= seconds), 1)
    wanted = (now + timedelta(seconds=seconds)).timestamp()
    return datetime.fromtimestamp(math.ceil(wanted / step) * step, UTC)


def new_id() -> str:
    """A UUIDv7, as the service's."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def timestamp(moment: datetime) -> Timestamp:
    """The moment as a message."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
