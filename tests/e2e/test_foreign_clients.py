"""Callers in other languages, over the contract as it stands, against a real `mediad serve`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.e2e.processes import Mediad

REPOSITORY = Path(__file__).parents[2]
FOREIGN = Path(__file__).parent / "foreign"
PROTO = REPOSITORY / "proto"
PHOTO = REPOSITORY / "docs" / "samples" / "photo.jpg"
TOKEN = "a-token-for-tests-only"
NOT_FOUND = 5

pytestmark = pytest.mark.timeout(600)  # the first time, Go compiles all of grpc-go


@pytest.fixture(scope="module")
def mediad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    folder = tmp_path_factory.mktemp("mediad")
    with Mediad(folder, MEDIAD_SERVICE_TOKENS=f"foreign:{TOKEN}").running() as running:
        yield running


@pytest.fixture(scope="module", params=["node", "go"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def told(language: str, mediad: Mediad, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client of this language says that came of each call."""
    folder = tmp_path_factory.mktemp(language)
    shutil.copytree(FOREIGN / language, folder, dirs_exist_ok=True)
    command = {"node": node_client, "go": go_client}[language](folder)
    address = f"127.0.0.1:{mediad.grpc_port}"
    arguments = [address, *([PROTO] if language == "node" else []), PHOTO, TOKEN]
    printed = run([*command, *arguments], folder, timeout=60)
    answers: dict[str, Any] = json.loads(printed)
    return answers


def node_client(folder: Path) -> list[Any]:
    """The command of the JavaScript client, its packages installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: the JavaScript client is not tested")
    fetch(["npm", "ci", "--ignore-scripts"], folder, "the JavaScript client")
    return ["node", folder / "client.js"]


def go_client(folder: Path) -> list[Any]:
    """The command of the Go client, its code generated as docs/clients.md says, and compiled."""
    buf = Path(sys.executable).with_name("buf")
    if shutil.which("go") is None or not buf.exists():
        pytest.skip("go or buf is not installed: the Go client is not tested")
    fetch(["go", "mod", "download"], folder, "the Go client")
    tools = folder / "bin"
    run(["go", "install", "tool"], folder, GOBIN=str(tools))
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    run([buf, "generate", PROTO, "--template", "buf.gen.yaml"], folder, PATH=path)
    run(["go", "build", "-o", "client", "."], folder)
    return [folder / "client"]


def fetch(command: list[Any], folder: Path, what: str) -> None:
    """Get packages; where they can't be had, skip."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"packages can't be had ({reason}): {what} is not tested")


def run(command: list[Any], folder: Path, *, timeout: float = 300, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "GOTOOLCHAIN": "local", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_all_calls_are_made(told: dict[str, Any]) -> None:
    from media_proto import media_service_pb2 as pb

    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["MediaService"].methods}

    assert set(told) == methods | {"refused"}


def test_an_upload_is_answered(told: dict[str, Any]) -> None:
    stored = told["UploadMedia"]

    assert (stored["width"], stored["height"]) == (1600, 1200)
    assert stored["media_type"] == "IMAGE"
    assert stored["content_type"] == "image/jpeg"
    assert int(stored["size_bytes"]) == PHOTO.stat().st_size
    assert [each["name"] for each in stored["thumbnails"]] == ["320", "640", "1080"]
    assert stored["created_at"]


def test_a_streamed_upload_is_of_the_same_bytes(told: dict[str, Any]) -> None:
    stored = told["UploadMediaStream"]

    assert stored["sha256"] == told["UploadMedia"]["sha256"]
    assert stored["deduplicated"] is True
    assert stored["media_id"] != told["UploadMedia"]["media_id"]


def test_what_is_known_is_told(told: dict[str, Any]) -> None:
    known = told["GetMedia"]

    assert known["media_id"] == told["UploadMedia"]["media_id"]
    assert (known["user_id"], known["purpose"]) == ("carol", "POST_ATTACHMENT")
    assert (known["visibility"], known["filename"]) == ("PUBLIC", "photo.jpg")


def test_processing_is_queued(told: dict[str, Any]) -> None:
    assert told["ProcessMedia"]["media_id"] == told["UploadMedia"]["media_id"]
    assert told["ProcessMedia"]["status"] == "PENDING"


def test_a_medium_is_watched_until_it_is_done(told: dict[str, Any]) -> None:
    watched = told["WatchMedia"]

    assert watched["media_id"] == told["UploadMedia"]["media_id"]
    assert (watched["status"], watched["progress_percent"]) == ("COMPLETED", 100)


def test_a_signed_url_is_of_the_rendition(told: dict[str, Any]) -> None:
    assert f"/media/{told['UploadMedia']['media_id']}/320?" in told["GetSignedUrl"]["url"]
    assert told["GetSignedUrl"]["expires_at"]


def test_a_batch_keeps_the_order(told: dict[str, Any]) -> None:
    ids = [each["media_id"] for each in told["BatchGetMedia"]["media"]]

    assert ids == [told["UploadMediaStream"]["media_id"], told["UploadMedia"]["media_id"]]
    assert told["BatchGetMedia"]["missing_ids"] == ["nonsense"]


def test_what_stays_is_named(told: dict[str, Any]) -> None:
    outcome = told["BatchDeleteMedia"]

    assert outcome["deleted_count"] == 1
    assert outcome["failed_ids"] == ["nonsense"]
    assert [each["code"] for each in outcome["failures"]] == ["invalid_media_id"]


def test_a_refusal_carries_its_code(told: dict[str, Any], language: str) -> None:
    refused = told["refused"]
    rich = status_pb2.Status.FromString(base64.b64decode(refused["details"]))
    info = error_details_pb2.ErrorInfo()
    rich.details[0].Unpack(info)

    assert (refused["status"], refused["message"]) == (NOT_FOUND, "No such media.")
    assert (info.reason, info.domain) == ("media_not_found", "media")
    assert info.metadata["request_id"] == f"from-{language}"


def test_deleted_media_are_gone(told: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(told["UploadMediaStream"]["url"])

    assert caught.value.code == 404
