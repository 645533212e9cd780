"""Tokens over HTTP: every bad one gets the same answer, before the body, and calls nobody."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs
from user_fakes.running import PICTURE, Running, refusal, running

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = "https://login.example"


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"iss": ISSUER, "aud": "userd", "sub": "auth0|eve", "iat": now, "exp": now + 600}
    return given | changes


def forged(good: str) -> Mapping[str, str]:
    head, payload, signature = good.split(".")
    return {
        "none": jwt.encode(claims(iss="userd"), "", algorithm="none"),
        "stripped": f"{head}.{payload}.",
        "flipped": f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "swapped": f"{head}.{payload[::-1]}.{signature}",
        "guessed": jwt.encode(claims(iss="userd"), "x" * 64, algorithm="HS256"),
        "from nowhere": jwt.encode(claims(), KEY, algorithm="ES256"),
        "not at all": "nonsense",
        "dots": "..",
        "long": "a" * 20_000,
    }


async def test_all_bad_tokens_get_one_answer(service: Running) -> None:
    person = await service.person()
    answers = set()
    for token in forged(person.access_token).values():
        headers = {"Authorization": f"Bearer {token}"}
        answer = await service.http.get("/api/v1/profile", headers=headers)
        assert answer.headers["www-authenticate"] == "Bearer"
        answers.add((answer.status_code, answer.content))
    answer = await service.http.get("/api/v1/profile")
    answers.add((answer.status_code, answer.content))
    assert len(answers) == 1
    assert refusal(answer) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PICTURE),
        ("POST", "/api/v1/media/cover-photo"),
        ("GET", "/api/v1/media/0198c0de-0000-7000-8000-000000000000"),
        ("DELETE", "/api/v1/media/0198c0de-0000-7000-8000-000000000000"),
        ("GET", "/api/v1/profile"),
        ("PATCH", "/api/v1/profile"),
    ],
)
async def test_every_door_is_closed(service: Running, method: str, path: str) -> None:
    answer = await service.http.request(method, path)
    assert refusal(answer) == (401, "unauthenticated")


async def test_a_token_is_taken_from_its_header_and_nowhere_else(service: Running) -> None:
    token = (await service.person()).access_token
    bearer = f"Bearer {token}"
    places: list[dict[str, Any]] = [
        {"params": {"access_token": token, "token": token}},
        {"headers": {"Cookie": f"access_token={token}"}},
        {"headers": {"Referer": f"http://x/?access_token={token}"}},
        {"headers": {"Authorization": f"Basic {token}"}},
        {"headers": {"Authorization": token}},
        {"headers": {"Proxy-Authorization": bearer}},
        {"headers": [("Authorization", bearer), ("Authorization", bearer)]},
    ]
    for place in places:
        answer = await service.http.get("/api/v1/profile", **place)
        assert refusal(answer) == (401, "unauthenticated")
    answer = await service.http.get("/api/v1/profile", headers={"Authorization": f"bearer {token}"})
    assert answer.status_code == 200


async def test_secrets_are_never_logged_and_refusals_are(service: Running) -> None:
    person = await service.person()
    with capture_logs() as logs:
        for token in (person.access_token, person.access_token[:-2]):
            headers = {"Authorization": f"Bearer {token}"}
            await service.http.get(f"/api/v1/profile?token={token}", headers=headers)
            await service.http.post("/api/v1/auth/refresh", json={"refresh_token": token})
            body = {"username": "ada", "password": "hunter2 hunter2"}
            await service.http.post("/api/v1/auth/login", json=body)
    told = repr(logs)
    assert "http.refused" in told
    assert person.access_token[:-2] not in told
    assert "hunter2" not in told


async def test_a_bad_token_is_refused_before_the_body_is_sent(service: Running) -> None:
    head = (
        f"POST {PICTURE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n"
        "Expect: 100-continue\r\n\r\n"
    ).encode()
    answer = await service.raw(head, until_end=False)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


async def test_tokens_of_an_outside_issuer_work_and_call_nobody(
    database_url: str, tmp_path: Path
) -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(public)
    with socket.create_server(("127.0.0.1", 0)) as sink:
        sink.settimeout(0.2)
        where = f"http://127.0.0.1:{sink.getsockname()[1]}/jwks"
        async with running(
            database_url,
            tmp_path / "data",
            jwt_outside_issuer=ISSUER,
            jwt_outside_algorithms="ES256",
            jwt_outside_public_key_file=tmp_path / "key.pem",
        ) as service:
            good = jwt.encode(claims(), KEY, algorithm="ES256")
            headers = {"Authorization": f"Bearer {good}"}
            blank = await service.http.get("/api/v1/profile", headers=headers)
            assert blank.json()["data"]["user_id"] == "auth0|eve"
            file = {"file": ("me.png", b"", "image/png")}
            assert (
                await service.http.post(PICTURE, files=file, headers=headers)
            ).status_code == 400
            for header in ("jku", "x5u"):
                token = jwt.encode(claims(), KEY, algorithm="ES256", headers={header: where})
                answer = await service.http.get(
                    "/api/v1/profile", headers={"Authorization": f"Bearer {token}"}
                )
                assert refusal(answer) == (401, "unauthenticated")
            ours = await service.person()
            as_ours = jwt.encode(claims(sub=ours.user_id), KEY, algorithm="ES256")
            answer = await service.http.get(
                "/api/v1/profile", headers={"Authorization": f"Bearer {as_ours}"}
            )
            assert refusal(answer) == (401, "unauthenticated")
        with pytest.raises(TimeoutError):
            sink.accept()
