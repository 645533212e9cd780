"""Both services as real processes: a person and a picture, and what happens when things die."""

from __future__ import annotations

import asyncio
import hashlib
import io
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image, ImageOps

from tests.e2e.processes import Mediad
from tests.e2e.userd_process import Userd

PHOTO = Path(__file__).parents[2] / "docs" / "samples" / "photo.jpg"
PASSWORD = "a quiet green harbour"
PICTURE = "/api/v1/media/profile-picture"
COVER = "/api/v1/media/cover-photo"
MB = 1024 * 1024

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    process = Mediad(tmp_path_factory.mktemp("mediad"))
    with process.running():
        yield process


@pytest.fixture(scope="module")
def users(media: Mediad, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Userd]:
    limits = {"USERD_REGISTRATIONS_PER_ADDRESS": "10000", "USERD_UPLOADS_PER_USER": "1000"}
    process = Userd(tmp_path_factory.mktemp("userd"), media, **limits)
    with process.running():
        yield process


class Person:
    """Somebody in front of the service."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.user_id = ""

    async def sign_up(self, name: str) -> Person:
        body = {"username": name, "password": PASSWORD}
        answer = await self.http.post("/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        data = answer.json()["data"]
        self.user_id = data["user_id"]
        self.http.headers["Authorization"] = f"Bearer {data['access_token']}"
        return self

    async def upload(
        self, data: bytes, *, path: str = PICTURE, key: str = "", type: str = "image/jpeg"
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        files = {"file": ("photo.jpg", data, type)}
        return await self.http.post(path, files=files, headers=headers)

    async def profile(self) -> dict[str, Any]:
        profile: dict[str, Any] = (await self.http.get("/api/v1/profile")).json()["data"]
        return profile


@pytest.fixture
async def person(users: Userd) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=users.base_url, timeout=90) as http:
        yield await Person(http).sign_up(f"user{time.monotonic_ns()}")


def picture(number: int, *, side: int = 160) -> bytes:
    """A JPEG like no other."""
    digest = hashlib.sha256(str(number).encode()).digest()
    image = Image.frombytes("RGB", (3, 3), digest[:27]).resize((side, side))
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=90)
    return kept.getvalue()


async def shown(url: str) -> tuple[int, tuple[int, int]]:
    """Status and size of the picture behind a URL."""
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(url)
    if answer.status_code != 200:
        return answer.status_code, (0, 0)
    return 200, Image.open(io.BytesIO(answer.content)).size


async def test_sign_up_upload_see_replace_and_delete(person: Person) -> None:
    first = (await person.upload(PHOTO.read_bytes())).json()
    assert first["success"] is True
    data = first["data"]
    assert (data["width"], data["height"]) == ImageOps.exif_transpose(Image.open(PHOTO)).size
    assert (await shown(data["url"])) == (200, (data["width"], data["height"]))
    assert (await shown(data["thumbnail_url"])) == (200, (150, 150))
    for thumbnail in data["thumbnails"]:
        size = (thumbnail["width"], thumbnail["height"])
        assert (await shown(thumbnail["url"])) == (200, size)
    assert len(data["blurhash"]) >= 6

    second = (await person.upload(picture(1))).json()["data"]
    profile = await person.profile()
    assert profile["profile_picture_id"] == second["media_id"]
    assert profile["profile_picture_url"] == second["url"]
    assert (await shown(second["url"]))[0] == 200
    assert (await shown(data["url"]))[0] == 404

    known = (await person.http.get(f"/api/v1/media/{second['media_id']}")).json()["data"]
    assert (known["user_id"], known["purpose"]) == (person.user_id, "profile_picture")
    gone = await person.http.delete(f"/api/v1/media/{second['media_id']}")
    assert (gone.status_code, gone.json()["data"]["status"]) == (200, "deleted")
    assert (await person.profile())["profile_picture_id"] is None
    assert (await shown(second["url"]))[0] == 404


async def test_the_curl_of_the_manual_works(person: Person, users: Userd) -> None:
    command = [
        "curl", "-sS", "-F", f"file=@{PHOTO}",
        "-H", f"Authorization: {person.http.headers['Authorization']}",
        users.base_url + PICTURE,
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    assert b'"success":true' in done.stdout


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<!doctype html><script>alert(1)</script>", (415, "unsupported_type")),
        (PHOTO.read_bytes()[:20_000], (422, "broken_file")),
        (b"", (400, "empty_file")),
        (PHOTO.read_bytes() + bytes(10 * MB), (413, "file_too_large")),
    ],
)
async def test_what_is_refused_leaves_the_old_picture(
    person: Person, data: bytes, expected: tuple[int, str]
) -> None:
    old = (await person.upload(picture(2))).json()["data"]
    answer = await person.upload(data)
    assert (answer.status_code, answer.json()["error"]["code"]) == expected
    assert (await person.profile())["profile_picture_id"] == old["media_id"]
    assert (await shown(old["url"]))[0] == 200


async def test_a_second_person_can_not_delete_it(person: Person, users: Userd) -> None:
    media_id = (await person.upload(picture(3))).json()["data"]["media_id"]
    async with httpx.AsyncClient(base_url=users.base_url) as http:
        other = await Person(http).sign_up(f"other{time.monotonic_ns()}")
        answer = await other.http.delete(f"/api/v1/media/{media_id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_the_owner")
    assert (await person.profile())["profile_picture_id"] == media_id


async def test_two_hundred_uploads_of_twenty_people_at_once_are_all_answered_right(
    users: Userd,
) -> None:
    async with httpx.AsyncClient(base_url=users.base_url, timeout=120, limits=_MANY) as http:
        people = [Person(_child(http)) for _ in range(20)]
        for n, each in enumerate(people):
            await each.sign_up(f"crowd{time.monotonic_ns()}-{n}")
        sides = {n: 100 + n for n in range(200)}
        answers = await asyncio.gather(
            *(people[n % 20].upload(picture(n, side=side)) for n, side in sides.items())
        )
        for n, answer in enumerate(answers):
            assert answer.status_code == 200, answer.text
            data = answer.json()["data"]
            assert (data["width"], data["height"]) == (sides[n], sides[n])
        ids = [answer.json()["data"]["media_id"] for answer in answers]
        assert len(set(ids)) == 200
        for n, each in enumerate(people):
            profile = await each.profile()
            mine = {ids[k] for k in range(n, 200, 20)}
            assert profile["profile_picture_id"] in mine
            held = profile["profile_picture"]
            assert await shown(held["url"]) == (200, (held["width"], held["height"]))
        await _until_only_these_are_left(people, ids)
        for each in people:
            await each.http.aclose()


_MANY = httpx.Limits(max_connections=250, max_keepalive_connections=250)


def _child(http: httpx.AsyncClient) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=http.base_url, timeout=120, limits=_MANY)


async def _until_only_these_are_left(people: list[Person], ids: list[str]) -> None:
    """Of all that were replaced, none is left for long."""
    held = {(await each.profile())["profile_picture_id"] for each in people}
    asker = people[0].http
    for media_id in set(ids) - held:
        for _ in range(100):
            if (await asker.get(f"/api/v1/media/{media_id}")).status_code == 404:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail(f"{media_id} is still there")


async def test_memory_stays_flat_for_large_covers(users: Userd) -> None:
    cover = _photo_of_twenty_megabytes()
    process = psutil.Process(users.pid)
    peaks = [process.memory_info().rss]
    async with httpx.AsyncClient(base_url=users.base_url) as http:
        people = [Person(_child(http)) for _ in range(16)]
        for n, each in enumerate(people):
            await each.sign_up(f"cover{time.monotonic_ns()}-{n}")
        for _ in range(3):
            peak = 0
            uploads = asyncio.gather(*(each.upload(cover, path=COVER) for each in people))
            while not uploads.done():
                peak = max(peak, process.memory_info().rss)
                await asyncio.sleep(0.02)
            assert {answer.status_code for answer in uploads.result()} == {200}
            peaks.append(peak)
        for each in people:
            await each.http.aclose()
    grown = [(peak - peaks[0]) // MB for peak in peaks]
    assert grown[1] < 140, f"{grown} MB more for 320 MB of bodies"
    assert grown[3] - grown[1] < 40, f"{grown} MB more, round by round"
    assert not list((users.folder / "data" / "uploads").iterdir())


def _photo_of_twenty_megabytes() -> bytes:
    """A JPEG that fills the limit: what follows its end is not looked at."""
    return PHOTO.read_bytes().ljust(20 * MB, b"\0")


@pytest.fixture(scope="module")
def fragile_media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    """One that tests may kill; they leave it running."""
    process = Mediad(tmp_path_factory.mktemp("fragile-mediad"))
    with process.running():
        yield process


@pytest.fixture(scope="module")
def fragile_users(
    fragile_media: Mediad, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Userd]:
    """One that tests may kill; they leave it running."""
    settings = {"USERD_MEDIA_UPLOAD_SECONDS": "8", "USERD_MEDIA_SECONDS": "3"}
    process = Userd(tmp_path_factory.mktemp("fragile-userd"), fragile_media, **settings)
    with process.running():
        yield process


@pytest.fixture
async def ada(fragile_users: Userd) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=fragile_users.base_url, timeout=60) as http:
        yield await Person(http).sign_up(f"ada{time.monotonic_ns()}")


class TestWhenThingsDie:
    async def test_media_killed_in_the_middle_of_uploads(
        self, ada: Person, fragile_media: Mediad
    ) -> None:
        old = (await ada.upload(picture(1))).json()["data"]
        photo = PHOTO.read_bytes()
        uploads = [
            asyncio.create_task(ada.upload(photo + bytes([n]), path=COVER, key=f"cover-{n}"))
            for n in range(8)
        ]
        await asyncio.sleep(0.15)
        fragile_media.kill()
        for answer in await asyncio.gather(*uploads):
            if answer.status_code != 200:
                _assert_away(answer)
        _assert_away(await ada.upload(picture(2)))
        assert (await ada.profile())["profile_picture_id"] == old["media_id"]
        assert (await ada.http.get("/readyz")).status_code == 200
        fragile_media.start()
        after = await _retried(ada, photo + bytes([7]), path=COVER, key="cover-8")
        profile = await ada.profile()
        assert profile["cover_photo_id"] == after["media_id"]
        assert profile["profile_picture_id"] == old["media_id"]
        assert (await shown(old["url"]))[0] == 200
        assert (await shown(after["url"]))[0] == 200

    async def test_the_old_picture_goes_when_media_is_back_even_after_our_own_death(
        self, ada: Person, fragile_media: Mediad, fragile_users: Userd
    ) -> None:
        old = (await ada.upload(picture(1))).json()["data"]
        fragile_media.kill()
        answer = await ada.http.delete(f"/api/v1/media/{old['media_id']}")
        assert (answer.status_code, answer.json()["data"]["status"]) == (202, "deleting")
        fragile_users.kill()
        fragile_media.start()
        fragile_users.start()
        assert (await ada.profile())["profile_picture_id"] is None
        for _ in range(300):
            if (await shown(old["url"]))[0] == 404:
                return
            await asyncio.sleep(0.1)
        pytest.fail("the old picture is still there")

    async def test_a_stop_lets_what_is_under_way_finish(
        self, ada: Person, fragile_users: Userd
    ) -> None:
        upload = asyncio.create_task(ada.upload(PHOTO.read_bytes()))
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(fragile_users.stop) == 0
        assert (await upload).status_code == 200
        fragile_users.start()
        assert (await ada.profile())["profile_picture_id"]


def _assert_away(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "media_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def _retried(person: Person, data: bytes, *, path: str, key: str) -> dict[str, Any]:
    """Uploaded as often as it takes, as a client does that heeds Retry-After."""
    for _ in range(20):
        answer = await person.upload(data, path=path, key=key)
        if answer.status_code == 200:
            stored: dict[str, Any] = answer.json()["data"]
            return stored
        await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
    raise AssertionError(answer.text)


def test_the_doctor_finds_what_is_wrong_and_says_it(users: Userd, tmp_path: Path) -> None:
    well = users.command("doctor")
    assert well.returncode == 0, well.stdout + well.stderr
    assert "✓ media service" in well.stdout
    away = Mediad(tmp_path)
    sick = Userd(tmp_path / "userd", away, USERD_MEDIA_SECONDS="2").command("doctor")
    assert sick.returncode == 1
    assert "✗ media service" in sick.stdout
    assert "✓ database: answers (embedded)" in sick.stdout


def test_the_command_teaches(users: Userd) -> None:
    said = users.command("--help").stdout
    assert "userd serve" in said
    assert "USERD_PORT" in users.command("settings").stdout
    bad = Userd(users.folder / "x", Mediad(users.folder / "y"), USERD_JWT_KEYS="short").command(
        "serve"
    )
    assert bad.returncode == 1
    assert "USERD_JWT_KEYS" in bad.stderr
