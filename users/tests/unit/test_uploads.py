"""One file out of a form, or the reason why not (rows H31-43, Z of the hostile inputs)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from user_fakes.forms import BOUNDARY, end, form, part
from user_service import errors
from user_service.records import UserId
from user_service.spools import IN_MEMORY_BYTES, open_spool
from user_service.uploads import SLACK_BYTES, Expected, boundary_of, receive_file

LIMIT = 100_000
TEXT = 'form-data; name="{}"'


async def stream(body: bytes, sizes: Iterable[int] = ()) -> AsyncIterator[bytes]:
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    for start in range(at, len(body), 65_536):
        yield body[start : start + 65_536]


async def received(
    body: bytes | AsyncIterator[bytes], *, limit: int = LIMIT, folder: Path = Path()
) -> tuple[str, str, bytes]:
    expected = Expected(limits={"image": limit}, user_id=UserId("ada"))
    source = stream(body) if isinstance(body, bytes) else body
    async with open_spool(folder) as spool:
        file = await receive_file(source, spool, boundary=BOUNDARY, expected=expected)
        content = file.content.read()
        assert file.size_bytes == len(content)
        return file.filename, file.content_type, content


async def test_a_file_arrives_with_its_name_and_type() -> None:
    assert await received(form(b"\x89PNG...")) == ("me.png", "image/png", b"\x89PNG...")


@given(
    content=st.binary(min_size=1, max_size=300).map(lambda b: b.replace(b"-", b"\r\n-")),
    sizes=st.lists(st.integers(1, 60), max_size=40),
)
async def test_it_does_not_matter_where_the_stream_is_cut(content: bytes, sizes: list[int]) -> None:
    assert await received(stream(form(content), sizes)) == ("me.png", "image/png", content)


async def test_a_content_full_of_almost_boundaries_is_kept() -> None:
    content = b"\r\n--" + BOUNDARY[:-1] + b"\r\n--" + BOUNDARY[:-1] + b"x--\r\n-" * 50
    assert (await received(form(content)))[2] == content


async def test_large_files_go_through_a_nameless_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    assert len(content) > IN_MEMORY_BYTES
    assert (await received(form(content), limit=len(content), folder=tmp_path))[2] == content
    assert list(tmp_path.iterdir()) == []


async def test_a_file_may_be_as_large_as_the_limit_and_not_a_byte_larger() -> None:
    assert len((await received(form(bytes(LIMIT))))[2]) == LIMIT
    with pytest.raises(errors.FileTooLarge):
        await received(form(bytes(LIMIT + 1)))


async def test_nothing_is_read_after_the_first_byte_too_many() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield part(b"")[:-2]
        while True:
            taken += 1024
            yield bytes(1024)

    with pytest.raises(errors.FileTooLarge):
        await received(endless())
    assert taken <= LIMIT + 2048


@pytest.mark.parametrize(
    "prologue",
    [part(b"x" * 100, disposition=TEXT.format("user_id"), headers=()), b"", part(b"")[:40]],
)
async def test_bodies_are_bounded_whatever_they_are_made_of(prologue: bytes) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield prologue
        for _ in range(10_000):
            yield b"x" * 1024

    with pytest.raises(errors.UserError) as caught:
        await received(endless())
    assert caught.value.kind in (errors.Kind.INVALID, errors.Kind.TOO_LARGE)


async def test_an_epilogue_is_bounded() -> None:
    body = form(b"x") + b"y" * (LIMIT + SLACK_BYTES)
    with pytest.raises(errors.TooLarge):
        await received(body)


REFUSED = {
    "nothing": (b"", errors.InvalidMultipart),
    "only the end": (end(), errors.UserError),
    "unterminated": (part(b"x"), errors.InvalidMultipart),
    "cut in the content": (part(b"x" * 50)[:-20], errors.InvalidMultipart),
    "cut in a header": (part(b"x")[:30], errors.InvalidMultipart),
    "cut in the last boundary": (form(b"x")[:-5], errors.InvalidMultipart),
    "preamble": (b"hello\r\n" + form(b"x"), errors.InvalidMultipart),
    "other boundary": (part(b"x", boundary=b"other") + end(b"other"), errors.InvalidMultipart),
    "json": (b'{"file": "x"}', errors.InvalidMultipart),
    "empty file": (form(b""), errors.EmptyFile),
    "two files": (part(b"x") + form(b"y"), errors.TooManyFiles),
    "file and another file": (
        part(b"x") + form(b"y", disposition='form-data; name="other"; filename="y.png"'),
        errors.TooManyFiles,
    ),
    "wrong field": (
        form(b"x", disposition='form-data; name="picture"; filename="me.png"'),
        errors.UnexpectedField,
    ),
    "field with capitals": (
        form(b"x", disposition='form-data; name="File"; filename="me.png"'),
        errors.UnexpectedField,
    ),
    "text instead of a file": (form(b"x", disposition=TEXT.format("file")), errors.MissingFile),
    "a field beside it": (
        part(b"x") + form(b"1", disposition=TEXT.format("is_admin")),
        errors.UnexpectedField,
    ),
    "another's user_id": (
        part(b"bob", disposition=TEXT.format("user_id")) + form(b"x"),
        errors.NotYou,
    ),
    "an endless user_id": (
        part(b"a" * 200, disposition=TEXT.format("user_id")) + form(b"x"),
        errors.UnexpectedField,
    ),
    "20,000 parts": (
        part(b"ada", disposition=TEXT.format("user_id"), headers=()) * 600 + form(b"x"),
        errors.UnexpectedField,
    ),
    "1 MB of header": (form(b"x", headers=("X-A: " + "a" * 90_000,)), errors.InvalidMultipart),
    "many headers": (
        form(b"x", headers=tuple(f"X-{n}: 1" for n in range(20))),
        errors.InvalidMultipart,
    ),
    "a header twice": (
        form(b"x", headers=('Content-Disposition: form-data; name="file"',)),
        errors.InvalidMultipart,
    ),
    "no disposition": (form(b"x", disposition=""), errors.InvalidMultipart),
    "attachment": (
        form(b"x", disposition='attachment; name="file"; filename="me.png"'),
        errors.InvalidMultipart,
    ),
    "no name": (form(b"x", disposition='form-data; filename="me.png"'), errors.InvalidMultipart),
    "filename*": (
        form(b"x", disposition="form-data; name=\"file\"; filename*=UTF-8''me.png"),
        errors.InvalidMultipart,
    ),
    "name*": (
        form(b"x", disposition="form-data; name*=UTF-8''file; filename=\"me.png\""),
        errors.InvalidMultipart,
    ),
    "base64": (
        form(b"eA==", headers=("Content-Transfer-Encoding: base64",)),
        errors.InvalidMultipart,
    ),
    "html": (form(b"<html>", headers=("Content-Type: text/html",)), errors.UnsupportedType),
    "bare line feeds": (form(b"x").replace(b"\r\n", b"\n"), errors.InvalidMultipart),
    "a bad header name": (form(b"x", headers=("X Y: 1",)), errors.InvalidMultipart),
    "NUL in a header name": (form(b"x", headers=("X\0: 1",)), errors.InvalidMultipart),
    "nested": (
        form(b"--in\r\n\r\nx\r\n--in--", headers=("Content-Type: multipart/mixed; boundary=in",)),
        errors.UnsupportedType,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [1, 7, 65_536])
async def test_what_is_no_such_form_is_refused(name: str, size: int) -> None:
    body, expected = REFUSED[name]
    with pytest.raises(expected):
        await received(stream(body, [size] * (len(body) // size) if len(body) < 5000 else []))


async def test_your_own_user_id_may_stand_beside_it() -> None:
    claim = part(b"ada", disposition=TEXT.format("user_id"), headers=())
    assert (await received(claim + form(b"x")))[2] == b"x"
    assert (await received(part(b"x") + claim + end()))[2] == b"x"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\temp\\\\me.png", "me.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\tb.png", "ab.png"),
        ("né.png", "né.png"),
        ("-i", "-i"),
        ("%03d.jpg", "%03d.jpg"),
        ("", ""),
        ("x" * 400 + ".png", "x" * 251 + ".png"),
    ],
)
async def test_names_lose_what_could_hide_or_escape(sent: str, kept: str) -> None:
    body = form(b"x", disposition=f'form-data; name="file"; filename="{sent}"')
    assert (await received(body))[0] == kept


async def test_an_unknown_type_is_left_to_the_bytes() -> None:
    for headers in ((), ("Content-Type: application/octet-stream",)):
        assert (await received(form(b"x", headers=headers)))[1] == ""


@given(st.binary(max_size=400))
async def test_nothing_but_a_refusal_comes_of_noise(noise: bytes) -> None:
    for body in (noise, part(b"x") + noise, b"--" + BOUNDARY + b"\r\n" + noise):
        with contextlib.suppress(errors.UserError):
            await received(body)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", errors.NotAForm),
        ("application/json", errors.NotAForm),
        ("multipart/mixed; boundary=x", errors.NotAForm),
        ("application/x-www-form-urlencoded", errors.NotAForm),
        ("multipart/form-data", errors.InvalidMultipart),
        ("multipart/form-data; boundary=", errors.InvalidMultipart),
        ('multipart/form-data; boundary=""', errors.InvalidMultipart),
        ("multipart/form-data; boundary=a; boundary=b", errors.InvalidMultipart),
        ("multipart/form-data; boundary=" + "x" * 71, errors.InvalidMultipart),
        ("multipart/form-data; boundary=a\u00e9", errors.InvalidMultipart),
        ('multipart/form-data; boundary="a\tb"', errors.InvalidMultipart),
        ("multipart/form-data; boundary*=utf-8''x", errors.InvalidMultipart),
    ],
)
def test_a_boundary_is_there_once_and_plain(
    content_type: str, expected: type[errors.UserError]
) -> None:
    with pytest.raises(expected):
        boundary_of(content_type)


@pytest.mark.parametrize(
    "boundary", ["x", "-" * 70, "a b", "----WebKitFormBoundary7MA4YWxkTrZu0gW"]
)
def test_a_plain_boundary_is_taken(boundary: str) -> None:
    quoted = boundary_of(f'Multipart/Form-Data; charset=utf-8; Boundary="{boundary}"')
    assert quoted == boundary.encode()
