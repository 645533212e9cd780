from __future__ import annotations

import unicodedata

import pytest
from fakes.samples import a_declaration
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.errors import (
    InvalidChecksum,
    InvalidContentType,
    InvalidFilename,
    InvalidIdempotencyKey,
    InvalidSize,
    InvalidUserId,
)
from media_service.core.media import UserId
from media_service.core.uploads import declare, parse_user_id, safe_filename

# File names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("face.jpg", "face.jpg"),
        ("my holiday (1).jpg", "my holiday (1).jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\x.dll", "x.dll"),
        ("/etc/passwd", "passwd"),
        ("C:\\boot.ini", "boot.ini"),
        ("a/b\\c:d.jpg", "d.jpg"),
        ("file.jpg::$DATA", "$DATA"),
        ("concat:a|b", "a|b"),
        ("http://169.254.169.254/latest", "latest"),
        ("a\0.jpg", "a.jpg"),
        ("a.jpg\0.exe", "a.jpg.exe"),
        ("a\r\nSet-Cookie: x=1", "x=1"),
        ("a\tb\x7f\x1b[31m.jpg", "ab[31m.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\u200b.p\u200bhp", "a.php"),
        ("a\u2028b\u2029c\u00a0d.jpg", "abcd.jpg"),
        ("\ufeffa.jpg", "a.jpg"),
        ("\ud800a.jpg", "a.jpg"),
        ("a\ue000\U000f0000.jpg", "a.jpg"),
        (" .htaccess", "htaccess"),
        ("...", "file"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("   ", "file"),
        ("a/", "file"),
        ("\u202e\0\n", "file"),
        ("evil.php. . .", "evil.php"),
        ("-i", "-i"),
        ("%03d.jpg", "%03d.jpg"),
        ("%2e%2e%2fpasswd", "%2e%2e%2fpasswd"),
        ("CON", "CON"),
        ("nul.jpg", "nul.jpg"),
        ("$(reboot).jpg", "$(reboot).jpg"),
        ("\"><script>alert('1')<", "\"><script>alert('1')<"),
        ("фото.jpg", "фото.jpg"),
        ("写真.jpg", "写真.jpg"),
        ("😀.png", "😀.png"),
    ],
)
def test_a_name_is_its_last_part_without_what_could_hide_break_or_escape(
    text: str, name: str
) -> None:
    assert safe_filename(text) == name


def test_both_forms_of_unicode_are_kept_as_they_came() -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))

    assert safe_filename(composed) == composed
    assert safe_filename(decomposed) == decomposed


def test_a_long_name_keeps_its_beginning_and_extension() -> None:
    assert safe_filename("x" * 1000 + ".jpg") == "x" * 196 + ".jpg"


def test_a_long_name_is_not_cut_within_a_character() -> None:
    assert safe_filename("é" * 300 + ".jpg") == "é" * 98 + ".jpg"


@pytest.mark.parametrize("end", [" ", ".", " . "])
def test_a_name_that_was_cut_ends_in_no_dot_or_space(end: str) -> None:
    assert safe_filename("x" * (200 - len(end)) + end + "y" * 50) == "x" * (200 - len(end))


def test_a_long_extension_is_none() -> None:
    assert safe_filename("x." + "y" * 300) == ("x." + "y" * 300)[:200]


def test_a_name_of_1024_characters_is_taken_and_one_more_is_not() -> None:
    safe_filename("x" * 1024)

    with pytest.raises(InvalidFilename):
        safe_filename("x" * 1025)
    with pytest.raises(InvalidFilename):
        safe_filename("x" * 100_000)


@given(st.text(max_size=400) | st.text("ab./\\: \n\u202e\0é", max_size=400))
def test_every_name_comes_out_safe(text: str) -> None:
    name = safe_filename(text)

    assert 0 < len(name.encode()) <= 200
    assert not set(name) & set("/\\:\0\r\n")
    assert name.isprintable()
    assert name == name.strip(" .")


@given(st.text(max_size=400) | st.text("ab. é", max_size=400))
def test_a_safe_name_stays_as_it_is(text: str) -> None:
    assert safe_filename(safe_filename(text)) == safe_filename(text)


# User ids


@pytest.mark.parametrize("text", ["u", "42", "0198c0de-1234-7abc-8def-0123456789ab", "x" * 128])
def test_visible_user_ids_are_taken(text: str) -> None:
    assert parse_user_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "a\n", "a\0", "\x7f", "é", "\u202ea", "x" * 129, "x" * 1_000_000],
    ids=lambda text: ascii(text[:24]),
)
def test_other_user_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidUserId):
        parse_user_id(text)


# Declarations


def test_what_is_declared_right_stays_as_it_is() -> None:
    declared = a_declaration(
        idempotency_key="key-1", sha256="0123456789abcdef" * 4, size_bytes=1, filename="a.jpg"
    )

    assert declare(declared) == declared


def test_names_and_types_are_made_safe() -> None:
    declared = declare(
        a_declaration(filename="../a.jpg", content_type="Image/JPEG; q=1", sha256="AB" * 32)
    )

    assert declared.filename == "a.jpg"
    assert declared.content_type == "image/jpeg"
    assert declared.sha256 == "ab" * 32


@pytest.mark.parametrize("key", [" ", "a b", "a\r\n", "\0", "é", "x" * 129])
def test_an_idempotency_key_that_is_not_visible_is_refused(key: str) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        declare(a_declaration(idempotency_key=key))


@pytest.mark.parametrize("key", ["", "x", "x" * 128, "';drop_table"])
def test_an_idempotency_key_may_be_anything_visible_or_missing(key: str) -> None:
    assert declare(a_declaration(idempotency_key=key)).idempotency_key == key


@pytest.mark.parametrize(
    "sha256", ["x", "ab" * 31, "ab" * 33, "gg" * 32, "ab" * 31 + " a", "１" * 64]
)
def test_what_is_no_checksum_is_refused(sha256: str) -> None:
    with pytest.raises(InvalidChecksum):
        declare(a_declaration(sha256=sha256))


@pytest.mark.parametrize("size_bytes", [-1, 0, -(2**63)])
def test_a_size_of_nothing_is_refused(size_bytes: int) -> None:
    with pytest.raises(InvalidSize):
        declare(a_declaration(size_bytes=size_bytes))


@pytest.mark.parametrize("size_bytes", [None, 1, 2**63])
def test_any_other_size_may_be_declared(size_bytes: int | None) -> None:
    assert declare(a_declaration(size_bytes=size_bytes)).size_bytes == size_bytes


def test_a_wrong_user_id_name_or_type_is_refused() -> None:
    with pytest.raises(InvalidUserId):
        declare(a_declaration(owner=UserId("")))
    with pytest.raises(InvalidFilename):
        declare(a_declaration(filename="x" * 100_000))
    with pytest.raises(InvalidContentType):
        declare(a_declaration(content_type="nonsense"))
