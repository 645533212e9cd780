"""Attachments through both services as processes: their events, a kill, large ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from fakes.films import phone_film
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, Stub, stub
from tests.e2e.samples import noisy_picture
from tests.e2e.test_user_service import Person, shown
from tests.e2e.userd_process import Userd

ATTACHMENTS = "/api/v1/media/attachments"
MB = 1024 * 1024

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    with Mediad(tmp_path_factory.mktemp("mediad")).running() as process:
        yield process


@pytest.fixture(scope="module")
def users(media: Mediad, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Userd]:
    """One that tests may kill; they leave it running."""
    settings = {"USERD_ABANDONED_SECONDS": "2"}
    with Userd(tmp_path_factory.mktemp("userd"), media, **settings).running() as process:
        yield process


@pytest.fixture
async def ada(users: Userd) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=users.base_url, timeout=90) as http:
        yield await Person(http).sign_up(f"ada{time.monotonic_ns()}")


async def attach(person: Person, data: bytes, *, name: str = "a.jpg", key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await person.http.post(ATTACHMENTS, files={"file": (name, data)}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_film_is_answered_with_its_poster(ada: Person) -> None:
    data = await attach(ada, phone_film(seconds=1.0), name="IMG_0042.MOV")
    assert (data["media_type"], data["content_type"]) == ("video", "video/quicktime")
    assert data["width"] < data["height"]
    assert 900 <= data["duration_ms"] <= 1100
    assert data["blurhash"]
    posters = {r["name"]: r for r in data["renditions"]}
    size = (data["width"], data["height"])
    assert await shown(posters["poster"]["url"]) == (200, size)
    assert (await shown(data["thumbnail_url"]))[0] == 200
    assert data["status"] in ("pending", "processing", "completed")


async def test_events_tell_of_the_work_until_it_is_over(ada: Person) -> None:
    media_id = (await attach(ada, noisy_picture(1, size=(900, 700))))["media_id"]
    answer = await ada.http.get(f"/api/v1/media/{media_id}/events")
    told = [
        json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n") if event
    ]
    assert told[-1]["status"] == "completed"
    assert told[-1]["progress_percent"] == 100
    percents = [each["progress_percent"] for each in told]
    assert percents == sorted(percents)


async def test_what_a_killed_process_did_not_answer_goes(
    ada: Person, users: Userd, media: Mediad
) -> None:
    kept = await attach(ada, noisy_picture(2))
    keys = [f"k{n}" for n in range(6)]
    uploads = [
        asyncio.create_task(attach(ada, noisy_picture(10 + n, size=(1600, 1200)), key=key))
        for n, key in enumerate(keys)
    ]
    await asyncio.sleep(0.15)
    users.kill()
    answers = await asyncio.gather(*uploads, return_exceptions=True)
    users.start()
    async with media.channel() as channel:
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, BaseException):
                await _until_gone(stub(channel), ada.user_id, f"attachment:{key}")
            else:
                assert (await shown(answer["url"]))[0] == 200
    assert (await shown(kept["url"]))[0] == 200
    await attach(ada, noisy_picture(10, size=(1600, 1200)), key="k0")


async def _until_gone(media: Stub, user_id: str, key: str) -> None:
    asked = pb.GetMediaRequest(user_id=user_id, idempotency_key=key)
    for _ in range(150):
        call = media.GetMedia(asked)
        if await call.code() is grpc.StatusCode.NOT_FOUND:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{key} is still there")


async def test_memory_stays_flat_for_films_of_200_megabytes(
    ada: Person, users: Userd, tmp_path: Path
) -> None:
    film = tmp_path / "film.mov"
    film.write_bytes(phone_film(seconds=1.0))
    with film.open("ab") as opened:
        box = 200 * MB - opened.tell()
        opened.write(box.to_bytes(4, "big") + b"free")
        opened.truncate(200 * MB)
    process = psutil.Process(users.pid)
    before = peak = process.memory_info().rss
    with film.open("rb") as opened:
        files = {"file": ("film.mov", opened, "video/quicktime")}
        upload = asyncio.create_task(ada.http.post(ATTACHMENTS, files=files))
        while not upload.done():
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.02)
    assert upload.result().status_code == 200, upload.result().text
    assert upload.result().json()["data"]["size_bytes"] == 200 * MB
    grown = (peak - before) / MB
    print(f"userd grew by {grown:.1f} MB for 200 MB")
    assert grown < 32
    assert not list((users.folder / "data" / "uploads").iterdir())
