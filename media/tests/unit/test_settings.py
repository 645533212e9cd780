"""Settings: what can't be used is refused with a sentence, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from media_service.config import SettingsRefused, read_settings
from media_service.core.media import MediaType, Purpose
from media_service.policies_file import read_policies


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("MEDIAD_")]:
        monkeypatch.delenv(name)


def test_nothing_need_be_set() -> None:
    settings = read_settings()

    assert (settings.host, settings.port, settings.grpc_port) == ("127.0.0.1", 8083, 50051)
    assert settings.role_names == ("grpc", "http", "worker")
    assert settings.base_url == "http://127.0.0.1:8083"


REFUSED = {
    "MEDIAD_PORT": ("abc", "MEDIAD_PORT"),
    "MEDIAD_GRPC_PORT": ("70000", "MEDIAD_GRPC_PORT"),
    "MEDIAD_ROLES": ("grpc,queen", "MEDIAD_ROLES"),
    "MEDIAD_PROT": ("1", "no such setting: MEDIAD_PROT"),
    "MEDIAD_HOST": ("0.0.0.0", "MEDIAD_SERVICE_TOKENS"),
    "MEDIAD_DATABASE_URL": ("mysql://x", "postgresql://"),
    "MEDIAD_REDIS_URL": ("http://x", "redis://"),
    "MEDIAD_STORAGE_URL": ("file://x", "file:///"),
    "MEDIAD_DELIVERY": ("redirect", "MEDIAD_STORAGE_URL=s3://"),
    "MEDIAD_PUBLIC_URL": ("nonsense", "http://"),
    "MEDIAD_SERVICE_TOKENS": ("users:short", "16 characters"),
    "MEDIAD_SIGNING_KEYS": ("k1", "16 characters"),
    "MEDIAD_TLS_KEY_FILE": ("key.pem", "MEDIAD_TLS_CERT_FILE"),
    "MEDIAD_TLS_CLIENT_CA_FILE": ("ca.pem", "MEDIAD_TLS_KEY_FILE"),
    "MEDIAD_CONFIG": ("nowhere.toml", "nowhere.toml"),
    "MEDIAD_WORKERS": ("0", "MEDIAD_WORKERS"),
    "MEDIAD_CELLS": ("0", "MEDIAD_CELLS"),
    "MEDIAD_LOG_FORMAT": ("jsonx", "MEDIAD_LOG_FORMAT"),
    "MEDIAD_METRICS_PORT": ("8083", "must differ"),
    "MEDIAD_DRAIN_SECONDS": ("11", "MEDIAD_DRAIN_SECONDS"),
    "MEDIAD_CONNECTION_AGE_SECONDS": ("-1", "MEDIAD_CONNECTION_AGE_SECONDS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_can_not_be_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value, sentence = REFUSED[name]
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsRefused, match=sentence):
        read_settings()


@pytest.mark.parametrize("said", [{"workers": 0}, {"delivery": "foo"}, {"metrics_port": 99_999}])
def test_only_what_is_wrong_is_named(said: dict[str, Any]) -> None:
    with pytest.raises(SettingsRefused) as refused:
        read_settings(**said)

    assert str(refused.value).startswith(f"MEDIAD_{next(iter(said)).upper()}: ")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("store", "other"),
    [
        ("file:///srv/blobs", "file:///srv/blobs/"),
        ("", "file:///srv/mediad/blobs"),
        ("s3://bucket/one?endpoint=http://s3", "s3://bucket/one/?endpoint=http://s3/"),
    ],
)
def test_a_store_is_not_its_own_fallback(store: str, other: str) -> None:
    with pytest.raises(SettingsRefused, match="another store"):
        read_settings(data_dir="/srv/mediad", storage_url=store, storage_fallback_url=other)


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mediad.toml").write_text("port = 9000\ngrpc_port = 9001\n")
    monkeypatch.setenv("MEDIAD_CONFIG", str(tmp_path / "mediad.toml"))
    monkeypatch.setenv("MEDIAD_PORT", "9100")

    settings = read_settings()

    assert (settings.port, settings.grpc_port) == (9100, 9001)


def test_mutual_tls_alone_lets_it_listen_beyond_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("KEY", "CERT", "CLIENT_CA"):
        monkeypatch.setenv(f"MEDIAD_TLS_{name}_FILE", f"{name}.pem")
    monkeypatch.setenv("MEDIAD_HOST", "0.0.0.0")

    assert read_settings().host == "0.0.0.0"


def test_policies_are_overridden_by_name(tmp_path: Path) -> None:
    file = tmp_path / "policies.toml"
    file.write_text("version = 2\n[purposes.story]\nmax_bytes = { image = 5 }\n")

    policies = read_policies(file)

    assert policies.version == 2
    assert policies.of[Purpose.STORY].max_bytes == {MediaType.IMAGE: 5}
    assert policies.of[Purpose.STORY].lifetime
    assert policies.of[Purpose.AVATAR].most_bytes == 10 * 1024 * 1024


@pytest.mark.parametrize(
    "said",
    [
        "version = 1",
        "version = 2\n[purposes.nonsense]\nfull_width = 1",
        "version = 2\n[purposes.story]\nlifetime_seconds = 99999999999999",
        (
            "version = 2\n[purposes.story]\n"
            "thumbnails = [{ name = 'full', shape = 'fit', width = 1, height = 1 }]"
        ),
        "version = 2\n[purposes.story]\nmax_bytes = { image = 0 }",
        "no toml",
    ],
)
def test_policies_that_can_not_be_are_refused(tmp_path: Path, said: str) -> None:
    file = tmp_path / "policies.toml"
    file.write_text(said)

    with pytest.raises(SettingsRefused, match="MEDIAD_POLICIES_FILE"):
        read_policies(file)


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)))

    assert read_settings().cells == 8
    assert read_settings(workers=3).cells == 2
    assert read_settings(workers=20).cells == 1
    assert read_settings(workers=3, cells=5).cells == 5


def test_processes_that_share_a_port_need_to_know_it() -> None:
    with pytest.raises(SettingsRefused, match="MEDIAD_WORKERS"):
        read_settings(workers=2, port=0)

    assert read_settings(workers=1, port=0, grpc_port=0).workers == 1


@pytest.mark.parametrize(
    ("url", "is_elsewhere"),
    [
        ("", False),
        ("postgresql://u:p@localhost/db", False),
        ("postgresql://u:p@127.0.0.1:5432/db", False),
        ("postgresql://[::1]/db", False),
        ("postgresql:///db?host=/run/postgresql", False),
        ("postgresql://%2Frun%2Fpostgresql/db", False),
        ("postgresql://u:p@db.example/db", True),
        ("postgresql://u:p%40x@10.0.0.5:5432/db", True),
        ("postgresql://localhost,db.example/db", True),
        ("postgresql:///db?host=db.example", True),
    ],
)
def test_a_database_elsewhere_wants_signing_keys_that_are_shared(
    url: str, is_elsewhere: bool
) -> None:
    assert read_settings(database_url=url).has_key_of_its_own is is_elsewhere
    assert not read_settings(database_url=url, signing_keys=f"k1:{'s' * 32}").has_key_of_its_own


def test_it_is_known_how_many_connections_it_may_want() -> None:
    said = {"workers": 3, "cells": 4, "transcodes": 2, "max_connections": 20}

    assert read_settings(**said).database_connections == 3 * (20 + 10 + 1)
    assert read_settings(**said, roles="grpc,http").database_connections == 3 * 21
    assert read_settings(**said, redis_url="redis://r").database_connections == 3 * 31
