from __future__ import annotations

import dataclasses
from datetime import timedelta
from urllib.parse import unquote

import pytest
from fakes.samples import a_media, a_stored_rendition
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.delivering import Representation
from media_service.core.formats import Format
from media_service.core.media import Visibility
from media_service.entrypoints.http_api.entities import (
    cache_control,
    content_disposition,
    describe,
)

YEAR = 31_536_000


def _representation(
    *,
    visibility: Visibility = Visibility.PUBLIC,
    is_exact: bool = True,
    lasting: timedelta | None = None,
    filename: str = "face.jpg",
    content_type: str = "image/jpeg",
) -> Representation:
    return Representation(
        media=a_media(visibility=visibility, filename=filename),
        stored=dataclasses.replace(a_stored_rendition(), content_type=content_type),
        is_exact=is_exact,
        lasting=lasting,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (_representation(), f"public, max-age={YEAR}, immutable"),
        (_representation(is_exact=False), "public, max-age=60, must-revalidate"),
        (_representation(lasting=timedelta(hours=1)), "public, max-age=3600, immutable"),
        (_representation(lasting=timedelta(days=3650)), f"public, max-age={YEAR}, immutable"),
        (
            _representation(lasting=timedelta(hours=1), is_exact=False),
            "public, max-age=60, must-revalidate",
        ),
        (
            _representation(lasting=timedelta(seconds=7), is_exact=False),
            "public, max-age=7, must-revalidate",
        ),
        (
            _representation(visibility=Visibility.PRIVATE, lasting=timedelta(seconds=90.9)),
            "private, max-age=90",
        ),
        (
            _representation(visibility=Visibility.PRIVATE, lasting=timedelta(0)),
            "private, max-age=0",
        ),
        (
            _representation(
                visibility=Visibility.PRIVATE, lasting=timedelta(hours=1), is_exact=False
            ),
            "private, max-age=60",
        ),
    ],
)
def test_nothing_is_kept_longer_than_it_is_good(found: Representation, expected: str) -> None:
    entity, own = describe(found)

    assert cache_control(found) == (b"cache-control", expected.encode())
    assert dict([*entity.whole.headers, *own])[b"cache-control"] == expected.encode()
    assert dict([*entity.part.headers, *own])[b"cache-control"] == expected.encode()


def test_a_rendition_is_described_by_what_is_stored() -> None:
    found = _representation()
    entity, own = describe(found)
    assert own == ()
    headers = dict(entity.whole.headers)

    assert headers[b"content-type"] == b"image/jpeg"
    assert headers[b"content-length"] == str(found.stored.size_bytes).encode()
    assert headers[b"etag"] == b'"%s"' % found.stored.checksum[:32].encode()
    assert headers[b"accept-ranges"] == b"bytes"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"content-security-policy"] == b"default-src 'none'; sandbox"
    assert headers[b"cross-origin-resource-policy"] == b"cross-origin"
    assert set(entity.part.headers) == headers.items() - {
        (b"content-length", headers[b"content-length"])
    }
    assert entity.whole.body_bytes == found.stored.size_bytes


@pytest.mark.parametrize("content_type", ["", "image", "image/jpeg\r\nx: y", "image/ü", "a/b;c"])
def test_a_content_type_that_is_none_is_never_sent(content_type: str) -> None:
    headers = dict(describe(_representation(content_type=content_type))[0].part.headers)

    assert headers[b"content-type"] == b"application/octet-stream"
    assert headers[b"content-disposition"].startswith(b"attachment;")


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/webp", "image/avif", "video/mp4", "audio/mpeg"]
)
def test_pictures_sound_and_film_are_shown(content_type: str) -> None:
    assert content_disposition(content_type, "a.jpg").startswith("inline;")


@pytest.mark.parametrize(
    "content_type",
    [
        "image/svg+xml",
        "text/html",
        "text/plain",
        "application/pdf",
        "application/xhtml+xml",
        "application/javascript",
        "application/octet-stream",
        "video/x+xml",
        "multipart/mixed",
    ],
)
def test_what_a_browser_could_run_is_kept_from_it(content_type: str) -> None:
    assert content_disposition(content_type, "a.jpg").startswith("attachment;")


