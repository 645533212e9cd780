"""`make run` on other ports than the usual."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/run.py"


def test_the_user_service_is_told_where_the_media_service_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDIAD_GRPC_PORT", "50151")
    monkeypatch.setenv("MEDIAD_PORT", "8183")
    for name in ("USERD_MEDIA_ADDRESS", "USERD_MEDIA_PUBLIC_URL", "MEDIAD_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)

    told = runpy.run_path(str(SCRIPT))["_environment"]()

    assert told["USERD_MEDIA_ADDRESS"] == "localhost:50151"
    assert told["USERD_MEDIA_PUBLIC_URL"] == "http://127.0.0.1:8183"
