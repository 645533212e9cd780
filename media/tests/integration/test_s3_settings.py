"""What an operator is told whose S3 settings are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from embedded_servers.seaweedfs import SeaweedFS
from media_service.commands.doctor import _checked, _storage
from media_service.config import read_settings

pytestmark = pytest.mark.needs_s3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "is written, read and deleted"),
        ({"bucket": "no-such-bucket"}, "there is no such bucket: make it"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, "the server does not know this access key"),
        ({"AWS_ACCESS_KEY_ID": ""}, "no credentials for S3"),
        ({"endpoint": "http://127.0.0.1:1"}, "Could not connect"),
    ],
)
async def test_the_doctor_says_what_is_wrong(
    seaweedfs: SeaweedFS,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    sentence: str,
) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
    }
    for name, value in (environment | changes).items():
        if name.isupper() and value:
            monkeypatch.setenv(name, value)
        elif name.isupper():
            monkeypatch.delenv(name, raising=False)
    bucket, endpoint = (
        changes.get("bucket", s3_bucket),
        changes.get("endpoint", seaweedfs.endpoint),
    )
    settings = read_settings(
        data_dir=tmp_path, storage_url=f"s3://{bucket}/probed?endpoint={endpoint}"
    )

    is_well = await _checked("storage", _storage, settings)

    assert is_well is (not changes)
    assert sentence in capsys.readouterr().out
