"""What the service needs from outside: rows, limits that hold across instances, media."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from user_service.records import (
    Account,
    MediaId,
    PendingDeletion,
    Picture,
    Profile,
    Rendition,
    Session,
    Slot,
    UploadAttempt,
    UserId,
)
from user_service.spools import SpooledFile

# Every method of the rows also raises DatabaseUnavailable or StorageFull.


class AccountRows(Protocol):
    """The accounts."""

    async def add(self, account: Account, *, at: datetime) -> None:
        """Keep a new account and its empty profile. Raises UsernameTaken."""

    async def find(self, username: str) -> Account | None:
        """The account of this normalised name."""

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Keep another hash of the same password, unless it was changed meanwhile."""


class SessionRows(Protocol):
    """The sessions, and the hashes of their refresh tokens."""

    async def open(
        self, session: Session, token_hash: bytes, *, at: datetime, until: datetime
    ) -> None:
        """Keep a new session and its first refresh token, good until then."""

    async def rotate(
        self, used: bytes, successor: bytes, *, at: datetime, until: datetime
    ) -> Session:
        """Use up a refresh token and keep its successor; all or nothing.

        Raises InvalidRefreshToken if it is unknown, expired, of a session that has ended or of
        an account that may not come in; if it was used before, the session has ended after that.
        """

    async def end(self, token_hash: bytes, *, at: datetime) -> None:
        """End the session of this refresh token, used or not, if there is one."""

    async def is_live(self, session_id: str, *, user_id: UserId, at: datetime) -> bool:
        """Whether this session of this user has not ended and the user may come in."""

    async def is_account(self, user_id: UserId) -> bool:
        """Whether somebody has registered here under this id."""

    async def purge(self, *, before: datetime) -> None:
        """Forget what ended before then."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """So many in so much time; they come back one by one."""

    count: int
    per: timedelta

    @property
    def interval(self) -> timedelta:
        """How long until one comes back."""
        return self.per / self.count


class ThrottleRows(Protocol):
    """What was taken of allowances, by key, for all instances together."""

    async def take(self, key: bytes, allowance: Allowance) -> timedelta:
        """Take one; zero if there was one, else how long until there is one."""

    async def give_back(self, key: bytes, allowance: Allowance) -> None:
        """Undo one take."""

    async def purge(self) -> None:
        """Forget the keys of which nothing is taken."""


class ProfileRows(Protocol):
    """The profiles, and the media that must be deleted because of what happened to them."""

    async def get(self, user_id: UserId) -> Profile | None:
        """The profile, if there is one."""

    async def change(
        self, user_id: UserId, *, display_name: str | None, bio: str | None
    ) -> Profile:
        """Change what is given, and make the profile if there is none."""

    async def put(
        self, user_id: UserId, slot: Slot, picture: Picture, *, ending: UploadAttempt | None = None
    ) -> MediaId | None:
        """Fill a slot, and note the medium that was there for deletion; its id.

        One transaction, which ends the attempt that brought the picture. Raises
        PictureSuperseded for a medium that was noted for deletion.
        """

    async def forget(self, user_id: UserId, media_id: MediaId) -> bool:
        """Empty the slots that hold this medium and note it for deletion; whether any did."""

    async def discard(self, user_id: UserId, media_id: MediaId) -> None:
        """Note a medium for deletion, unless this user's profile holds it."""


class DeletionRows(Protocol):
    """The media noted for deletion."""

    async def claim(self, media_id: MediaId | None = None) -> PendingDeletion | None:
        """One that is due, or this one; None if there is none, or it is done.

        For a while nobody else is given it: longer each time, so that what fails is tried again,
        but not all the time.
        """

    async def done(self, media_id: MediaId) -> None:
        """It is deleted. It stays known for a day, so that it can't come back."""

    async def count(self) -> int:
        """How many are not done yet."""

    async def purge(self) -> None:
        """Forget those that were done a day ago."""


class AttemptRows(Protocol):
    """The uploads that were begun and whose end nobody has seen yet."""

    async def begin(
        self, user_id: UserId, idempotency_key: str, *, due_in: timedelta
    ) -> UploadAttempt:
        """Note an attempt; it takes the place of an earlier one with the same key."""

    async def claim(self) -> UploadAttempt | None:
        """One that is due, which nobody else is given for a minute; None if there is none."""

    async def end(self, attempt: UploadAttempt) -> None:
        """Forget it, unless another has taken its place."""

    async def settle(self, attempt: UploadAttempt, media_id: MediaId) -> bool:
        """End it with its medium standing; False if that was noted for deletion meanwhile."""


class MediaPort(Protocol):
    """The media service.

    Every method raises MediaUnavailable when it is away, slow or makes no sense, and StorageFull.
    """

    async def upload(
        self, file: SpooledFile, *, slot: Slot, user_id: UserId, idempotency_key: str
    ) -> Picture:
        """Store a file for a slot. The same key and bytes again answer the same medium.

        Raises what the media service refuses as Invalid, Broken, TooLarge, Unsupported,
        Conflict or Limited, with its code and sentence.
        """

    async def attach(
        self, file: SpooledFile, *, user_id: UserId, idempotency_key: str
    ) -> MediaDetails:
        """Store a file for a post. As `upload`, with all that is known of it."""

    async def get(self, media_id: MediaId) -> MediaDetails:
        """What is known of a medium. Raises MediaNotFound."""

    def watch(self, media_id: MediaId) -> AsyncIterator[MediaDetails]:
        """What is known of it now, and again when that has changed; over when its processing is.

        Raises MediaNotFound, when it is deleted meanwhile too.
        """

    async def find_uploaded(self, user_id: UserId, *, idempotency_key: str) -> MediaId:
        """What this user uploaded under this key. Raises MediaNotFound."""

    async def delete(self, media_id: MediaId, *, user_id: UserId) -> None:
        """Delete a medium of this user; twice is no error. Raises MediaNotFound, NotTheOwner."""

    async def check(self) -> None:
        """Return if the media service answers."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MediaDetails:
    """All that is known of a medium."""

    picture: Picture
    user_id: UserId
    is_private: bool
    purpose: str
    media_type: str
    content_type: str
    filename: str
    size_bytes: int
    status: str
    visibility: str
    duration_ms: int
    failure_code: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    progress_percent: int = 0
    page_count: int = 0
    has_audio: bool = False
    renditions: Sequence[Rendition] = ()
