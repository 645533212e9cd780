"""Pictures over HTTP: limits, ownership, failures of the media service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from media_client import Purpose
from media_client import errors as media_errors
from media_client.testing import FakeMediaClient, sample_picture
from user_fakes.running import COVER, PICTURE, Running, refusal, running

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]
MB = 1024 * 1024
STRANGE = "0198c0de-0000-7000-8000-000000000000"


async def test_an_upload_answers_what_it_promises_and_the_profile_has_it(service: Running) -> None:
    person = await service.person()
    for path, slot in ((PICTURE, "profile_picture"), (COVER, "cover_photo")):
        answer = await service.upload(person, sample_picture(300, 200), path=path)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert {"media_id", "url", "thumbnail_url", "width", "height", "blurhash"} <= set(data)
        assert (data["width"], data["height"]) == (300, 200)
        profile = await service.profile(person)
        assert profile[f"{slot}_id"] == data["media_id"]
        assert profile[f"{slot}_url"] == data["url"]
        assert profile[slot] == data


async def test_anyone_sees_the_profile_and_only_its_owner_changes_it(service: Running) -> None:
    person = await service.person()
    await service.upload(person)
    changes = {"display_name": " Ada ", "bio": "one\r\ntwo", "user_id": person.user_id}
    changed = await service.http.patch("/api/v1/profile", json=changes, headers=person.headers)
    assert changed.json()["data"]["bio"] == "one\ntwo"
    seen = await service.http.get(f"/api/v1/users/{person.user_id}/profile")
    assert seen.json() == changed.json()
    other = await service.person()
    stolen = await service.http.patch("/api/v1/profile", json=changes, headers=other.headers)
    assert refusal(stolen) == (403, "not_you")


async def test_replacing_deletes_the_old_one(service: Running) -> None:
    person = await service.person()
    first = (await service.upload(person, sample_picture(seed=1))).json()["data"]
    second = (await service.upload(person, sample_picture(seed=2))).json()["data"]
    assert service.media.ids_of(person.user_id) == (second["media_id"],)
    gone = await service.http.get(f"/api/v1/media/{first['media_id']}", headers=person.headers)
    assert refusal(gone) == (404, "media_not_found")


@pytest.mark.parametrize(("path", "limit"), [(PICTURE, 10 * MB), (COVER, 20 * MB)])
async def test_the_limit_is_the_limit(service: Running, path: str, limit: int) -> None:
    person = await service.person()
    picture = sample_picture() + bytes(limit - len(sample_picture()))
    assert (await service.upload(person, picture, path=path)).status_code == 200
    answer = await service.upload(person, picture + b"x", path=path)
    assert refusal(answer) == (413, "file_too_large")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (("me.jpg", b"<!doctype html><script>", "image/jpeg"), (415, "unsupported_type")),
        (("me.jpg", b"<!doctype html><script>", "text/html"), (415, "unsupported_type")),
        (("me.png", b"<svg onload='x()'/>", "image/svg+xml"), (415, None)),
        (("me.png", b"\x7fELF" + bytes(99), "image/png"), (415, "unsupported_type")),
        (("me.png", sample_picture()[:70], "image/png"), (422, "broken_file")),
        (("me.png", b"", "image/png"), (400, "empty_file")),
        (("me.png", sample_picture(), "nonsense"), (415, "unsupported_type")),
    ],
)
async def test_what_is_no_picture_is_refused(
    service: Running, file: tuple[str, bytes, str], expected: tuple[int, str | None]
) -> None:
    person = await service.person()
    answer = await service.http.post(PICTURE, files={"file": file}, headers=person.headers)
    status, code = refusal(answer)
    assert (status, expected[1] and code) == expected
    assert (await service.profile(person))["profile_picture_id"] is None


async def test_two_files_a_wrong_field_or_none_are_refused(service: Running) -> None:
    person = await service.person()
    one = ("me.png", sample_picture(), "image/png")
    cases = [
        ([("file", one), ("file", one)], (400, "too_many_files")),
        ([("picture", one)], (400, "unexpected_field")),
        ([("file", one), ("user_id", (None, b"someone"))], (403, "not_you")),
        ([("user_id", (None, person.user_id.encode()))], (400, "missing_file")),
    ]
    for files, expected in cases:
        answer = await service.http.post(PICTURE, files=files, headers=person.headers)  # type: ignore[arg-type]
        assert refusal(answer) == expected


async def test_names_of_files_do_no_harm(service: Running) -> None:
    person = await service.person()
    names = [
        "../../x.png",
        "a\r\nX-Evil: 1.png",
        "\u202egnp.exe",
        "x" * 5000,
        "né.png",
        "ne\u0301.png",
    ]
    for name in names:
        file = (name, sample_picture(), "image/png")
        answer = await service.http.post(PICTURE, files={"file": file}, headers=person.headers)
        assert answer.status_code in (200, 400, 415)
        assert "x-evil" not in answer.headers


class TestOwnership:
    async def test_only_the_owner_deletes(self, service: Running) -> None:
        owner, other = await service.person(), await service.person()
        media_id = (await service.upload(owner)).json()["data"]["media_id"]
        url = f"/api/v1/media/{media_id}"
        answer = await service.http.delete(url, headers=other.headers)
        assert refusal(answer) == (403, "not_the_owner")
        assert (await service.http.get(url, headers=other.headers)).status_code == 200
        for _ in range(2):
            answer = await service.http.delete(url, headers=owner.headers)
            assert answer.status_code == 200
            assert answer.json()["data"] == {"media_id": media_id, "status": "deleted"}
        profile = await service.profile(owner)
        assert (profile["profile_picture_id"], profile["profile_picture"]) == (None, None)

    async def test_private_media_of_others_is_not_there(self, service: Running) -> None:
        owner, other = await service.person(), await service.person()
        async with FakeMediaClient(service.media) as client:
            stored = await client.upload_media(
                sample_picture(),
                filename="secret.png",
                user_id=owner.user_id,
                purpose=Purpose.MESSAGE_ATTACHMENT,
            )
        answers: list[httpx.Response] = []
        for media_id in (stored.media_id, STRANGE):
            for method in ("GET", "DELETE"):
                url = f"/api/v1/media/{media_id}"
                answers.append(await service.http.request(method, url, headers=other.headers))
        assert {(a.status_code, a.content) for a in answers} == {(404, answers[0].content)}
        seen = await service.http.get(f"/api/v1/media/{stored.media_id}", headers=owner.headers)
        assert seen.json()["data"]["filename"] == "secret.png"

    async def test_others_do_not_learn_the_name_of_the_file(self, service: Running) -> None:
        owner, other = await service.person(), await service.person()
        media_id = (await service.upload(owner)).json()["data"]["media_id"]
        seen = [
            (await service.http.get(f"/api/v1/media/{media_id}", headers=who.headers)).json()
            for who in (owner, other)
        ]
        assert [each["data"]["filename"] for each in seen] == ["me.png", ""]

    @pytest.mark.parametrize(
        "bad",
        ["42", "x", "%00", "..", "' or 1=1 --", "0198c0de-0000-7000-8000-00000000000g", "a" * 3000,
         STRANGE + "0", "{" + STRANGE + "}", STRANGE.replace("-", ""), "é", "%0d%0aX: 1"],
    )  # fmt: skip
    async def test_malformed_ids_are_refused(self, service: Running, bad: str) -> None:
        person = await service.person()
        for method in ("GET", "DELETE"):
            url = f"/api/v1/media/{bad}"
            answer = await service.http.request(method, url, headers=person.headers)
            status, _ = refusal(answer)
            assert status in (400, 404, 405)
            assert "sql" not in answer.text.lower()

    @pytest.mark.parametrize("bad", ["%00", "a%20b", "a" * 129, "%C3%A9", "%F0%9F%98%80"])
    async def test_malformed_user_ids_are_refused(self, service: Running, bad: str) -> None:
        answer = await service.http.get(f"/api/v1/users/{bad}/profile")
        assert refusal(answer) == (400, "invalid_user_id")

    async def test_who_is_not_there_is_not_there(self, service: Running) -> None:
        answer = await service.http.get("/api/v1/users/nobody/profile")
        assert refusal(answer) == (404, "user_not_found")


class TestFailures:
    async def test_while_media_is_away_nothing_changes_and_it_is_said_when_to_come_back(
        self, service: Running
    ) -> None:
        person = await service.person()
        old = (await service.upload(person)).json()["data"]
        faults = service.media.faults
        switches: tuple[Callable[[], None], ...] = (
            lambda: faults.unavailable(times=50),
            lambda: faults.garble(times=50),
            lambda: faults.refuse(media_errors.InternalError("secret inside"), times=50),
            lambda: faults.slow(30),
        )
        for switch in switches:
            switch()
            answer = await service.upload(person, sample_picture(seed=9))
            assert refusal(answer) == (503, "media_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "secret" not in answer.text
            faults.clear()
            assert (await service.profile(person))["profile_picture_id"] == old["media_id"]

    async def test_a_retry_with_the_same_key_finds_the_lost_answer(self, service: Running) -> None:
        person = await service.person()
        service.media.faults.lose_answers(times=50)
        lost = await service.upload(person, idempotency_key="try-1")
        assert refusal(lost) == (503, "media_unavailable")
        service.media.faults.clear()
        found = await service.upload(person, idempotency_key="try-1")
        assert service.media.ids_of(person.user_id) == (found.json()["data"]["media_id"],)
        again = await service.upload(person, idempotency_key="try-1")
        assert again.json() == found.json()
        other = await service.upload(person, sample_picture(seed=5), idempotency_key="try-1")
        assert refusal(other) == (409, "idempotency_key_reused")

    async def test_deleting_while_media_is_away_is_done_later(self, service: Running) -> None:
        person = await service.person()
        media_id = (await service.upload(person)).json()["data"]["media_id"]
        service.media.faults.unavailable(times=50)
        url = f"/api/v1/media/{media_id}"
        answer = await service.http.delete(url, headers=person.headers)
        assert (answer.status_code, answer.json()["data"]["status"]) == (202, "deleting")
        assert (await service.profile(person))["profile_picture_id"] is None
        service.media.faults.clear()
        for _ in range(150):
            if not service.media.ids_of(person.user_id):
                return
            await asyncio.sleep(0.1)
        pytest.fail("the medium is still there")

    async def test_keys_that_are_none_are_refused(self, service: Running) -> None:
        person = await service.person()
        for key in ("", "a b", "x" * 65):
            answer = await service.upload(person, idempotency_key=key)
            assert refusal(answer) == (400, "invalid_idempotency_key")

    async def test_the_request_id_reaches_the_media_service(self, service: Running) -> None:
        person = await service.person()
        answer = await service.upload(person, x_request_id="req-7f3a")
        assert answer.headers["x-request-id"] == "req-7f3a"
        assert service.media.calls[-1].request_id == "req-7f3a"


async def test_many_uploads_of_one_user_are_limited(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, uploads_per_user=5) as service:
        person, other = await service.person(), await service.person()
        answers = [await service.upload(person) for _ in range(8)]
        assert [a.status_code for a in answers].count(200) in (5, 6)
        assert refusal(answers[-1]) == (429, "too_many_uploads")
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await service.upload(other)).status_code == 200


async def test_sixteen_covers_at_once_leave_no_file_and_little_memory(service: Running) -> None:
    people = [await service.person() for _ in range(16)]
    picture = sample_picture() + os.urandom(4 * MB)
    answers = await asyncio.gather(*(service.upload(p, picture, path=COVER) for p in people))
    assert [a.status_code for a in answers] == [200] * 16
