"""What calls take and what they answer: frozen values, with aware times."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime


class MediaType(enum.StrEnum):
    """What kind of thing a medium is.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> stored.media_type is MediaType.IMAGE
    True
    """

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"
    UNKNOWN = "unknown"
    """A kind that is newer than this client."""


class Purpose(enum.StrEnum):
    """What a medium is for; limits, thumbnails, visibility and lifetime hang on it.

    >>> story = await media.upload_media(
    ...     picture, filename="beach.png", user_id="alice", purpose=Purpose.STORY
    ... )
    >>> [thumbnail.name for thumbnail in story.thumbnails]
    ['story', '320']
    """

    PROFILE_PICTURE = "profile_picture"
    COVER_PHOTO = "cover_photo"
    POST_ATTACHMENT = "post_attachment"
    MESSAGE_ATTACHMENT = "message_attachment"
    STORY = "story"
    AVATAR = "avatar"
    UNKNOWN = "unknown"
    """A purpose that is newer than this client; refused in a request."""


class Status(enum.StrEnum):
    """How far the work on a medium's renditions has come; pictures' URLs work long before.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> (await media.get_media(stored.media_id)).status in (Status.PENDING, Status.COMPLETED)
    True
    """

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """A status that is newer than this client."""


class Visibility(enum.StrEnum):
    """Who may read the bytes: whoever has the URL, or whoever has one that is signed.

    >>> stored = await media.upload_media(
    ...     picture,
    ...     filename="me.png",
    ...     user_id="alice",
    ...     purpose=Purpose.AVATAR,
    ...     visibility=Visibility.PRIVATE,
    ... )
    >>> (await media.get_media(stored.media_id)).visibility.value
    'private'
    """

    PUBLIC = "public"
    PRIVATE = "private"
    UNKNOWN = "unknown"
    """A visibility that is newer than this client; refused in a request."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingOptions:
    """How renditions are made, where the purpose's own way won't do; 0 is the purpose's value.

    `normalize_loudness`: sound is made as loud as other sound, at -16 LUFS (EBU R 128).

    >>> small = ProcessingOptions(max_width=32, generate_blurhash=False)
    >>> stored = await media.upload_media(
    ...     picture,
    ...     filename="me.png",
    ...     user_id="alice",
    ...     purpose=Purpose.AVATAR,
    ...     processing_options=small,
    ... )
    >>> full = (await media.get_media(stored.media_id)).rendition("full")
    >>> full.width, stored.blurhash
    (32, '')
    """

    generate_thumbnails: bool = True
    generate_blurhash: bool = True
    quality: int = 0
    max_width: int = 0
    max_height: int = 0
    normalize_loudness: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One thing that is served of a medium; what plays is listed only when it is made.

    Its URL works from the moment it is listed; `size_bytes` is 0 until it is made.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> srcset = ", ".join(f"{each.url} {each.width}w" for each in stored.thumbnails)
    """

    name: str
    url: str
    width: int
    height: int
    content_type: str
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadedMedia:
    """What an upload answers: it is stored for good, and its URLs work.

    But for the `url` of a film or a sound: that works when it is made (`wait_until_done`).
    `width` and `height` are those of the upright picture. `deduplicated` says that somebody had
    uploaded equal bytes before: not for users' eyes.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> stored.width, stored.height, stored.content_type
    (64, 48, 'image/png')
    >>> [thumbnail.name for thumbnail in stored.thumbnails]
    ['small', 'medium', 'large']
    """

    media_id: str
    url: str
    thumbnail_url: str
    width: int
    height: int
    blurhash: str
    media_type: MediaType
    content_type: str
    size_bytes: int
    status: Status
    thumbnails: tuple[Rendition, ...]
    sha256: str
    deduplicated: bool
    created_at: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Media(UploadedMedia):
    """All that is known of a medium. `expires_at` is None for what stays.

    `renditions` is what is served beside the thumbnails: `full`, and what plays. `failure_code`
    says why a medium has FAILED; `progress_percent`, how much of the work is done; `page_count`,
    how many pages a document has; `has_audio`, whether anything is to be heard.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> known = await media.get_media(stored.media_id)
    >>> known.user_id, known.purpose.value, known.filename, known.expires_at
    ('alice', 'profile_picture', 'me.png', None)
    """

    user_id: str
    purpose: Purpose
    filename: str
    visibility: Visibility
    duration_ms: int
    renditions: tuple[Rendition, ...]
    failure_code: str
    updated_at: datetime
    expires_at: datetime | None
    progress_percent: int = 0
    page_count: int = 0
    has_audio: bool = False

    def rendition(self, name: str) -> Rendition | None:
        """The rendition or thumbnail of this name, if the medium has one."""
        return next((r for r in (*self.renditions, *self.thumbnails) if r.name == name), None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """How far the work that `process_media` asked for has come.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> state = await media.process_media(stored.media_id, user_id="alice")
    >>> state.media_id == stored.media_id
    True
    """

    media_id: str
    status: Status


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrl:
    """A URL that lets whoever has it read one rendition until it expires.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> link = await media.get_signed_url(stored.media_id, expiry_seconds=60)
    >>> link.expires_at.tzname()
    'UTC'
    """

    url: str
    expires_at: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MediaBatch:
    """Many media: those that are there, in the order asked for, and the ids that are not.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> batch = await media.batch_get_media([stored.media_id, "nonsense"])
    >>> len(batch.media), batch.missing_ids
    (1, ('nonsense',))
    """

    media: tuple[Media, ...]
    missing_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFailure:
    """Why one medium of a batch was not deleted: a stable code, and a sentence safe to show.

    >>> outcome = await media.batch_delete_media(["nonsense"], user_id="alice")
    >>> [(failure.media_id, failure.code) for failure in outcome.failures]
    [('nonsense', 'invalid_media_id')]
    """

    media_id: str
    code: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeletedBatch:
    """What became of many media. `deleted_count` counts distinct ids, earlier deletions included.

    >>> stored = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> outcome = await media.batch_delete_media([stored.media_id, "nonsense"], user_id="alice")
    >>> outcome.deleted_count, outcome.failed_ids
    (1, ('nonsense',))
    """

    deleted_count: int
    failures: tuple[DeleteFailure, ...]

    @property
    def failed_ids(self) -> tuple[str, ...]:
        """The ids that were not deleted."""
        return tuple(failure.media_id for failure in self.failures)
