"""Attachments over HTTP and the events of their making, with the media client's double."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from media_client.testing import sample_picture
from user_fakes.held import HeldUpload
from user_fakes.running import Person, Running, refusal, running
from user_service.http_api import events, places, uploading

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]
ATTACHMENTS = "/api/v1/media/attachments"
MB = 1024 * 1024


_seeds = itertools.count(100)


async def attached(
    service: Running, person: Person, file: bytes | None = None, **headers: str
) -> dict[str, Any]:
    picture = file or sample_picture(seed=next(_seeds))  # of equal ones all would be made already
    answer = await service.upload(person, picture, path=ATTACHMENTS, **headers)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def send(
    service: Running, person: Person, data: bytes, name: str, content_type: str
) -> httpx.Response:
    files = {"file": (name, data, content_type)}
    return await service.http.post(ATTACHMENTS, files=files, headers=person.headers)


async def listened(service: Running, person: Person, media_id: str) -> list[tuple[str, Any]]:
    """Every event of a medium until the stream ends."""
    path = f"/api/v1/media/{media_id}/events"
    told, name = [], "message"
    async with service.http.stream("GET", path, headers=person.headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                told.append((name, json.loads(line.removeprefix("data: "))))
    return told


async def test_an_attachment_is_answered_with_all_that_is_known(service: Running) -> None:
    person = await service.person()
    data = await attached(service, person)
    assert {
        "media_id", "media_type", "url", "thumbnail_url", "width", "height", "blurhash",
        "duration_ms", "status", "progress_percent", "renditions", "has_audio", "page_count",
    } <= set(data)  # fmt: skip
    assert (data["media_type"], data["purpose"]) == ("image", "post_attachment")
    assert {"name", "url", "content_type", "size_bytes"} <= set(data["renditions"][0])
    url = f"/api/v1/media/{data['media_id']}"
    known = await service.http.get(url, headers=person.headers)
    assert known.json()["data"]["media_id"] == data["media_id"]
    profile = await service.profile(person)
    assert profile["profile_picture_id"] is profile["cover_photo_id"] is None


async def test_the_same_key_answers_the_same_medium(service: Running) -> None:
    person = await service.person()
    first = await attached(service, person, sample_picture(), Idempotency_Key="one")
    again = await attached(service, person, sample_picture(), Idempotency_Key="one")
    assert again["media_id"] == first["media_id"]
    assert len(service.media.ids_of(person.user_id)) == 1
    answer = await service.upload(
        person, sample_picture(seed=9), path=ATTACHMENTS, Idempotency_Key="one"
    )
    assert refusal(answer) == (409, "idempotency_key_reused")


async def test_what_stands_is_not_let_go(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, abandoned_seconds=0.01) as service:
        person = await service.person()
        data = await attached(service, person)
        await asyncio.sleep(0.1)
        assert service.media.ids_of(person.user_id) == (data["media_id"],)


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("notes.pdf", "application/pdf", (415, "unsupported_type")),
        ("page.html", "text/html", (415, "unsupported_type")),
        ("empty.mov", "video/quicktime", (400, "empty_file")),
    ],
)
async def test_what_posts_do_not_carry_is_refused(
    service: Running, name: str, content_type: str, expected: tuple[int, str]
) -> None:
    person = await service.person()
    data = b"" if "empty" in name else b"whatever"
    answer = await send(service, person, data, name, content_type)
    assert refusal(answer) == expected
    if expected[0] == 415:
        assert "films" in answer.json()["error"]["message"]


async def test_each_kind_has_its_own_limit(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert uploading.ATTACHMENT_BYTES == {"image": 25 * MB, "audio": 100 * MB, "video": 512 * MB}
    small = {"image": 1 * MB, "audio": 2 * MB, "video": 3 * MB}
    monkeypatch.setattr(uploading, "ATTACHMENT_BYTES", small)
    person = await service.person()
    for name, content_type, limit in (
        ("a.png", "image/png", 1),
        ("a.mp3", "audio/mpeg", 2),
        ("a.mov", "video/quicktime", 3),
        ("a", "application/octet-stream", 3),
    ):
        answer = await send(service, person, bytes(limit * MB), name, content_type)
        assert answer.status_code != 413, "no byte too many, if nothing that plays"
        answer = await send(service, person, bytes(limit * MB + 1), name, content_type)
        assert refusal(answer) == (413, "file_too_large")


async def test_a_film_that_says_it_is_too_large_is_not_read(service: Running) -> None:
    person = await service.person()
    head = (
        f"POST {ATTACHMENTS} HTTP/1.1\r\nHost: x\r\nContent-Length: {513 * MB}\r\n"
        f"Authorization: Bearer {person.access_token}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    answer = await service.raw(head.encode(), until_end=False)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_nobody_sends_more_than_a_few_at_a_time(service: Running) -> None:
    person = await service.person()
    content_type = {"Content-Type": "multipart/form-data; boundary=x"}
    gate = asyncio.Event()

    async def held() -> Any:
        yield b"--x\r\n"
        await gate.wait()

    slow = [
        asyncio.create_task(
            service.http.post(ATTACHMENTS, content=held(), headers=person.headers | content_type)
        )
        for _ in range(4)
    ]
    await asyncio.sleep(0.3)
    answer = await service.upload(person, path=ATTACHMENTS)
    assert refusal(answer) == (429, "too_many_uploads")
    assert (await service.upload(person)).status_code == 200, "a profile picture may come"
    gate.set()
    await asyncio.gather(*slow)
    assert (await service.upload(person, path=ATTACHMENTS)).status_code == 200


class TestFullPlaces:
    """Real connections that hold every place."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(uploading, "ATTACHMENTS_OF_ONE", 2)

    async def test_few_who_send_slowly_keep_nobody_out(
        self, database_url: str, tmp_path: Path
    ) -> None:
        async with running(database_url, tmp_path, attachments_at_once=4) as service:
            stalling = [await service.person() for _ in range(2)]
            held = [
                await HeldUpload.of(service, person, ATTACHMENTS)
                for person in stalling
                for _ in range(2)
            ]
            newcomers = []
            for _ in range(2):
                person = await service.person()
                newcomers.append(await HeldUpload.of(service, person, ATTACHMENTS))
                sent_away, _ = await asyncio.wait(
                    [each.answer for each in held], return_when=asyncio.FIRST_COMPLETED, timeout=20
                )
                assert [each.result() for each in sent_away] == [(503, "upload_gave_way")]
                held = [each for each in held if each.answer not in sent_away]
            assert [await each.finish() for each in newcomers + held] == [(200, "")] * 4

    @pytest.mark.parametrize(
        ("grace", "status", "its_own"),
        [(0.0, 200, (503, "upload_gave_way")), (3600.0, 503, (200, ""))],
    )
    async def test_the_only_one_of_somebody_goes_on_unless_slow_and_in_the_way(
        self,
        database_url: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        grace: float,
        status: int,
        its_own: tuple[int, str],
    ) -> None:
        monkeypatch.setattr(places, "GRACE_SECONDS", grace)
        async with running(database_url, tmp_path, attachments_at_once=1) as service:
            alone = await HeldUpload.of(service, await service.person(), ATTACHMENTS)
            assert await alone.finish() == (200, ""), "nobody else wanted the place"
            held = await HeldUpload.of(service, await service.person(), ATTACHMENTS)
            answer = await service.upload(await service.person(), path=ATTACHMENTS)
            assert answer.status_code == status
            assert await held.finish() == its_own