@pytest.mark.parametrize(
    ("filename", "content_type", "expected"),
    [
        ("face.jpg", "image/jpeg", 'inline; filename="face.jpg"'),
        ("face.PNG", "image/webp", 'inline; filename="face.webp"'),
        ("run.exe", "image/jpeg", 'inline; filename="run.jpg"'),
        ("page.html", "image/jpeg", 'inline; filename="page.jpg"'),
        ("no extension", "image/jpeg", 'inline; filename="no extension.jpg"'),
        ("v1.2 of it", "image/jpeg", 'inline; filename="v1.2 of it.jpg"'),
        ("", "image/jpeg", 'inline; filename="file.jpg"'),
        (".jpg", "image/jpeg", 'inline; filename="file.jpg"'),
        ("report.pdf", "application/pdf", 'attachment; filename="report.pdf"'),
        ("run.exe", "application/pdf", 'attachment; filename="run.pdf"'),
        ("notes", "text/plain", 'attachment; filename="notes.txt"'),
        ("run.sh", "text/plain", 'attachment; filename="run.txt"'),
        ("table.CSV", "text/plain", 'attachment; filename="table.csv"'),
        ("readme.md", "text/plain", 'attachment; filename="readme.md"'),
        ("clip.MOV", "video/mp4", 'inline; filename="clip.mp4"'),
        ("peaks", "application/json", 'attachment; filename="peaks.json"'),
        ("x.bin", "application/x-unknown", 'attachment; filename="x.bin"'),
        (
            "naïve café.jpg",
            "image/jpeg",
            "inline; filename=\"na_ve caf_.jpg\"; filename*=UTF-8''na%C3%AFve%20caf%C3%A9.jpg",
        ),
        (
            'a"b\\c%41.jpg',
            "image/jpeg",
            "inline; filename=\"a_b_c_41.jpg\"; filename*=UTF-8''a%22b%5Cc%2541.jpg",
        ),
        (
            "a\r\nSet-Cookie: x=1.jpg",
            "image/jpeg",
            (
                'inline; filename="a__Set-Cookie_ x=1.jpg"; '
                "filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x%3D1.jpg"
            ),
        ),
        (
            "\u202egpj.exe",
            "image/jpeg",
            "inline; filename=\"_gpj.jpg\"; filename*=UTF-8''%E2%80%AEgpj.jpg",
        ),
        ("\ud800.jpg", "image/jpeg", "inline; filename=\"_.jpg\"; filename*=UTF-8''%3F.jpg"),
    ],
)
def test_a_name_is_safe_and_ends_as_its_type_says(
    filename: str, content_type: str, expected: str
) -> None:
    assert content_disposition(content_type, filename) == expected


@pytest.mark.parametrize("format", Format)
def test_every_format_has_an_extension_of_its_own(format: Format) -> None:
    disposition = content_disposition(format.value, "name.xyz")

    assert f'filename="name{format.extension}"' in disposition


def test_text_is_said_to_be_in_the_charset_it_was_checked_to_be_in() -> None:
    headers = dict(describe(_representation(content_type="text/plain"))[0].part.headers)

    assert headers[b"content-type"] == b"text/plain; charset=utf-8"


@given(filename=st.text(max_size=60))
def test_no_name_breaks_out_of_its_header(filename: str) -> None:
    value = content_disposition("image/jpeg", filename)

    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2
    assert "\\" not in value
    quoted = value.split('"')[1]
    assert quoted.endswith(".jpg")
    if "filename*=" in value:
        extended = value.split("filename*=UTF-8''")[1]
        assert ";" not in extended
        assert unquote(extended).endswith(".jpg")


@given(filename=st.text(st.characters(exclude_categories=["C"]), max_size=60))
def test_a_reader_of_the_header_finds_the_name(filename: str) -> None:
    value = content_disposition("application/pdf", filename + ".x")

    _, _, extended = value.partition("filename*=UTF-8''")
    found = unquote(extended) if extended else value.split('"')[1]

    assert found == (filename or "file") + ".pdf"
