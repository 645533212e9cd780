"""What people may say of themselves, and from where they ask."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from user_service.config import read_settings
from user_service.errors import InvalidBio, InvalidDisplayName
from user_service.http_api.asking import Addresses
from user_service.profiles import checked_bio, checked_display_name


@pytest.mark.parametrize("name", ["", "Ada", "Ada  Lovelace", "Ａda", "李小龍", "👩‍🔬", "a" * 64])
def test_names_of_all_kinds_are_taken(name: str) -> None:
    assert checked_display_name(f" {name} ") == name


@pytest.mark.parametrize("name", ["a" * 65, "a\nb", "a\0b", "\u202eadA", "a\u2066b", "\ud800"])
def test_names_that_disturb_what_is_around_them_are_refused(name: str) -> None:
    with pytest.raises(InvalidDisplayName):
        checked_display_name(name)


def test_a_bio_has_lines() -> None:
    assert checked_bio("one\r\ntwo\n\nthree ") == "one\ntwo\n\nthree"


@pytest.mark.parametrize("bio", ["a" * 501, "a\0b", "a\rb", "\x1b[2J", "\u202e"])
def test_a_bio_has_no_more_than_text(bio: str) -> None:
    with pytest.raises(InvalidBio):
        checked_bio(bio)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ("", "192.0.2.1", ["1.2.3.4"], "192.0.2.1"),
        ("10.0.0.0/8", "192.0.2.1", ["1.2.3.4"], "192.0.2.1"),
        ("10.0.0.0/8", "10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.0/8", "10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.0/8", "10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.9.9.9"], "1.2.3.4"),
        ("10.0.0.0/8", "10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["nonsense"], "nonsense"),
    ],
)
def test_only_our_own_proxies_are_believed(
    trusted: str, peer: str, forwarded: list[str], expected: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    request = Request({"type": "http", "client": (peer, 1), "headers": headers})
    addresses = Addresses(read_settings(trusted_proxies=trusted).proxies)
    assert addresses.of(request) == expected
