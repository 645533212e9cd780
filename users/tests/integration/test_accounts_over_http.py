"""Registering, logging in, staying and leaving, over HTTP and PostgreSQL."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from user_fakes.running import PASSWORD, Running, refusal, running

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]
AUTH = "/api/v1/auth"


async def test_a_person_registers_comes_back_stays_and_leaves(service: Running) -> None:
    person = await service.person("Grace")
    credentials = {"username": "GRACE", "password": PASSWORD}
    answer = await service.http.post(f"{AUTH}/login", json=credentials)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert set(data) == {"user_id", "access_token", "refresh_token", "expires_in"}
    assert (data["user_id"], data["expires_in"]) == (person.user_id, 900)
    refreshed = await service.http.post(
        f"{AUTH}/refresh", json={"refresh_token": data["refresh_token"]}
    )
    token = refreshed.json()["data"]["refresh_token"]
    assert token != data["refresh_token"]
    left = await service.http.post(f"{AUTH}/logout", json={"refresh_token": token})
    assert left.json() == {"success": True, "data": {}}
    headers = {"Authorization": f"Bearer {refreshed.json()['data']['access_token']}"}
    answer = await service.http.get("/api/v1/profile", headers=headers)
    assert refusal(answer) == (401, "unauthenticated")
    assert await service.profile(person)


async def test_a_stolen_refresh_token_ends_the_session_for_both(service: Running) -> None:
    person = await service.person()
    body = {"refresh_token": person.refresh_token}
    renewed = (await service.http.post(f"{AUTH}/refresh", json=body)).json()["data"]
    again = await service.http.post(f"{AUTH}/refresh", json=body)
    assert refusal(again) == (401, "invalid_refresh_token")
    body = {"refresh_token": renewed["refresh_token"]}
    answer = await service.http.post(f"{AUTH}/refresh", json=body)
    assert refusal(answer) == (401, "invalid_refresh_token")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "invalid_body")),
        (b"{", (400, "invalid_body")),
        (b"[]", (400, "invalid_body")),
        (b"null", (400, "invalid_body")),
        (b'{"username":"ada"}', (400, "invalid_body")),
        (b'{"username":"ada","password":12345678}', (400, "invalid_body")),
        (b'{"username":"ada","password":"a quiet harbour","is_admin":true}', (400, "invalid_body")),
        (b'{"username":"ada","password":"\\ud800"}', (400, "invalid_body")),
        (b"[" * 10_000, (400, "invalid_body")),
        (b'{"username":"' + b"a" * 20_000 + b'"}', (413, "body_too_large")),
        (b'{"username":"a","password":"a quiet harbour"}', (400, "invalid_username")),
        (b'{"username":"ada","password":"short"}', (400, "invalid_password")),
        (b'{"username":"ada","password":"password1"}', (400, "password_too_common")),
    ],
    ids=range(13),
)
async def test_bodies_that_can_not_be_right_are_refused(
    service: Running, body: bytes, expected: tuple[int, str]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await service.http.post(f"{AUTH}/register", content=body, headers=headers)
    assert refusal(answer) == expected


async def test_only_json_is_taken(service: Running) -> None:
    answer = await service.http.post(f"{AUTH}/login", data={"username": "a", "password": "b"})
    assert refusal(answer) == (415, "not_json")


async def test_what_was_typed_is_not_repeated(service: Running) -> None:
    body = {"username": "ada", "password": ["hunter2 secret"]}
    answer = await service.http.post(f"{AUTH}/login", json=body)
    assert answer.status_code == 400
    assert "hunter2" not in answer.text


async def test_an_unknown_name_and_a_wrong_password_are_the_same_answer_and_time(
    database_url: str, tmp_path: Path
) -> None:
    limits = {"logins_per_username": 1000, "logins_per_address": 10_000}
    async with running(database_url, tmp_path, **limits) as service:
        await service.person("ada")
        times: dict[str, list[float]] = {"ada": [], "bob": []}
        bodies = set()
        for _ in range(40):
            for name, taken in times.items():
                body = {"username": name, "password": "wrong password"}
                began = time.perf_counter()
                answer = await service.http.post(f"{AUTH}/login", json=body)
                taken.append(time.perf_counter() - began)
                bodies.add((answer.status_code, answer.content))
        assert len(bodies) == 1
        known, unknown = (statistics.median(taken) for taken in times.values())
        assert abs(known - unknown) < 0.3 * max(known, unknown)


async def test_a_thousand_attempts_are_limited_and_say_until_when(service: Running) -> None:
    await service.person("limited")
    statuses = []
    for batch in range(20):
        body = {"username": "limited", "password": f"wrong password {batch}"}
        answers = await asyncio.gather(
            *(service.http.post(f"{AUTH}/login", json=body) for _ in range(50))
        )
        statuses += [answer.status_code for answer in answers]
        limited = [answer for answer in answers if answer.status_code == 429]
    assert statuses.count(401) <= 11
    assert set(statuses) == {401, 429}
    assert refusal(limited[0]) == (429, "too_many_attempts")
    assert 0 < int(limited[0].headers["retry-after"]) <= 900
    good = {"username": "limited", "password": PASSWORD}
    assert (await service.http.post(f"{AUTH}/login", json=good)).status_code == 429


async def test_limits_hold_across_instances_and_spoofed_addresses_do_not_help(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        running(database_url, tmp_path / "a", logins_per_address=4) as one,
        running(database_url, tmp_path / "b", logins_per_address=4) as two,
    ):
        statuses = []
        for n in range(6):
            body = {"username": f"user{n}", "password": "wrong password"}
            headers = {"X-Forwarded-For": f"198.51.100.{n}", "Forwarded": f"for=198.51.100.{n}"}
            instance = (one, two)[n % 2]
            answer = await instance.http.post(f"{AUTH}/login", json=body, headers=headers)
            statuses.append(answer.status_code)
        assert statuses == [401] * 4 + [429] * 2


async def test_a_deleted_or_disabled_user_is_out_at_once(
    service: Running, shared_database_url: str
) -> None:
    gone, disabled = await service.person("gone"), await service.person("disabled")
    connection = await asyncpg.connect(shared_database_url)
    await connection.execute("delete from accounts where id = $1", gone.user_id)
    await connection.execute(
        "update accounts set disabled_at = now() where id = $1", disabled.user_id
    )
    await connection.close()
    for person in (gone, disabled):
        answer = await service.http.get("/api/v1/profile", headers=person.headers)
        assert refusal(answer) == (401, "unauthenticated")


async def test_nothing_that_opens_a_door_is_kept_as_it_is(
    service: Running, shared_database_url: str
) -> None:
    person = await service.person()
    connection = await asyncpg.connect(shared_database_url)
    kept = []
    for table in ("accounts", "sessions", "refresh_tokens", "throttles", "profiles"):
        kept += [str(dict(row)) for row in await connection.fetch(f"select * from {table}")]
    await connection.close()
    for secret in (PASSWORD, person.refresh_token, person.access_token):
        assert not any(secret in row for row in kept)
    assert any("$argon2id$" in row for row in kept)


async def test_without_the_database_it_is_said_that_it_is_away(
    service: Running, shared_database_url: str
) -> None:
    person = await service.person()
    async with database_away(shared_database_url):
        answer = await service.http.get("/api/v1/profile", headers=person.headers)
        assert refusal(answer) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        ready = await service.http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["data"]["backends"] == {"database": "not ready"}
        assert (await service.http.get("/healthz")).status_code == 200
    assert await service.profile(person)


@asynccontextmanager
async def database_away(url: str) -> AsyncIterator[None]:
    """Nobody is let in, and whoever was in is thrown out."""
    parts = urlsplit(url)
    name = parts.path.removeprefix("/")
    server = await asyncpg.connect(parts._replace(path="/postgres").geturl())
    try:
        await server.execute(f"alter database {name} connection limit 0")
        await server.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = $1 and backend_type = 'client backend'",
            name,
        )
        yield
    finally:
        await server.execute(f"alter database {name} connection limit -1")
        await server.close()
