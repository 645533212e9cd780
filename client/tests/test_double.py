"""The double's faults: what callers' tests switch on, and what they then see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from media_client import (
    BadAnswer,
    DeadlineExceeded,
    Interrupted,
    MediaApi,
    MediaClient,
    Purpose,
    Retries,
    Status,
    Unavailable,
    errors,
    request_id,
)
from media_client.testing import FakeMediaClient, InMemoryMedia, sample_picture

PICTURE = sample_picture()


async def upload(media: MediaApi) -> str:
    """The id of a picture that alice uploads."""
    stored = await media.upload_profile_picture(PICTURE, "me.png", "alice")
    return stored.media_id


async def test_it_is_a_client_like_the_real_one() -> None:
    clients: list[MediaApi] = [FakeMediaClient(), MediaClient("localhost:1")]

    assert all(isinstance(client, MediaApi) for client in clients)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_moment_of_unavailability_is_overcome(double: FakeMediaClient, times: int) -> None:
    double.service.faults.unavailable(times=times)

    media_id = await upload(double)

    assert double.service.ids_of("alice") == (media_id,)
    assert len(double.service.calls) == times + 1


async def test_a_long_one_is_not(double: FakeMediaClient) -> None:
    double.service.faults.unavailable(times=4)

    with pytest.raises(Unavailable):
        await upload(double)

    assert double.service.ids_of("alice") == ()


async def test_a_lost_answer_stores_nothing_twice(double: FakeMediaClient) -> None:
    double.service.faults.lose_answers(times=2)

    media_id = await upload(double)

    assert double.service.ids_of("alice") == (media_id,)


async def test_a_lost_answer_that_stays_lost_has_stored_something() -> None:
    async with FakeMediaClient(retries=Retries(attempts=1)) as media:
        media.service.faults.lose_answers()

        with pytest.raises(Interrupted):
            await upload(media)

        assert len(media.service.ids_of("alice")) == 1


@pytest.mark.parametrize("size", [0, 2 << 20])
async def test_a_request_that_arrives_twice_is_done_once(
    double: FakeMediaClient, size: int
) -> None:
    double.service.faults.duplicate()

    stored = await double.upload_profile_picture(PICTURE + bytes(size), "me.png", "alice")

    assert double.service.ids_of("alice") == (stored.media_id,)


async def test_without_a_key_it_would_be_done_twice(double: FakeMediaClient) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield PICTURE

    double.service.faults.duplicate()
    await double.upload_media_stream(
        once(), filename="me.png", user_id="alice", purpose=Purpose.AVATAR
    )

    assert len(double.service.ids_of("alice")) == 2


async def test_a_slow_service_meets_the_deadline() -> None:
    async with FakeMediaClient(timeout=0.05) as media:
        media_id = await upload(media)
        media.service.faults.slow(5)
        started = time.monotonic()

        with pytest.raises(DeadlineExceeded):
            await media.get_media(media_id)

        assert time.monotonic() - started < 1


async def test_garbage_is_a_bad_answer(double: FakeMediaClient) -> None:
    media_id = await upload(double)
    double.service.faults.garble()

    with pytest.raises(BadAnswer):
        await double.delete_media(media_id, user_id="alice")

    assert double.service.ids_of("alice") == (media_id,)


async def test_a_fault_hits_the_method_that_is_named(double: FakeMediaClient) -> None:
    double.service.faults.refuse(errors.MediaDamaged(), times=9, rpc="GetSignedUrl")

    media_id = await upload(double)

    with pytest.raises(errors.MediaDamaged):
        await double.get_signed_url(media_id)


async def test_processing_can_fail_and_be_tried_again(double: FakeMediaClient) -> None:
    double.service.faults.fail_processing("too_complex")
    media_id = await upload(double)

    failed = await double.get_media(media_id)
    double.service.faults.clear()
    again = await double.process_media(media_id, user_id="alice")

    assert (failed.status, failed.failure_code) == (Status.FAILED, "too_complex")
    assert again.status is Status.PENDING
    assert (await double.get_media(media_id)).status is Status.COMPLETED


async def test_processing_can_be_held(double: FakeMediaClient) -> None:
    double.service.faults.hold_processing()
    media_id = await upload(double)

    assert (await double.get_media(media_id)).status is Status.PENDING


async def test_faults_can_be_cleared(double: FakeMediaClient) -> None:
    faults = double.service.faults
    faults.unavailable(times=9)
    faults.slow(30)

    faults.clear()

    await asyncio.wait_for(upload(double), 1)


async def test_request_ids_arrive(double: FakeMediaClient) -> None:
    with request_id("req-7f3a"):
        await upload(double)

    assert {(c.rpc, c.request_id) for c in double.service.calls} == {("UploadMedia", "req-7f3a")}


async def test_time_can_pass() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    service = InMemoryMedia(clock=lambda: now)
    async with FakeMediaClient(service) as media:
        stored = await media.upload_media(
            PICTURE, filename="me.png", user_id="alice", purpose=Purpose.STORY
        )
        now += timedelta(hours=23, minutes=59)
        assert await media.get_media(stored.media_id)
        now += timedelta(minutes=1)

        with pytest.raises(errors.MediaNotFound):
            await media.get_media(stored.media_id)
    assert service.ids_of("alice") == ()


async def test_it_is_used_open_only() -> None:
    media = FakeMediaClient()

    with pytest.raises(RuntimeError, match="async with"):
        await upload(media)
    async with media:
        with pytest.raises(RuntimeError, match="open already"):
            await media.__aenter__()


@pytest.mark.parametrize("size", [(16_385, 1), (10_000, 5_001)])
async def test_pictures_beyond_limits_are_refused(
    double: FakeMediaClient, size: tuple[int, int]
) -> None:
    with pytest.raises(errors.TooManyPixels):
        await double.upload_cover_photo(sample_picture(*size), "me.png", "alice")
