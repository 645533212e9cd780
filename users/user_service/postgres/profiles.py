"""Profiles, and what happens to their pictures."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

import asyncpg

from user_service.errors import PictureSuperseded
from user_service.postgres.attempts import end_attempt
from user_service.postgres.database import Connection, PostgresDatabase
from user_service.records import MediaId, Picture, Profile, Slot, Thumbnail, UploadAttempt, UserId

_COLUMNS = "user_id, username, display_name, bio, profile_picture, cover_photo"


class PostgresProfiles:
    """The profiles."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def get(self, user_id: UserId) -> Profile | None:
        """The profile, if there is one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"select {_COLUMNS} from profiles where user_id = $1", user_id
            )
        return _profile(row) if row else None

    async def change(
        self, user_id: UserId, *, display_name: str | None, bio: str | None
    ) -> Profile:
        """Change what is given, and make the profile if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"""
                insert into profiles as p (user_id, username, display_name, bio, updated_at)
                values ($1, '', coalesce($2, ''), coalesce($3, ''), now())
                on conflict (user_id) do update set
                    display_name = coalesce($2, p.display_name),
                    bio = coalesce($3, p.bio),
                    updated_at = now()
                returning {_COLUMNS}
                """,
                user_id,
                display_name,
                bio,
            )
        assert row is not None
        return _profile(row)

    async def put(
        self, user_id: UserId, slot: Slot, picture: Picture, *, ending: UploadAttempt | None = None
    ) -> MediaId | None:
        """Fill a slot, and note the medium that was there for deletion; its id."""
        async with self._database.transaction() as connection:
            profile = await _locked(connection, user_id)
            await _refuse_superseded(connection, picture.media_id)
            await _fill(connection, user_id, slot, picture)
            if ending is not None:
                await end_attempt(connection, ending)
            before = getattr(profile, slot.value)
            if before is None or before.media_id == picture.media_id:
                return None
            if before.media_id in _held(profile, but=slot):
                return None
            await _note(connection, user_id, before.media_id)
            media_id: MediaId = before.media_id
            return media_id

    async def forget(self, user_id: UserId, media_id: MediaId) -> bool:
        """Empty the slots that hold this medium and note it for deletion; whether any did."""
        async with self._database.transaction() as connection:
            profile = await _locked(connection, user_id)
            slots = [s for s in Slot if media_id in _held(profile, only=s)]
            for slot in slots:
                await _fill(connection, user_id, slot, None)
            if slots:
                await _note(connection, user_id, media_id)
            return bool(slots)

    async def discard(self, user_id: UserId, media_id: MediaId) -> None:
        """Note a medium for deletion, unless this user's profile holds it."""
        async with self._database.transaction() as connection:
            if media_id not in _held(await _locked(connection, user_id)):
                await _note(connection, user_id, media_id)


async def _locked(connection: Connection, user_id: UserId) -> Profile:
    """The profile, made if need be; nobody else changes it until the transaction is over."""
    await connection.execute(
        """
        insert into profiles (user_id, username, display_name, bio, updated_at)
        values ($1, '', '', '', now()) on conflict do nothing
        """,
        user_id,
    )
    row = await connection.fetchrow(
        f"select {_COLUMNS} from profiles where user_id = $1 for update", user_id
    )
    assert row is not None
    return _profile(row)


async def _refuse_superseded(connection: Connection, media_id: MediaId) -> None:
    if await connection.fetchval(
        "select true from media_deletions where media_id = $1", uuid.UUID(media_id)
    ):
        raise PictureSuperseded


async def _fill(
    connection: Connection, user_id: UserId, slot: Slot, picture: Picture | None
) -> None:
    await connection.execute(
        f"update profiles set {slot.value} = $2, updated_at = now() where user_id = $1",
        user_id,
        json.dumps(dataclasses.asdict(picture)) if picture else None,
    )


async def _note(connection: Connection, user_id: UserId, media_id: MediaId) -> None:
    await connection.execute(
        "insert into media_deletions (media_id, user_id) values ($1, $2) on conflict do nothing",
        uuid.UUID(media_id),
        user_id,
    )


def _held(profile: Profile, *, only: Slot | None = None, but: Slot | None = None) -> set[MediaId]:
    slots = (slot for slot in Slot if slot is not but and only in (None, slot))
    pictures = (getattr(profile, slot.value) for slot in slots)
    return {picture.media_id for picture in pictures if picture}


def _profile(row: asyncpg.Record) -> Profile:
    return Profile(
        user_id=UserId(row["user_id"]),
        username=row["username"],
        display_name=row["display_name"],
        bio=row["bio"],
        profile_picture=_picture(row["profile_picture"]),
        cover_photo=_picture(row["cover_photo"]),
    )


def _picture(text: str | None) -> Picture | None:
    if text is None:
        return None
    kept: dict[str, Any] = json.loads(text)
    thumbnails = tuple(Thumbnail(**thumbnail) for thumbnail in kept.pop("thumbnails"))
    return Picture(**kept, thumbnails=thumbnails)
