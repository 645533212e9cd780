"""The description of the API is true: some hundreds of requests made from it, good and bad."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from user_fakes.running import Running, running

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]
OPERATIONS = {
    ("/api/v1/media/profile-picture", "post"),
    ("/api/v1/media/cover-photo", "post"),
    ("/api/v1/media/attachments", "post"),
    ("/api/v1/media/{media_id}/events", "get"),
    ("/api/v1/media/{media_id}", "get"),
    ("/api/v1/media/{media_id}", "delete"),
    ("/api/v1/auth/register", "post"),
    ("/api/v1/auth/login", "post"),
    ("/api/v1/auth/refresh", "post"),
    ("/api/v1/auth/logout", "post"),
    ("/api/v1/users/{id}/profile", "get"),
    ("/api/v1/profile", "get"),
    ("/api/v1/profile", "patch"),
}


async def test_it_describes_what_there_is(service: Running) -> None:
    schema = (await service.http.get("/openapi.json")).json()
    described = {(path, verb) for path, verbs in schema["paths"].items() for verb in verbs}
    assert described == OPERATIONS
    for path, verb in described:
        operation = schema["paths"][path][verb]
        assert operation["description"]
        assert {"400", "503", "500"} <= set(operation["responses"])


@pytest.mark.timeout(300)
async def test_requests_made_from_it_are_answered_as_it_says(
    database_url: str, tmp_path: Path
) -> None:
    generous = {"registrations_per_address": 10_000, "logins_per_address": 10_000}
    async with running(database_url, tmp_path, uploads_per_user=10_000, **generous) as service:
        person = await service.person()
        command = [
            str(Path(sys.executable).parent / "schemathesis"),
            "run",
            f"http://127.0.0.1:{service.port}/openapi.json",
            f"--header=Authorization: Bearer {person.access_token}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=5",
            "--max-time=15",
            "--seed=7",
            "--checks=all",
            "--exclude-checks=positive_data_acceptance",
            "--no-color",
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "160"},
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()[-6_000:]
        assert (await service.http.get("/healthz")).status_code == 200
