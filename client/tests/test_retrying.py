"""Trying again: only what is safe, only while there is time, and never in step with others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_client import (
    DeadlineExceeded,
    Interrupted,
    Limited,
    MediaApi,
    MediaClient,
    NotFound,
    Purpose,
    Retries,
    Unavailable,
)
from media_proto import media_service_pb2 as pb
from scripted.service import MEDIA_ID, ScriptedService, hang, refuse

QUICK = Retries(attempts=4, first_pause=0.001)
AWAY = refuse(grpc.StatusCode.UNAVAILABLE, reason="database_unavailable")
BUSY = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="limited")

CALLS: dict[str, Callable[[MediaApi], Awaitable[object]]] = {
    "UploadMedia": lambda media: media.upload_profile_picture(b"data", "me.png", "alice"),
    "UploadMediaStream": lambda media: media.upload_media_stream(
        b"data", filename="me.png", user_id="alice", purpose=Purpose.AVATAR
    ),
    "GetMedia": lambda media: media.get_media(MEDIA_ID),
    "DeleteMedia": lambda media: media.delete_media(MEDIA_ID, user_id="alice"),
    "ProcessMedia": lambda media: media.process_media(MEDIA_ID, user_id="alice"),
    "GetSignedUrl": lambda media: media.get_signed_url(MEDIA_ID),
    "BatchGetMedia": lambda media: media.batch_get_media([MEDIA_ID]),
    "BatchDeleteMedia": lambda media: media.batch_delete_media([MEDIA_ID], user_id="alice"),
}


def test_every_method_of_the_contract_is_called_here() -> None:
    methods = pb.DESCRIPTOR.services_by_name["MediaService"].methods

    # What is watched is tried again for longer: test_watching.py.
    assert set(CALLS) | {"WatchMedia"} == {method.name for method in methods}


@pytest.mark.parametrize("rpc", CALLS)
async def test_what_is_away_for_a_moment_is_tried_again(
    scripted: ScriptedService, rpc: str
) -> None:
    scripted.then(AWAY, BUSY)

    async with MediaClient(scripted.address, retries=QUICK) as media:
        await CALLS[rpc](media)

    assert [seen.rpc for seen in scripted.seen] == [rpc] * 3
    assert len({seen.metadata["x-request-id"] for seen in scripted.seen}) == 1


@pytest.mark.parametrize("rpc", CALLS)
async def test_what_stays_away_is_given_up_in_the_end(scripted: ScriptedService, rpc: str) -> None:
    scripted.then(*[AWAY] * 9)

    async with MediaClient(scripted.address, retries=QUICK) as media:
        with pytest.raises(Unavailable) as caught:
            await CALLS[rpc](media)

    assert caught.value.code == "database_unavailable"
    assert len(scripted.seen) == 4


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ],
)
async def test_what_another_attempt_would_meet_too_is_not_tried_again(
    scripted: ScriptedService, status: grpc.StatusCode
) -> None:
    scripted.then(refuse(status))

    async with MediaClient(scripted.address, retries=QUICK) as media:
        with pytest.raises(Exception, match=r"\."):
            await media.get_media(MEDIA_ID)

    assert len(scripted.seen) == 1


async def test_a_call_that_the_other_side_cancels_is_tried_again(scripted: ScriptedService) -> None:
    scripted.then(refuse(grpc.StatusCode.CANCELLED))

    async with MediaClient(scripted.address, retries=QUICK) as media:
        await media.get_media(MEDIA_ID)

    assert len(scripted.seen) == 2


async def test_attempts_at_an_upload_share_a_key_of_their_own(scripted: ScriptedService) -> None:
    scripted.then(AWAY)

    async with MediaClient(scripted.address, retries=QUICK) as media:
        await CALLS["UploadMedia"](media)
        await CALLS["UploadMedia"](media)

    requests = [pb.UploadMediaRequest.FromString(seen.messages[0]) for seen in scripted.seen]
    first, again, other = [request.idempotency_key for request in requests]
    assert first
    assert first == again
    assert first != other


@pytest.mark.parametrize("given", [None, "form-7"])
async def test_the_key_of_an_upload(scripted: ScriptedService, given: str | None) -> None:
    keys: list[str] = []

    async with MediaClient(scripted.address) as media:
        for _ in range(2):
            await media.upload_media_stream(
                b"data",
                filename="me.png",
                user_id="alice",
                purpose=Purpose.AVATAR,
                idempotency_key=given,
            )
            keys.append(scripted.about().idempotency_key)

    assert all(keys)
    assert len(set(keys)) == (1 if given else 2)


async def test_the_time_that_the_service_asks_for_is_given(scripted: ScriptedService) -> None:
    scripted.then(refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="limited", retry_seconds=0.3))
    started = time.monotonic()

    async with MediaClient(scripted.address, retries=QUICK) as media:
        await media.get_media(MEDIA_ID)

    assert time.monotonic() - started >= 0.3


async def test_no_pause_goes_beyond_the_timeout(scripted: ScriptedService) -> None:
    scripted.then(refuse(grpc.StatusCode.UNAVAILABLE, reason="storage_full", retry_seconds=30))
    started = time.monotonic()

    async with MediaClient(scripted.address, timeout=5) as media:
        with pytest.raises(Unavailable) as caught:
            await media.get_media(MEDIA_ID)

    assert caught.value.retry_after == 30
    assert time.monotonic() - started < 2


async def test_all_attempts_share_one_timeout(scripted: ScriptedService) -> None:
    scripted.then(AWAY, AWAY, hang)
    started = time.monotonic()

    async with MediaClient(scripted.address, timeout=0.5, retries=QUICK) as media:
        with pytest.raises(DeadlineExceeded) as caught:
            await media.get_media(MEDIA_ID)

    assert 0.4 < time.monotonic() - started < 2
    assert caught.value.request_id == scripted.seen[0].metadata["x-request-id"]
    assert len(scripted.seen) == 3


async def test_the_service_learns_that_nobody_waits_any_more(scripted: ScriptedService) -> None:
    scripted.then(hang)

    async with MediaClient(scripted.address, timeout=0.2) as media:
        with pytest.raises(DeadlineExceeded):
            await media.get_media(MEDIA_ID)
        async with asyncio.timeout(5):
            while not scripted.cancelled:
                await asyncio.sleep(0.01)


async def test_a_timeout_of_the_caller_is_the_callers(scripted: ScriptedService) -> None:
    scripted.then(hang)

    async with MediaClient(scripted.address) as media:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await media.get_media(MEDIA_ID)


@pytest.mark.parametrize("rpc", CALLS)
async def test_a_cancelled_task_is_cancelled(scripted: ScriptedService, rpc: str) -> None:
    scripted.then(hang)

    async with MediaClient(scripted.address) as media:
        task = asyncio.ensure_future(CALLS[rpc](media))
        while not scripted.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while not scripted.cancelled:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("rpc", CALLS)
async def test_closing_the_client_ends_calls_that_run(scripted: ScriptedService, rpc: str) -> None:
    scripted.then(hang)
    media = MediaClient(scripted.address)
    await media.__aenter__()
    task = asyncio.ensure_future(CALLS[rpc](media))
    while not scripted.seen:
        await asyncio.sleep(0.01)

    await media.__aexit__(None, None, None)

    with pytest.raises(Interrupted):
        await asyncio.wait_for(task, 5)


async def test_a_service_that_comes_back_is_found(scripted: ScriptedService) -> None:
    async with MediaClient(scripted.address, retries=Retries(attempts=9)) as media:
        await media.get_media(MEDIA_ID)
        await scripted.stop()
        waiting = asyncio.create_task(media.get_media(MEDIA_ID))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await scripted.start(address=scripted.address)

        await asyncio.wait_for(waiting, 8)


async def test_a_service_that_is_not_there_is_unavailable(scripted: ScriptedService) -> None:
    await scripted.stop()

    async with MediaClient(scripted.address, retries=QUICK) as media:
        with pytest.raises(Unavailable) as caught:
            await media.get_media(MEDIA_ID)

    assert caught.value.code == "unavailable"
    assert "127.0.0.1" not in str(caught.value)


async def test_one_attempt_means_one(scripted: ScriptedService) -> None:
    scripted.then(BUSY)

    async with MediaClient(scripted.address, retries=Retries(attempts=1)) as media:
        with pytest.raises(Limited):
            await media.get_media(MEDIA_ID)

    assert len(scripted.seen) == 1


async def test_errors_of_attempts_that_helped_are_not_told(scripted: ScriptedService) -> None:
    scripted.then(AWAY, refuse(grpc.StatusCode.NOT_FOUND, reason="media_not_found"))

    async with MediaClient(scripted.address, retries=QUICK) as media:
        with pytest.raises(NotFound):
            await media.get_media(MEDIA_ID)


@settings(deadline=None)
@given(
    failed=st.integers(1, 10_000),
    asked=st.none() | st.floats(0, 60),
    chance=st.floats(0, 1),
)
def test_a_pause_is_what_was_asked_for_and_a_random_share_of_what_grows(
    failed: int, asked: float | None, chance: float
) -> None:
    retries = Retries(first_pause=0.1, longest_pause=2)

    pause = retries.pause(failed=failed, asked=asked, chance=chance)

    assert (asked or 0) <= pause <= (asked or 0) + min(2, 0.1 * 2 ** min(failed, 30))
    assert retries.pause(failed=failed, asked=None, chance=0) == 0
    assert retries.pause(failed=failed + 1, asked=None, chance=1) >= retries.pause(
        failed=failed, asked=None, chance=1
    )


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first_pause": -1}, {"longest_pause": -0.1}])
def test_retries_that_can_not_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="attempts"):
        Retries(**wrong)
