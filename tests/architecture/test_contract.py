"""The contract: its generated code is fresh, and no caller of a released one is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from media_proto import media_service_pb2 as pb

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).with_name("buf")


def test_the_generated_code_is_what_the_contract_generates(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "proto/generate.py", tmp_path], cwd=ROOT, check=True)

    for made in sorted((tmp_path / "media_proto").iterdir()):
        committed = ROOT / "proto" / "media_proto" / made.name
        assert committed.read_text() == made.read_text(), f"{made.name}: run `make proto`"


def test_callers_of_the_released_contract_still_work() -> None:
    ran = subprocess.run(
        [BUF, "breaking", "proto", "--against", "proto/released.binpb"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout


def test_the_names_and_numbers_callers_know_are_kept() -> None:
    assert pb.DESCRIPTOR.package == "media"
    assert [m.name for m in pb.DESCRIPTOR.services_by_name["MediaService"].methods] == [
        "UploadMedia",
        "UploadMediaStream",
        "GetMedia",
        "DeleteMedia",
        "ProcessMedia",
        "GetSignedUrl",
        "BatchGetMedia",
        "BatchDeleteMedia",
        "WatchMedia",
    ]
    assert dict(pb.MediaType.items()) == {
        "MEDIA_TYPE_UNSPECIFIED": 0, "IMAGE": 1, "VIDEO": 2, "AUDIO": 3, "DOCUMENT": 4,
    }  # fmt: skip
    assert dict(pb.MediaPurpose.items()) == {
        "MEDIA_PURPOSE_UNSPECIFIED": 0, "PROFILE_PICTURE": 1, "COVER_PHOTO": 2,
        "POST_ATTACHMENT": 3, "MESSAGE_ATTACHMENT": 4, "STORY": 5, "AVATAR": 6,
    }  # fmt: skip
    assert dict(pb.ProcessingStatus.items()) == {
        "PROCESSING_STATUS_UNSPECIFIED": 0, "PENDING": 1, "PROCESSING": 2, "COMPLETED": 3,
        "FAILED": 4, "CANCELLED": 5,
    }  # fmt: skip
