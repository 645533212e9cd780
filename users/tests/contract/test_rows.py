"""What every kind of rows promises; the same suite for those in memory and in PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from user_fakes.in_memory_rows import InMemoryRows
from user_fakes.postgres_server import new_database
from user_service.errors import InvalidRefreshToken, PictureSuperseded, UsernameTaken
from user_service.ports import (
    AccountRows,
    Allowance,
    AttemptRows,
    DeletionRows,
    ProfileRows,
    SessionRows,
    ThrottleRows,
)
from user_service.postgres.accounts import PostgresAccounts
from user_service.postgres.attempts import PostgresAttempts
from user_service.postgres.database import open_database
from user_service.postgres.deletions import PostgresDeletions
from user_service.postgres.profiles import PostgresProfiles
from user_service.postgres.sessions import PostgresSessions
from user_service.postgres.throttles import PostgresThrottles
from user_service.records import Account, MediaId, Picture, Session, Slot, Thumbnail, UserId

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
ADA = Account(user_id=UserId("ada-1"), username="ada", password_hash="hash")


@dataclasses.dataclass
class Rows:
    accounts: AccountRows
    sessions: SessionRows
    throttles: ThrottleRows
    profiles: ProfileRows
    deletions: DeletionRows
    attempts: AttemptRows


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    if request.param == "memory":
        kept = InMemoryRows()
        yield Rows(
            kept.accounts,
            kept.sessions,
            kept.throttles,
            kept.profiles,
            kept.deletions,
            kept.attempts,
        )
        return
    server = request.getfixturevalue("users_postgres_url")
    async with (
        new_database(server) as url,
        open_database(url, max_connections=8) as database,
    ):
        yield Rows(
            PostgresAccounts(database),
            PostgresSessions(database),
            PostgresThrottles(database),
            PostgresProfiles(database),
            PostgresDeletions(database),
            PostgresAttempts(database),
        )


def new_picture() -> Picture:
    media_id = MediaId(str(uuid.uuid4()))
    small = Thumbnail(name="small", url=f"http://m/{media_id}/small", width=150, height=150)
    return Picture(
        media_id=media_id,
        url=f"http://m/{media_id}/full",
        thumbnail_url=small.url,
        width=10,
        height=20,
        blurhash="LEHV6nWB2yk8pyo0adR*.7kCMdnj",
        thumbnails=(small,),
    )


async def opened(rows: Rows, token: bytes = b"1" * 32) -> Session:
    await rows.accounts.add(ADA, at=NOW)
    session = Session(session_id=str(uuid.uuid4()), user_id=ADA.user_id, ends_at=LATER)
    await rows.sessions.open(session, token, at=NOW, until=LATER)
    return session


class TestAccounts:
    async def test_an_account_is_found_by_its_name(self, rows: Rows) -> None:
        await rows.accounts.add(ADA, at=NOW)
        assert await rows.accounts.find("ada") == ADA
        assert await rows.accounts.find("bob") is None

    async def test_a_name_is_taken_once(self, rows: Rows) -> None:
        await rows.accounts.add(ADA, at=NOW)
        with pytest.raises(UsernameTaken):
            await rows.accounts.add(dataclasses.replace(ADA, user_id=UserId("2")), at=NOW)

    async def test_of_many_at_once_one_gets_the_name(self, rows: Rows) -> None:
        many = [dataclasses.replace(ADA, user_id=UserId(f"ada-{n}")) for n in range(8)]
        results = await asyncio.gather(
            *(rows.accounts.add(each, at=NOW) for each in many), return_exceptions=True
        )
        assert sorted(type(r).__name__ for r in results) == ["NoneType"] + ["UsernameTaken"] * 7

    async def test_an_account_comes_with_an_empty_profile(self, rows: Rows) -> None:
        await rows.accounts.add(ADA, at=NOW)
        profile = await rows.profiles.get(ADA.user_id)
        assert profile is not None
        assert (profile.username, profile.display_name, profile.profile_picture) == (
            "ada",
            "",
            None,
        )

    async def test_a_hash_is_replaced_if_it_is_still_the_one_known(self, rows: Rows) -> None:
        await rows.accounts.add(ADA, at=NOW)
        await rows.accounts.rehash(ADA, "better")
        await rows.accounts.rehash(ADA, "late")
        found = await rows.accounts.find("ada")
        assert found is not None
        assert found.password_hash == "better"


class TestSessions:
    async def test_a_refresh_token_is_good_once(self, rows: Rows) -> None:
        session = await opened(rows)
        assert await rows.sessions.rotate(b"1" * 32, b"2" * 32, at=NOW, until=LATER) == session
        assert await rows.sessions.rotate(b"2" * 32, b"3" * 32, at=NOW, until=LATER) == session

    async def test_reuse_ends_the_session_for_every_token_of_it(self, rows: Rows) -> None:
        session = await opened(rows)
        await rows.sessions.rotate(b"1" * 32, b"2" * 32, at=NOW, until=LATER)
        for token in (b"1" * 32, b"2" * 32):
            with pytest.raises(InvalidRefreshToken):
                await rows.sessions.rotate(token, b"3" * 32, at=NOW, until=LATER)
        assert not await rows.sessions.is_live(session.session_id, user_id=ADA.user_id, at=NOW)

    async def test_of_many_at_once_one_is_served_and_the_session_ends(self, rows: Rows) -> None:
        session = await opened(rows)
        results = await asyncio.gather(
            *(
                rows.sessions.rotate(b"1" * 32, bytes([65 + n]) * 32, at=NOW, until=LATER)
                for n in range(6)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, Session) for result in results) == 1
        assert not await rows.sessions.is_live(session.session_id, user_id=ADA.user_id, at=NOW)

    async def test_an_unknown_or_expired_token_is_refused(self, rows: Rows) -> None:
        await opened(rows)
        with pytest.raises(InvalidRefreshToken):
            await rows.sessions.rotate(b"9" * 32, b"2" * 32, at=NOW, until=LATER)
        with pytest.raises(InvalidRefreshToken):
            await rows.sessions.rotate(b"1" * 32, b"2" * 32, at=LATER, until=LATER)

    async def test_a_session_is_live_for_its_user_until_it_ends(self, rows: Rows) -> None:
        session = await opened(rows)
        live = rows.sessions.is_live
        assert await live(session.session_id, user_id=ADA.user_id, at=NOW)
        assert not await live(session.session_id, user_id=UserId("bob"), at=NOW)
        assert not await live(session.session_id, user_id=ADA.user_id, at=LATER)
        assert not await live("no uuid", user_id=ADA.user_id, at=NOW)
        await rows.sessions.end(b"1" * 32, at=NOW)
        assert not await live(session.session_id, user_id=ADA.user_id, at=NOW)

    async def test_a_used_token_ends_its_session_too(self, rows: Rows) -> None:
        session = await opened(rows)
        await rows.sessions.rotate(b"1" * 32, b"2" * 32, at=NOW, until=LATER)
        await rows.sessions.end(b"1" * 32, at=NOW)
        assert not await rows.sessions.is_live(session.session_id, user_id=ADA.user_id, at=NOW)

    async def test_what_is_over_is_forgotten(self, rows: Rows) -> None:
        session = await opened(rows)
        await rows.sessions.purge(before=NOW)
        assert await rows.sessions.is_live(session.session_id, user_id=ADA.user_id, at=NOW)
        await rows.sessions.purge(before=LATER + timedelta(days=1))
        with pytest.raises(InvalidRefreshToken):
            await rows.sessions.rotate(b"1" * 32, b"2" * 32, at=NOW, until=LATER)

    async def test_it_is_known_who_has_an_account(self, rows: Rows) -> None:
        await opened(rows)
        assert await rows.sessions.is_account(ADA.user_id)
        assert not await rows.sessions.is_account(UserId("bob"))


class TestThrottles:
    THREE = Allowance(count=3, per=timedelta(minutes=3))

    async def test_so_many_may_be_taken_and_no_more(self, rows: Rows) -> None:
        waits = [await rows.throttles.take(b"k" * 32, self.THREE) for _ in range(4)]
        assert waits[:3] == [timedelta()] * 3
        assert timedelta(seconds=50) < waits[3] <= timedelta(minutes=1)

    async def test_as_many_at_once_as_in_a_row(self, rows: Rows) -> None:
        waits = await asyncio.gather(
            *(rows.throttles.take(b"k" * 32, self.THREE) for _ in range(20))
        )
        assert waits.count(timedelta()) == 3

    async def test_what_is_given_back_may_be_taken_again(self, rows: Rows) -> None:
        for _ in range(10):
            assert not await rows.throttles.take(b"k" * 32, self.THREE)
            await rows.throttles.give_back(b"k" * 32, self.THREE)

    async def test_keys_do_not_share(self, rows: Rows) -> None:
        for _ in range(4):
            await rows.throttles.take(b"k" * 32, self.THREE)
        assert not await rows.throttles.take(b"l" * 32, self.THREE)

    async def test_what_was_taken_is_not_forgotten_too_early(self, rows: Rows) -> None:
        for _ in range(3):
            await rows.throttles.take(b"k" * 32, self.THREE)
        await rows.throttles.purge()
        assert await rows.throttles.take(b"k" * 32, self.THREE)


class TestProfiles:
    async def test_only_what_is_given_changes(self, rows: Rows) -> None:
        await rows.accounts.add(ADA, at=NOW)
        await rows.profiles.change(ADA.user_id, display_name="Ada", bio=None)
        changed = await rows.profiles.change(ADA.user_id, display_name=None, bio="first")
        assert (changed.username, changed.display_name, changed.bio) == ("ada", "Ada", "first")

    async def test_those_without_an_account_get_a_profile(self, rows: Rows) -> None:
        changed = await rows.profiles.change(UserId("guest"), display_name="G", bio=None)
        assert await rows.profiles.get(UserId("guest")) == changed

    async def test_a_slot_is_filled_and_what_was_there_is_noted(self, rows: Rows) -> None:
        old, new = new_picture(), new_picture()
        put = rows.profiles.put
        assert await put(ADA.user_id, Slot.PROFILE_PICTURE, old) is None
        assert await put(ADA.user_id, Slot.PROFILE_PICTURE, new) == old.media_id
        profile = await rows.profiles.get(ADA.user_id)
        assert profile is not None
        assert profile.profile_picture == new
        assert profile.cover_photo is None
        claimed = await rows.deletions.claim()
        assert claimed is not None
        assert (claimed.media_id, claimed.user_id) == (old.media_id, ADA.user_id)

    async def test_the_same_medium_again_deletes_nothing(self, rows: Rows) -> None:
        picture = new_picture()
        for _ in range(2):
            put = await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, picture)
            assert put is None
        assert await rows.deletions.count() == 0

    async def test_a_medium_in_two_slots_is_kept_while_one_holds_it(self, rows: Rows) -> None:
        picture = new_picture()
        for slot in Slot:
            await rows.profiles.put(ADA.user_id, slot, picture)
        assert await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, new_picture()) is None
        assert await rows.deletions.count() == 0

    async def test_what_was_replaced_does_not_come_back(self, rows: Rows) -> None:
        old, new = new_picture(), new_picture()
        await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, old)
        await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, new)
        for _ in range(2):
            with pytest.raises(PictureSuperseded):
                await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, old)
            await rows.deletions.done(old.media_id)
        profile = await rows.profiles.get(ADA.user_id)
        assert profile is not None
        assert profile.cover_photo == new

    async def test_many_at_once_leave_one_and_delete_the_others(self, rows: Rows) -> None:
        pictures = [new_picture() for _ in range(8)]
        await asyncio.gather(
            *(rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, each) for each in pictures)
        )
        profile = await rows.profiles.get(ADA.user_id)
        assert profile is not None
        assert profile.cover_photo in pictures
        assert await rows.deletions.count() == 7

    async def test_a_profile_forgets_what_it_holds_and_nothing_else(self, rows: Rows) -> None:
        picture = new_picture()
        await rows.profiles.put(ADA.user_id, Slot.PROFILE_PICTURE, picture)
        assert not await rows.profiles.forget(UserId("bob"), picture.media_id)
        assert await rows.profiles.forget(ADA.user_id, picture.media_id)
        assert not await rows.profiles.forget(ADA.user_id, picture.media_id)
        profile = await rows.profiles.get(ADA.user_id)
        assert profile is not None
        assert profile.profile_picture is None
        assert await rows.deletions.count() == 1

    async def test_a_medium_is_discarded_unless_the_profile_holds_it(self, rows: Rows) -> None:
        held, lost = new_picture(), new_picture()
        await rows.profiles.put(ADA.user_id, Slot.PROFILE_PICTURE, held)
        await rows.profiles.discard(ADA.user_id, held.media_id)
        assert await rows.deletions.count() == 0
        await rows.profiles.discard(ADA.user_id, lost.media_id)
        assert await rows.deletions.count() == 1


class TestDeletions:
    async def noted(self, rows: Rows) -> MediaId:
        media_id = MediaId(str(uuid.uuid4()))
        await rows.profiles.discard(ADA.user_id, media_id)
        return media_id

    async def test_what_is_claimed_is_not_due_for_a_while(self, rows: Rows) -> None:
        media_id = await self.noted(rows)
        claimed = await rows.deletions.claim()
        assert claimed is not None
        assert (claimed.media_id, claimed.attempts) == (media_id, 1)
        assert await rows.deletions.claim() is None

    async def test_a_certain_one_can_be_claimed_at_any_time(self, rows: Rows) -> None:
        media_id = await self.noted(rows)
        for attempts in (1, 2):
            claimed = await rows.deletions.claim(media_id)
            assert claimed is not None
            assert claimed.attempts == attempts

    async def test_what_is_done_is_not_claimed_again(self, rows: Rows) -> None:
        media_id = await self.noted(rows)
        await rows.deletions.done(media_id)
        assert await rows.deletions.claim(media_id) is None
        assert await rows.deletions.count() == 0

    async def test_each_is_claimed_by_one_of_many(self, rows: Rows) -> None:
        noted = {await self.noted(rows) for _ in range(5)}
        claimed = await asyncio.gather(*(rows.deletions.claim() for _ in range(8)))
        ids = [each.media_id for each in claimed if each]
        assert len(ids) == len(set(ids))
        assert set(ids) <= noted

    async def test_a_hundred_attempts_are_not_too_many(self, rows: Rows) -> None:
        media_id = await self.noted(rows)
        for _ in range(100):
            claimed = await rows.deletions.claim(media_id)
        assert claimed is not None
        assert claimed.attempts == 100


class TestAttempts:
    async def test_one_is_claimed_when_it_is_due_and_not_again_at_once(self, rows: Rows) -> None:
        await rows.attempts.begin(ADA.user_id, "later", due_in=timedelta(hours=1))
        assert await rows.attempts.claim() is None

        begun = await rows.attempts.begin(ADA.user_id, "now", due_in=timedelta())

        assert await rows.attempts.claim() == begun
        assert await rows.attempts.claim() is None

    async def test_what_has_ended_is_not_claimed(self, rows: Rows) -> None:
        begun = await rows.attempts.begin(ADA.user_id, "key", due_in=timedelta())
        await rows.attempts.end(begun)

        assert await rows.attempts.claim() is None

    async def test_one_ends_when_the_profile_holds_what_it_brought(self, rows: Rows) -> None:
        begun = await rows.attempts.begin(ADA.user_id, "key", due_in=timedelta())
        await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, new_picture(), ending=begun)

        assert await rows.attempts.claim() is None

    async def test_one_goes_on_when_the_profile_refuses_what_it_brought(self, rows: Rows) -> None:
        old = new_picture()
        await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, old)
        await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, new_picture())
        begun = await rows.attempts.begin(ADA.user_id, "key", due_in=timedelta())
        with pytest.raises(PictureSuperseded):
            await rows.profiles.put(ADA.user_id, Slot.COVER_PHOTO, old, ending=begun)

        assert await rows.attempts.claim() == begun

    async def test_the_end_of_an_earlier_one_is_not_that_of_a_later(self, rows: Rows) -> None:
        earlier = await rows.attempts.begin(ADA.user_id, "key", due_in=timedelta())
        later = await rows.attempts.begin(ADA.user_id, "key", due_in=timedelta())
        await rows.attempts.end(earlier)

        assert await rows.attempts.claim() == later
