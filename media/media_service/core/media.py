"""Media: one row per upload, owned by one user."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import time
import uuid
from datetime import datetime
from typing import NewType

from media_service.core.errors import InvalidMediaId, MediaNotFound, NotTheOwner
from media_service.core.renditions import ProcessingOptions, Rendition, Stage

MOST_EQUAL = 100
"""So many media of one content are looked at for whether one of them waits for its renditions."""

MediaId = NewType("MediaId", str)
UserId = NewType("UserId", str)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
Sha256 = NewType("Sha256", str)
"""SHA-256 of some content, 64 lower-case hexadecimal digits."""


class MediaType(enum.StrEnum):
    """What kind of thing a medium is."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"


class Purpose(enum.StrEnum):
    """What a medium is for; its policy hangs on it."""

    PROFILE_PICTURE = "profile_picture"
    COVER_PHOTO = "cover_photo"
    POST_ATTACHMENT = "post_attachment"
    MESSAGE_ATTACHMENT = "message_attachment"
    STORY = "story"
    AVATAR = "avatar"


class Visibility(enum.StrEnum):
    """Who may read the bytes."""

    PUBLIC = "public"
    PRIVATE = "private"


class ProcessingStatus(enum.StrEnum):
    """How far the work on a medium's renditions has come."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One upload. `revision` counts how often its renditions were asked for anew."""

    id: MediaId
    owner: UserId
    purpose: Purpose
    media_type: MediaType
    filename: str
    content_type: str
    size_bytes: int
    sha256: Sha256
    width: int
    height: int
    duration_ms: int
    blurhash: str
    visibility: Visibility
    status: ProcessingStatus
    failure_code: str
    options: ProcessingOptions | None
    renditions: tuple[Rendition, ...]
    policy_version: int
    revision: int
    idempotency_key: str
    deduplicated: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    deleted_at: datetime | None = None
    has_audio: bool = False
    pages: int = 0
    stage_percent: int = 0
    """How much of the stage that is being made is done."""

    def is_gone(self, now: datetime) -> bool:
        """Whether nobody may see it any more."""
        return self.deleted_at is not None or (
            self.expires_at is not None and self.expires_at <= now
        )

    def rendition(self, name: str) -> Rendition | None:
        """The rendition of this name, if the medium has one."""
        for rendition in self.renditions:
            if rendition.name == name:
                return rendition
        return None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages its renditions are made in, in their order."""
        return tuple(sorted({rendition.stage for rendition in self.renditions}))

    @property
    def is_slow(self) -> bool:
        """Whether some of its renditions are made by jobs alone."""
        return any(rendition.stage.is_slow for rendition in self.renditions)

    @property
    def is_unfinished(self) -> bool:
        """Whether work on its renditions is still to be done."""
        return self.status in (ProcessingStatus.PENDING, ProcessingStatus.PROCESSING)

    @property
    def progress_percent(self) -> int:
        """How much of the work on its renditions is done; each stage weighs the same.

        Never falls within a revision; 100 only when everything is there.
        """
        if self.status is ProcessingStatus.COMPLETED:
            return 100
        parts = {stage: self._percent_of(stage) for stage in self.stages}
        if under_way := self.stage_under_way:
            parts[under_way] = max(parts[under_way], self.stage_percent)
        return min(99, sum(parts.values()) // max(1, len(parts)))

    @property
    def stage_under_way(self) -> Stage | None:
        """The first that is not wholly made."""
        return next((stage for stage in self.stages if self._percent_of(stage) < 100), None)

    def _percent_of(self, stage: Stage) -> int:
        mine = [rendition for rendition in self.renditions if rendition.stage is stage]
        return 100 * sum(1 for rendition in mine if rendition.size_bytes) // len(mine)

    def advanced(self, status: ProcessingStatus, now: datetime, *, failure_code: str = "") -> Media:
        """The same, with its work as far as this."""
        return dataclasses.replace(self, status=status, failure_code=failure_code, updated_at=now)

    def with_made(self, renditions: tuple[Rendition, ...]) -> Media:
        """The same, with these sizes. Of the next stage nothing is done yet."""
        shown = dataclasses.replace(self, renditions=renditions)
        if shown.stage_under_way is self.stage_under_way:
            return shown
        return dataclasses.replace(shown, stage_percent=0)

    def begun_anew(self, now: datetime) -> Media:
        """The same, with the work on its renditions to be done in a new revision."""
        pending = self.advanced(ProcessingStatus.PENDING, now)
        return dataclasses.replace(pending, revision=self.revision + 1, stage_percent=0)

    def deleted(self, now: datetime) -> Media:
        """The same, deleted: CANCELLED if its work was not done, and without what was in it."""
        status = ProcessingStatus.CANCELLED if self.is_unfinished else self.status
        return dataclasses.replace(
            self,
            status=status,
            filename="",
            blurhash="",
            idempotency_key="",
            updated_at=now,
            deleted_at=now,
        )


def require_owner(media: Media | None, user: UserId, *, now: datetime) -> Media:
    """The medium, if this user owns it.

    Raises MediaNotFound when there is none, or it is private or gone and another's, so that
    "not yours" and "not there" look the same; NotTheOwner for public media of others.
    """
    if media is None:
        raise MediaNotFound
    if media.owner != user:
        hidden = media.visibility is Visibility.PRIVATE or media.is_gone(now)
        raise MediaNotFound if hidden else NotTheOwner
    return media


def new_media_id() -> MediaId:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then randomness, so rows sort by age."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return MediaId(str(uuid.UUID(int=value)))


def parse_media_id(text: str) -> MediaId:
    """The id, in its one spelling. Raises InvalidMediaId for anything that is not a UUID."""
    lower = text.lower()
    if not _UUID.fullmatch(lower):
        raise InvalidMediaId
    return MediaId(lower)
