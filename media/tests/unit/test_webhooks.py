"""What is configured of webhooks, and when they are tried again."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from media_service.commands import doctor
from media_service.config import SettingsRefused, read_settings
from media_service.core.webhooks import next_pause, receiver_name

SECRET = "now:a-secret-of-the-tests"


def test_receivers_are_a_list() -> None:
    settings = read_settings(
        webhook_urls="https://one.example/hooks?token=x, http://[::1]:8080/,https://one.example/hooks?token=x",
        webhook_secrets=SECRET,
    )

    assert settings.receivers == ("https://one.example/hooks?token=x", "http://[::1]:8080/")
    assert [receiver_name(url) for url in settings.receivers] == ["one.example", "[::1]:8080"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://one.example/",
        "file:///etc/passwd",
        "one.example",
        "https://",
        "https://user:password@one.example/",
        "https://user@one.example/",
        "https://one.example/#part",
        "https://one.example:99999/",
        "https://one.example/a b",
        "https://öne.example/",
        "https://one.example/\r\nx: y",
    ],
)
def test_what_is_no_receiver_is_refused(url: str) -> None:
    with pytest.raises(SettingsRefused, match="MEDIAD_WEBHOOK_URLS"):
        read_settings(webhook_urls=url, webhook_secrets=SECRET)


def test_receivers_need_a_secret() -> None:
    with pytest.raises(SettingsRefused, match="MEDIAD_WEBHOOK_SECRETS"):
        read_settings(webhook_urls="https://one.example/")


def test_secrets_are_taken_as_they_are_or_as_the_standard_writes_them() -> None:
    written = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    settings = read_settings(webhook_secrets=f"{SECRET},next:{written}")

    assert settings.webhook_keys == (b"a-secret-of-the-tests", bytes(range(24)))


@pytest.mark.parametrize(
    "secret", ["now:short", "now:whsec_not!base64!at!all", "now:whsec_AAAAAAAA"]
)
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(SettingsRefused, match="MEDIAD_WEBHOOK_SECRETS"):
        read_settings(webhook_secrets=secret)


def test_pauses_grow_up_to_an_hour_and_end_after_three_days() -> None:
    pauses = [next_pause(attempts, age=timedelta(hours=1), luck=0.5) for attempts in range(1, 40)]
    seconds = [pause.total_seconds() for pause in pauses if pause]

    assert seconds[:3] == [5, 10, 20]
    assert seconds == sorted(seconds)
    assert seconds[-1] == 3600
    assert next_pause(1, age=timedelta(days=3), luck=0.5) is None
    assert next_pause(1, age=timedelta(0), luck=0) < next_pause(1, age=timedelta(0), luck=1)  # type: ignore[operator]


async def test_the_doctor_doubts_a_receiver_that_is_not_there() -> None:
    settings = read_settings(webhook_urls="http://127.0.0.1:1/x", webhook_secrets=SECRET)

    with pytest.raises(doctor.Doubt, match=r"127\.0\.0\.1:1"):
        await doctor._webhooks(settings)
    assert "nobody" in await doctor._webhooks(read_settings())
