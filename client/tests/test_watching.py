"""Watching through what goes wrong on the way, with the double and with a scripted service."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from media_client import DeadlineExceeded, MediaClient, Purpose, Retries, Status, errors
from media_client.testing import FakeMediaClient, sample_picture
from media_proto import media_service_pb2 as pb
from scripted.service import MEDIA_ID, NOON, Attempt, ScriptedService, Step, refuse

QUICK = Retries(first_pause=0.001)


def told(*states: pb.ProcessingStatus.ValueType) -> Step:
    """Tell these states; the stream ends OK."""

    async def step(attempt: Attempt) -> bytes:
        for status in states:
            known = pb.MediaResponse(
                media_id=MEDIA_ID, status=status, created_at=NOON, updated_at=NOON
            )
            await attempt.context.write(known.SerializeToString())
        return b""

    return step


def told_then(status: pb.ProcessingStatus.ValueType, ending: Step) -> Step:
    async def step(attempt: Attempt) -> bytes:
        await told(status)(attempt)
        return await ending(attempt)

    return step


async def watched(scripted: ScriptedService, *, timeout: float = 10) -> list[Status]:
    async with MediaClient(scripted.address, retries=QUICK) as media:
        return [known.status async for known in media.watch(MEDIA_ID, timeout=timeout)]


async def test_a_stream_that_breaks_is_begun_anew_and_nothing_is_told_twice(
    scripted: ScriptedService,
) -> None:
    away = refuse(grpc.StatusCode.UNAVAILABLE, reason="service_stopping")
    scripted.then(
        told_then(pb.PENDING, away),
        away,
        told_then(pb.PENDING, away),
        told(pb.PENDING, pb.PROCESSING),
        told(pb.PROCESSING, pb.COMPLETED),
    )

    states = await watched(scripted)

    assert states == [Status.PENDING, Status.PROCESSING, Status.COMPLETED]
    assert len({seen.metadata["x-request-id"] for seen in scripted.seen}) == 1


async def test_a_deletion_meanwhile_is_told(scripted: ScriptedService) -> None:
    gone = refuse(grpc.StatusCode.NOT_FOUND, reason="media_not_found")
    scripted.then(told_then(pb.CANCELLED, gone))

    async with MediaClient(scripted.address, retries=QUICK) as media:
        watching = media.watch(MEDIA_ID, timeout=10)
        assert (await anext(watching)).status is Status.CANCELLED
        with pytest.raises(errors.MediaNotFound):
            await anext(watching)


async def test_patience_ends_with_the_timeout(scripted: ScriptedService) -> None:
    async def silent(_attempt: Attempt) -> bytes:
        await asyncio.sleep(60)
        return b""

    scripted.then(told_then(pb.PENDING, silent))

    with pytest.raises(DeadlineExceeded):
        await watched(scripted, timeout=0.3)


async def test_an_answer_that_makes_no_sense_is_no_state(scripted: ScriptedService) -> None:
    async def garbage(attempt: Attempt) -> bytes:
        await attempt.context.write(b"\xff\xff")
        return b""

    scripted.then(garbage)

    with pytest.raises(errors.BadAnswer):
        await watched(scripted)


async def test_who_leaves_ends_the_call(scripted: ScriptedService) -> None:
    async def endless(_attempt: Attempt) -> bytes:
        await asyncio.sleep(60)
        return b""

    scripted.then(told_then(pb.PENDING, endless))
    async with MediaClient(scripted.address) as media:
        async for _ in media.watch(MEDIA_ID):
            break
        async with asyncio.timeout(5):
            while not scripted.cancelled:
                await asyncio.sleep(0.01)


async def test_the_double_tells_of_work_that_was_held(double: FakeMediaClient) -> None:
    double.service.faults.hold_processing()
    stored = await double.upload_media(
        sample_picture(), filename="me.png", user_id="alice", purpose=Purpose.AVATAR
    )
    states = []
    async for known in double.watch(stored.media_id, timeout=5):
        states.append(known.status)
        double.service.faults.clear()

    assert states == [Status.PENDING, Status.COMPLETED]


async def test_the_double_tells_of_a_deletion(double: FakeMediaClient) -> None:
    double.service.faults.hold_processing()
    stored = await double.upload_profile_picture(sample_picture(), "me.png", "alice")

    watching = double.watch(stored.media_id, timeout=5)
    assert (await anext(watching)).status is Status.PENDING
    await double.delete_media(stored.media_id, user_id="alice")

    assert (await anext(watching)).status is Status.CANCELLED
    with pytest.raises(errors.MediaNotFound):
        await anext(watching)


async def test_the_double_is_tried_again_and_times_out(double: FakeMediaClient) -> None:
    double.service.faults.hold_processing()
    stored = await double.upload_profile_picture(sample_picture(), "me.png", "alice")
    double.service.faults.unavailable(times=5, rpc="WatchMedia")

    with pytest.raises(DeadlineExceeded):
        await double.wait_until_done(stored.media_id, timeout=0.2)

    double.service.faults.fail_processing("broken_file")
    double.service.faults.is_held = False
    known = await double.wait_until_done(stored.media_id, timeout=5)
    assert (known.status, known.failure_code) == (Status.FAILED, "broken_file")
