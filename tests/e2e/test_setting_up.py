"""What whoever sets the service up is told before it serves, and who is let in then."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from tests.e2e.processes import Mediad, stub, upload_request


async def test_doctor_finds_everything_in_order(tmp_path: Path) -> None:
    examined = Mediad(tmp_path / "own").command("doctor")

    assert examined.returncode == 0, examined.stdout
    assert {line[0] for line in examined.stdout.splitlines()} == {"✓"}
    for one_of_each_kind in ("JPEG", "MP4", "FLAC", "PDF"):
        assert f" {one_of_each_kind}," in examined.stdout


async def test_doctor_doubts_that_so_many_connections_are_meant(tmp_path: Path) -> None:
    own = Mediad(tmp_path / "own", MEDIAD_WORKERS="4", MEDIAD_MAX_CONNECTIONS="50")

    examined = own.command("doctor")

    assert examined.returncode == 0, examined.stdout
    assert "! connections: this instance may want" in examined.stdout


async def test_listening_beyond_this_machine_needs_tokens(tmp_path: Path) -> None:
    refused = Mediad(tmp_path / "open", MEDIAD_HOST="0.0.0.0").command("serve")

    assert refused.returncode == 1
    assert "MEDIAD_SERVICE_TOKENS" in refused.stderr


async def test_with_tokens_set_callers_must_show_one(tmp_path: Path, photo: bytes) -> None:
    token = "0123456789abcdef"
    guarded = Mediad(tmp_path / "guarded", MEDIAD_SERVICE_TOKENS=f"users:{token}")
    with guarded.running():
        async with guarded.channel() as channel:
            media = stub(channel)
            for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", token),)):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await media.UploadMedia(upload_request(photo), metadata=metadata)
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            let_in = (("authorization", f"Bearer {token}"),)
            assert (await media.UploadMedia(upload_request(photo), metadata=let_in)).media_id
