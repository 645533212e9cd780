"""Pictures in and out of profiles while things fail, on rows in memory and the client's double."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from media_client import Retries, Visibility
from media_client import errors as media_errors
from media_client.testing import FakeMediaClient, sample_picture
from user_fakes.in_memory_rows import InMemoryRows
from user_service import errors, pictures
from user_service.attempts import Attempts
from user_service.deletions import Deletions
from user_service.media_over_grpc import OURS, MediaOverGrpc, translation
from user_service.pictures import Pictures
from user_service.ports import ProfileRows
from user_service.records import MediaId, Picture, Slot, UploadAttempt, UserId
from user_service.spools import SpooledFile
from user_service.viewing import Viewing

ADA, BOB = UserId("ada"), UserId("bob")
QUICK = Retries(first_pause=0.001)


class House:
    def __init__(self, client: FakeMediaClient, profiles: Any = None) -> None:
        self.client = client
        self.faults = client.service.faults
        self.rows = InMemoryRows()
        media = MediaOverGrpc(client)
        self.deletions = Deletions(rows=self.rows.deletions, media=media)
        rows: ProfileRows = profiles or self.rows.profiles
        self.attempts = Attempts(
            rows=self.rows.attempts, media=media, profiles=rows, due_in=timedelta()
        )
        self.viewing = Viewing(media)
        self.pictures = Pictures(
            media=media, profiles=rows, attempts=self.attempts, deletions=self.deletions
        )

    async def put(
        self, seed: int, *, key: str = "", user: UserId = ADA, slot: Slot = Slot.PROFILE_PICTURE
    ) -> Picture:
        return await self.pictures.put(
            file_of(sample_picture(seed=seed)),
            slot=slot,
            user_id=user,
            idempotency_key=key or f"key-{seed}",
        )

    def kept(self, user: UserId = ADA) -> set[str]:
        return set(self.client.service.ids_of(user))

    async def picture(self) -> Picture | None:
        profile = await self.rows.profiles.get(ADA)
        return profile.profile_picture if profile else None


def file_of(
    data: bytes, *, filename: str = "me.png", content_type: str = "image/png"
) -> SpooledFile:
    return SpooledFile(
        filename=filename, content_type=content_type, size_bytes=len(data), content=io.BytesIO(data)
    )


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with FakeMediaClient(retries=QUICK, timeout=0.5, upload_timeout=0.5) as client:
        yield House(client)


async def test_the_first_picture_fills_the_slot(house: House) -> None:
    picture = await house.put(1)
    assert await house.picture() == picture
    assert picture.thumbnails[0].url == picture.thumbnail_url


async def test_a_new_picture_stands_and_the_old_one_goes(house: House) -> None:
    await house.put(1)
    new = await house.put(2)
    assert await house.picture() == new
    assert house.kept() == {new.media_id}


async def test_slots_do_not_disturb_each_other(house: House) -> None:
    both = [await house.put(n, slot=slot) for n, slot in enumerate(Slot)]
    assert house.kept() == {picture.media_id for picture in both}


@pytest.mark.parametrize(
    "fault",
    [
        lambda faults: faults.unavailable(times=10),
        lambda faults: faults.refuse(media_errors.InternalError(), times=10),
        lambda faults: faults.refuse(media_errors.Unauthenticated(), times=10),
        lambda faults: faults.garble(times=10),
        lambda faults: faults.slow(5),
        lambda faults: faults.refuse(media_errors.InvalidStream(), times=10),
    ],
    ids=["down", "broken", "our token refused", "garbage", "slow", "misunderstood"],
)
async def test_a_failed_replacement_leaves_the_old_picture(house: House, fault: Any) -> None:
    old = await house.put(1)
    fault(house.faults)
    with pytest.raises(errors.MediaUnavailable):
        await house.put(2)
    house.faults.clear()
    assert await house.picture() == old
    assert old.media_id in house.kept()


async def test_a_short_outage_is_not_noticed(house: House) -> None:
    house.faults.unavailable(times=2)
    assert await house.put(1)


async def test_a_lost_answer_is_repaired_by_the_same_key(house: House) -> None:
    house.faults.lose_answers(times=10)
    with pytest.raises(errors.MediaUnavailable):
        await house.put(1, key="again")
    house.faults.clear()
    stored = house.kept()
    assert len(stored) == 1
    picture = await house.put(1, key="again")
    assert {picture.media_id} == stored == house.kept()


async def test_a_late_retry_does_not_bring_a_replaced_picture_back(house: House) -> None:
    await house.put(1, key="first")
    house.faults.unavailable(times=20, rpc="DeleteMedia")
    new = await house.put(2, key="second")
    with pytest.raises(errors.PictureSuperseded):
        await house.put(1, key="first")
    assert await house.picture() == new


async def test_the_old_picture_goes_when_the_service_is_back(house: House) -> None:
    old = await house.put(1)
    house.faults.unavailable(times=100, rpc="DeleteMedia")
    new = await house.put(2)
    assert house.kept() == {old.media_id, new.media_id}
    assert await house.deletions.work_off() == 0
    house.faults.clear()
    assert await house.deletions.hurry(old.media_id)
    assert house.kept() == {new.media_id}
    assert await house.rows.deletions.count() == 0


async def test_what_somebody_else_deleted_is_not_tried_for_ever(house: House) -> None:
    old = await house.put(1)
    house.faults.refuse(media_errors.MediaNotFound(), times=1, rpc="DeleteMedia")
    await house.put(2)
    assert await house.rows.deletions.count() == 0
    assert old.media_id in house.kept()


async def test_deleting_forgets_and_deletes_and_twice_is_no_error(house: House) -> None:
    picture = await house.put(1)
    for _ in range(2):
        assert await house.pictures.delete(picture.media_id, user_id=ADA)
    assert await house.picture() is None
    assert house.kept() == set()


async def test_deleting_while_the_service_is_away_is_done_later(house: House) -> None:
    picture = await house.put(1)
    house.faults.unavailable(times=100)
    assert not await house.pictures.delete(picture.media_id, user_id=ADA)
    assert await house.picture() is None
    house.faults.clear()
    assert await house.deletions.hurry(picture.media_id)
    assert house.kept() == set()


async def test_others_can_not_delete_what_is_public(house: House) -> None:
    picture = await house.put(1)
    with pytest.raises(errors.NotTheOwner):
        await house.pictures.delete(picture.media_id, user_id=BOB)
    assert await house.picture() == picture


async def test_what_is_private_is_not_there_for_others(house: House) -> None:
    from media_client import Purpose

    stored = await house.client.upload_media(
        sample_picture(),
        filename="me.png",
        user_id=ADA,
        purpose=Purpose.MESSAGE_ATTACHMENT,
        visibility=Visibility.PRIVATE,
    )
    media_id = MediaId(stored.media_id)
    assert (await house.viewing.details(media_id, user_id=ADA)).is_private
    said = set()
    for asked in (media_id, MediaId("0198c0de-0000-7000-8000-000000000000")):
        with pytest.raises(errors.MediaNotFound) as caught:
            await house.viewing.details(asked, user_id=BOB)
        said.add((caught.value.code, str(caught.value)))
        with pytest.raises(errors.MediaNotFound) as caught:
            await house.pictures.delete(asked, user_id=BOB)
        said.add((caught.value.code, str(caught.value)))
    assert said == {("media_not_found", "No such media.")}


@pytest.mark.parametrize(
    ("data", "filename", "code", "expected"),
    [
        (b"<!doctype html>", "me.jpg", "unsupported_type", errors.Unsupported),
        (b"\x7fELF" + bytes(60), "me.png", "unsupported_type", errors.Unsupported),
        (sample_picture()[:60], "me.png", "broken_file", errors.Broken),
    ],
)
async def test_refusals_keep_their_code_and_sentence(
    house: House, data: bytes, filename: str, code: str, expected: type[errors.UserError]
) -> None:
    with pytest.raises(expected) as caught:
        await house.pictures.put(
            file_of(data, filename=filename, content_type=""),
            slot=Slot.PROFILE_PICTURE,
            user_id=ADA,
            idempotency_key="k",
        )
    assert caught.value.code == code
    assert str(caught.value).endswith((".", "those that are."))


class ForgetfulDatabase:
    """Goes away with the answer: sometimes it did what it was asked, sometimes not."""

    def __init__(self, rows: ProfileRows, *, did_it: bool) -> None:
        self._rows = rows
        self._did_it = did_it

    async def put(
        self, user_id: UserId, slot: Slot, picture: Picture, *, ending: UploadAttempt
    ) -> None:
        if self._did_it:
            await self._rows.put(user_id, slot, picture, ending=ending)
        raise errors.DatabaseUnavailable

    async def discard(self, user_id: UserId, media_id: MediaId) -> None:
        await self._rows.discard(user_id, media_id)


@pytest.mark.parametrize("did_it", [True, False])
async def test_when_the_database_goes_away_no_medium_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, *, did_it: bool
) -> None:
    monkeypatch.setattr(pictures, "_RETRY_SECONDS", 0.01)
    async with FakeMediaClient() as client:
        house = House(client)
        forgetful = ForgetfulDatabase(house.rows.profiles, did_it=did_it)
        house.pictures._profiles = forgetful  # type: ignore[assignment]
        with pytest.raises(errors.DatabaseUnavailable):
            await house.put(1)
        await asyncio.sleep(0.05)
        await house.deletions.work_off()
        assert bool(house.kept()) is did_it
        assert bool(await house.picture()) is did_it


def test_every_failure_of_the_client_has_one_of_ours() -> None:
    kinds = [
        cls
        for cls in vars(media_errors).values()
        if isinstance(cls, type) and issubclass(cls, media_errors.MediaError)
    ]
    assert len(kinds) > 30
    for cls in kinds:
        ours = translation(cls())
        assert isinstance(ours, errors.UserError)
        if isinstance(ours, errors.MediaUnavailable):
            assert ours.code == "media_unavailable"
        else:
            assert (ours.code, str(ours)) == (cls().code, cls().message)
    assert set(OURS) <= set(kinds)


class Dying:
    """Profiles of a process that dies before it has filled a slot."""

    def __init__(self, rows: InMemoryRows) -> None:
        self._rows = rows

    async def put(self, *_: object, **__: object) -> MediaId | None:
        raise asyncio.CancelledError

    async def discard(self, user_id: UserId, media_id: MediaId) -> None:
        await self._rows.profiles.discard(user_id, media_id)


async def test_what_a_dead_process_uploaded_is_let_go() -> None:
    async with FakeMediaClient(retries=QUICK, timeout=0.5, upload_timeout=0.5) as client:
        rows = InMemoryRows()
        house = House(client, Dying(rows))
        house.rows.profiles = rows.profiles
        with pytest.raises(asyncio.CancelledError):
            await house.put(1)
        assert len(house.kept()) == 1

        assert await house.attempts.tidy() == 1

        [noted] = rows.deletions.rows
        assert {noted} == house.kept()


async def test_what_a_profile_holds_is_not_let_go(house: House) -> None:
    await house.put(1, key="same")
    await house.rows.attempts.begin(ADA, "same", due_in=timedelta())

    assert await house.attempts.tidy() == 1

    assert await house.rows.deletions.count() == 0
    assert await house.attempts.tidy() == 0


async def test_an_attempt_that_stored_nothing_is_forgotten(house: House) -> None:
    house.faults.unavailable(times=10)
    with pytest.raises(errors.MediaUnavailable):
        await house.put(1)
    house.faults.clear()

    assert await house.attempts.tidy() == 1
    assert await house.attempts.tidy() == 0
    assert house.kept() == set()