async def test_an_hour_has_so_many(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, attachments_per_user=2) as service:
        person = await service.person()
        for _ in range(2):
            await attached(service, person)
        answer = await service.upload(person, path=ATTACHMENTS)
        assert refusal(answer) == (429, "too_many_uploads")
        assert int(answer.headers["retry-after"]) > 60


class TestEvents:
    async def test_changes_are_told_until_it_is_over(self, service: Running) -> None:
        person = await service.person()
        service.media.faults.hold_processing()
        media_id = (await attached(service, person))["media_id"]
        listening = asyncio.create_task(listened(service, person, media_id))
        await asyncio.sleep(0.3)
        assert not listening.done()
        service.media.faults.clear()
        told = await asyncio.wait_for(listening, 5)
        assert [(name, each["status"]) for name, each in told] == [
            ("message", "pending"),
            ("message", "completed"),
        ]

    async def test_who_may_not_see_it_may_not_listen(self, service: Running) -> None:
        person = await service.person()
        for media_id, expected in (
            ("0198c0de-0000-7000-8000-000000000000", (404, "media_not_found")),
            ("nonsense", (400, "invalid_media_id")),
        ):
            path = f"/api/v1/media/{media_id}/events"
            answer = await service.http.get(path, headers=person.headers)
            assert refusal(answer) == expected
            assert refusal(await service.http.get(path)) == (401, "unauthenticated")

    async def test_a_deletion_ends_it_with_its_code(self, service: Running) -> None:
        person = await service.person()
        service.media.faults.hold_processing()
        media_id = (await attached(service, person))["media_id"]
        listening = asyncio.create_task(listened(service, person, media_id))
        await asyncio.sleep(0.2)
        url = f"/api/v1/media/{media_id}"
        assert (await service.http.delete(url, headers=person.headers)).status_code == 200
        told = await asyncio.wait_for(listening, 5)
        assert told[-1][0] == "error"
        assert told[-1][1]["code"] == "media_not_found"

    async def test_silence_is_filled_and_has_an_end(
        self, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "_LOOK_SECONDS", 0.02)
        monkeypatch.setattr(events, "_HEARTBEAT_SECONDS", 0.1)
        monkeypatch.setattr(events, "_LONGEST_SECONDS", 0.5)
        person = await service.person()
        service.media.faults.hold_processing()
        media_id = (await attached(service, person))["media_id"]
        path = f"/api/v1/media/{media_id}/events"
        answer = await service.http.get(path, headers=person.headers)
        assert 2 <= answer.text.count(":\n\n") <= 5
        assert answer.text.count("data: ") == 1

    async def test_one_person_has_so_many_and_leaving_gives_them_back(
        self, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "STREAMS_OF_ONE", 2)
        person = await service.person()
        service.media.faults.hold_processing()
        media_id = (await attached(service, person))["media_id"]
        path = f"/api/v1/media/{media_id}/events"
        listening = [
            asyncio.create_task(service.http.get(path, headers=person.headers)) for _ in range(2)
        ]
        await asyncio.sleep(0.3)
        answer = await service.http.get(path, headers=person.headers)
        assert refusal(answer) == (429, "too_many_listeners")
        assert "userd_event_streams 2.0" in (await service.http.get("/metrics")).text
        for each in listening:
            each.cancel()
        await asyncio.sleep(0.3)
        assert "userd_event_streams 0.0" in (await service.http.get("/metrics")).text
