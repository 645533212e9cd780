"""What is kept: frozen values, as they stand in rows."""

from __future__ import annotations

import dataclasses
import enum
import re
from datetime import datetime
from typing import NewType

from user_service.errors import InvalidMediaId, InvalidUserId

UserId = NewType("UserId", str)
MediaId = NewType("MediaId", str)

_USER_ID = re.compile(r"[\x21-\x7e]{1,128}")
_MEDIA_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def user_id(text: str) -> UserId:
    """Raises InvalidUserId."""
    if not _USER_ID.fullmatch(text):
        raise InvalidUserId
    return UserId(text)


def media_id(text: str) -> MediaId:
    """Raises InvalidMediaId."""
    folded = text.lower()
    if not _MEDIA_ID.fullmatch(folded):
        raise InvalidMediaId
    return MediaId(folded)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who can log in here."""

    user_id: UserId
    username: str
    password_hash: str = dataclasses.field(repr=False)
    is_disabled: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login, however often it is refreshed."""

    session_id: str
    user_id: UserId
    ends_at: datetime


class Slot(enum.StrEnum):
    """The places of a profile that hold a picture. The values are column names."""

    PROFILE_PICTURE = "profile_picture"
    COVER_PHOTO = "cover_photo"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """One size of a picture."""

    name: str
    url: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One thing that is served of a medium: what plays, its poster, its wave."""

    name: str
    url: str
    width: int
    height: int
    content_type: str
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A medium that fills a slot, as the media service answered."""

    media_id: MediaId
    url: str
    thumbnail_url: str
    width: int
    height: int
    blurhash: str
    thumbnails: tuple[Thumbnail, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What others see of somebody."""

    user_id: UserId
    username: str = ""
    display_name: str = ""
    bio: str = ""
    profile_picture: Picture | None = None
    cover_photo: Picture | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadAttempt:
    """An upload that was begun. `begun_at` tells it from a later one with the same key."""

    user_id: UserId
    idempotency_key: str
    begun_at: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PendingDeletion:
    """A medium that no profile holds any more and that the media service still has."""

    media_id: MediaId
    user_id: UserId
    attempts: int = 0
