"""The rows without a database; held to the same suite as those in PostgreSQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from user_service.errors import InvalidRefreshToken, PictureSuperseded, UsernameTaken
from user_service.ports import Allowance
from user_service.records import (
    Account,
    MediaId,
    PendingDeletion,
    Picture,
    Profile,
    Session,
    Slot,
    UploadAttempt,
    UserId,
)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclasses.dataclass
class _Token:
    session_id: str
    expires_at: datetime
    used: bool = False


@dataclasses.dataclass
class _Deletion:
    pending: PendingDeletion
    due_at: datetime
    done_at: datetime | None = None


class InMemoryRows:
    """All rows; each port is one of its attributes."""

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        self.profiles = InMemoryProfiles(now)
        self.accounts = InMemoryAccounts(self.profiles)
        self.sessions = InMemorySessions(self.accounts)
        self.throttles = InMemoryThrottles(now)
        self.deletions = self.profiles.deletions
        self.attempts = self.profiles.attempts


class InMemoryAccounts:
    def __init__(self, profiles: InMemoryProfiles) -> None:
        self.rows: dict[str, Account] = {}
        self._profiles = profiles

    async def add(self, account: Account, *, at: datetime) -> None:
        if account.username in self.rows:
            raise UsernameTaken
        self.rows[account.username] = account
        profile = Profile(user_id=account.user_id, username=account.username)
        self._profiles.rows[account.user_id] = profile

    async def find(self, username: str) -> Account | None:
        return self.rows.get(username)

    async def rehash(self, account: Account, password_hash: str) -> None:
        if self.rows[account.username].password_hash == account.password_hash:
            renewed = dataclasses.replace(account, password_hash=password_hash)
            self.rows[account.username] = renewed

    def disable(self, username: str) -> None:
        self.rows[username] = dataclasses.replace(self.rows[username], is_disabled=True)

    def may_come_in(self, user_id: UserId) -> bool:
        return any(a.user_id == user_id and not a.is_disabled for a in self.rows.values())


class InMemorySessions:
    def __init__(self, accounts: InMemoryAccounts) -> None:
        self._accounts = accounts
        self._sessions: dict[str, Session] = {}
        self._ended: dict[str, datetime] = {}
        self._tokens: dict[bytes, _Token] = {}

    async def open(
        self, session: Session, token_hash: bytes, *, at: datetime, until: datetime
    ) -> None:
        self._sessions[session.session_id] = session
        self._tokens[token_hash] = _Token(session.session_id, until)

    async def rotate(
        self, used: bytes, successor: bytes, *, at: datetime, until: datetime
    ) -> Session:
        token = self._tokens.get(used)
        if token is None or token.expires_at <= at or not self._is_good(token.session_id, at):
            raise InvalidRefreshToken
        if token.used:
            self._ended[token.session_id] = at
            raise InvalidRefreshToken
        token.used = True
        self._tokens[successor] = _Token(token.session_id, until)
        return self._sessions[token.session_id]

    async def end(self, token_hash: bytes, *, at: datetime) -> None:
        if token := self._tokens.get(token_hash):
            self._ended.setdefault(token.session_id, at)

    async def is_live(self, session_id: str, *, user_id: UserId, at: datetime) -> bool:
        session = self._sessions.get(session_id)
        return session is not None and session.user_id == user_id and self._is_good(session_id, at)

    async def is_account(self, user_id: UserId) -> bool:
        return any(account.user_id == user_id for account in self._accounts.rows.values())

    async def purge(self, *, before: datetime) -> None:
        for session in list(self._sessions.values()):
            ended = self._ended.get(session.session_id, session.ends_at)
            if min(ended, session.ends_at) < before:
                self._forget(session.session_id)
        self._tokens = {h: t for h, t in self._tokens.items() if t.expires_at >= before}

    def _forget(self, session_id: str) -> None:
        del self._sessions[session_id]
        self._tokens = {h: t for h, t in self._tokens.items() if t.session_id != session_id}

    def _is_good(self, session_id: str, at: datetime) -> bool:
        session = self._sessions[session_id]
        is_over = session_id in self._ended or session.ends_at <= at
        return not is_over and self._accounts.may_come_in(session.user_id)


class InMemoryThrottles:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._whole_at: dict[bytes, datetime] = {}

    async def take(self, key: bytes, allowance: Allowance) -> timedelta:
        now = self._now()
        whole_at = max(self._whole_at.get(key, now), now) + allowance.interval
        if whole_at <= now + allowance.per:
            self._whole_at[key] = whole_at
            return timedelta()
        return whole_at - allowance.per - now

    async def give_back(self, key: bytes, allowance: Allowance) -> None:
        if key in self._whole_at:
            self._whole_at[key] -= allowance.interval

    async def purge(self) -> None:
        self._whole_at = {k: at for k, at in self._whole_at.items() if at >= self._now()}


class InMemoryDeletions:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.rows: dict[MediaId, _Deletion] = {}

    def note(self, user_id: UserId, media_id: MediaId) -> None:
        pending = PendingDeletion(media_id=media_id, user_id=user_id)
        self.rows.setdefault(media_id, _Deletion(pending, self._now()))

    async def claim(self, media_id: MediaId | None = None) -> PendingDeletion | None:
        for row in sorted(self.rows.values(), key=lambda row: row.due_at):
            is_meant = row.pending.media_id == media_id
            if row.done_at is None and (
                is_meant or (media_id is None and row.due_at <= self._now())
            ):
                attempts = row.pending.attempts
                row.due_at = self._now() + timedelta(seconds=5) * 2 ** min(attempts, 6)
                row.pending = dataclasses.replace(row.pending, attempts=attempts + 1)
                return row.pending
        return None

    async def done(self, media_id: MediaId) -> None:
        self.rows[media_id].done_at = self._now()

    async def count(self) -> int:
        return sum(row.done_at is None for row in self.rows.values())

    async def purge(self) -> None:
        old = self._now() - timedelta(days=1)
        self.rows = {
            key: row for key, row in self.rows.items() if row.done_at is None or row.done_at >= old
        }


class InMemoryProfiles:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self.rows: dict[UserId, Profile] = {}
        self.deletions = InMemoryDeletions(now)
        self.attempts = InMemoryAttempts(now, self.deletions)

    async def get(self, user_id: UserId) -> Profile | None:
        return self.rows.get(user_id)

    async def change(
        self, user_id: UserId, *, display_name: str | None, bio: str | None
    ) -> Profile:
        given = {"display_name": display_name, "bio": bio}
        changes = {name: value for name, value in given.items() if value is not None}
        self.rows[user_id] = dataclasses.replace(self._profile(user_id), **changes)  # type: ignore[arg-type]
        return self.rows[user_id]

    async def put(
        self, user_id: UserId, slot: Slot, picture: Picture, *, ending: UploadAttempt | None = None
    ) -> MediaId | None:
        if picture.media_id in self.deletions.rows:
            raise PictureSuperseded
        before = self._profile(user_id)
        replaced = getattr(before, slot.value)
        if ending is not None:
            await self.attempts.end(ending)
        self.rows[user_id] = dataclasses.replace(before, **{slot.value: picture})  # type: ignore[arg-type]
        if replaced is None or replaced.media_id in self._held(user_id):
            return None
        self.deletions.note(user_id, replaced.media_id)
        media_id: MediaId = replaced.media_id
        return media_id

    async def forget(self, user_id: UserId, media_id: MediaId) -> bool:
        if media_id not in self._held(user_id):
            return False
        profile = self._profile(user_id)
        for slot in Slot:
            picture = getattr(profile, slot.value)
            if picture and picture.media_id == media_id:
                profile = dataclasses.replace(profile, **{slot.value: None})  # type: ignore[arg-type]
        self.rows[user_id] = profile
        self.deletions.note(user_id, media_id)
        return True

    async def discard(self, user_id: UserId, media_id: MediaId) -> None:
        if media_id not in self._held(user_id):
            self.deletions.note(user_id, media_id)

    def _profile(self, user_id: UserId) -> Profile:
        return self.rows.get(user_id, Profile(user_id=user_id))

    def _held(self, user_id: UserId) -> set[MediaId]:
        profile = self._profile(user_id)
        pictures = (profile.profile_picture, profile.cover_photo)
        return {picture.media_id for picture in pictures if picture}


class InMemoryAttempts:
    def __init__(self, now: Callable[[], datetime], deletions: InMemoryDeletions) -> None:
        self._now = now
        self._deletions = deletions
        self._begun = 0
        self.rows: dict[tuple[UserId, str], tuple[UploadAttempt, datetime]] = {}

    async def begin(
        self, user_id: UserId, idempotency_key: str, *, due_in: timedelta
    ) -> UploadAttempt:
        self._begun += 1  # so that no two begin at the same moment
        attempt = UploadAttempt(
            user_id=user_id,
            idempotency_key=idempotency_key,
            begun_at=self._now() + timedelta(microseconds=self._begun),
        )
        self.rows[user_id, idempotency_key] = attempt, self._now() + due_in
        return attempt

    async def claim(self) -> UploadAttempt | None:
        for name, (attempt, due_at) in self.rows.items():
            if due_at <= self._now():
                self.rows[name] = attempt, self._now() + timedelta(minutes=1)
                return attempt
        return None

    async def end(self, attempt: UploadAttempt) -> None:
        name = attempt.user_id, attempt.idempotency_key
        if name in self.rows and self.rows[name][0] == attempt:
            del self.rows[name]

    async def settle(self, attempt: UploadAttempt, media_id: MediaId) -> bool:
        await self.end(attempt)
        return media_id not in self._deletions.rows
