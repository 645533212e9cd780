"""Settings that can be used, and those that can't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from user_service.composition import outside_issuer_of, own_keys_of
from user_service.config import SettingsRefused, read_settings

SECRET = "s" * 40


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("USERD_"):
            monkeypatch.delenv(name)


def test_nothing_needs_to_be_said() -> None:
    settings = read_settings()
    assert (settings.port, settings.host) == (8080, "127.0.0.1")
    assert settings.media_address == "localhost:50051"


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "userd.toml").write_text('port = 1\nhost = "::1"\n')
    monkeypatch.setenv("USERD_CONFIG", str(tmp_path / "userd.toml"))
    monkeypatch.setenv("USERD_PORT", "2")
    assert read_settings().base_url == "http://[::1]:2"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("USERD_MAX_CONNECTION", "1", "no such setting: USERD_MAX_CONNECTION"),
        ("USERD_CONFIG", "nowhere.toml", "USERD_CONFIG: there is no file nowhere.toml"),
        ("USERD_TRUSTED_PROXIES", "banana", "USERD_TRUSTED_PROXIES: 'banana'"),
        ("USERD_LOG_FORMAT", "jsonx", "USERD_LOG_FORMAT"),
        ("USERD_MEDIA_ADDRESS", "", "USERD_MEDIA_ADDRESS"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsRefused, match=sentence):
        read_settings()


OUTSIDE = {"jwt_outside_issuer": "x", "jwt_outside_algorithms": "RS256"}


@pytest.mark.parametrize(
    "said",
    [
        {"port": 70_000},
        {"jwt_keys": "short:secret"},
        {"jwt_keys": SECRET},
        {"trusted_proxies": "10.0.0.1/8"},
        {"media_public_url": "javascript:alert(1)"},
        {"media_public_url": "http://x; script-src *"},
        {"media_tls_cert_file": "x"},
        {"jwt_outside_secret": SECRET},
        {"jwt_outside_issuer": "x"},
        OUTSIDE,
        {**OUTSIDE, "jwt_outside_secret": SECRET},
        {**OUTSIDE, "jwt_outside_jwks_url": "https://x", "jwt_outside_secret": SECRET},
        {**OUTSIDE, "jwt_outside_jwks_url": "https://x", "jwt_outside_issuer": "userd"},
        {**OUTSIDE, "jwt_outside_jwks_url": "https://x", "jwt_outside_algorithms": "none"},
        {**OUTSIDE, "jwt_outside_jwks_url": "https://x", "jwt_outside_algorithms": "RS256,HS256"},
        {**OUTSIDE, "jwt_outside_jwks_url": "https://x", "jwt_outside_algorithms": ""},
    ],
)
def test_what_can_not_be_right_is_refused_at_start(said: dict[str, Any]) -> None:
    with pytest.raises(SettingsRefused):
        read_settings(**said)


def test_secrets_do_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    settings = read_settings(jwt_keys=f"k1:{SECRET}", media_token=SECRET)
    assert SECRET not in repr(settings)
    assert SECRET not in repr(own_keys_of(settings))


def test_a_key_is_made_once_and_kept_to_us(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    first, again = own_keys_of(settings), own_keys_of(settings)
    assert first == again
    assert len(first[0].secret) == 64
    kept = tmp_path / "data" / "jwt-key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert list(kept.parent.iterdir()) == [kept]


def test_named_keys_keep_their_order() -> None:
    keys = own_keys_of(read_settings(jwt_keys=f"new:{SECRET}n, old:{SECRET}o"))
    assert [key.name for key in keys] == ["new", "old"]


def test_an_outside_issuer_has_its_own_audience_or_ours(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    (tmp_path / "key.pem").write_bytes(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    said = {**OUTSIDE, "jwt_outside_public_key_file": tmp_path / "key.pem"}
    issuer = outside_issuer_of(read_settings(**said))
    assert issuer is not None
    assert issuer.audience == "userd"


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"keys": []}'])
@pytest.mark.parametrize("kind", ["jwt_outside_public_key_file", "jwt_outside_jwks_file"])
def test_key_files_that_are_none_are_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(SettingsRefused):
        outside_issuer_of(read_settings(**OUTSIDE, **{kind: tmp_path / "keys"}))


def test_weak_keys_are_refused(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()
    (tmp_path / "key.pem").write_bytes(
        weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    said = {**OUTSIDE, "jwt_outside_public_key_file": tmp_path / "key.pem"}
    with pytest.raises(SettingsRefused):
        outside_issuer_of(read_settings(**said))
    short = {**OUTSIDE, "jwt_outside_algorithms": "HS256", "jwt_outside_secret": "short"}
    with pytest.raises(SettingsRefused):
        outside_issuer_of(read_settings(**short))
