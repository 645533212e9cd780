"""Files made to hurt, sent to both services as processes: one answer over gRPC and HTTP."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import httpx
import pytest
import pytest_asyncio
from fakes import films, hostile_films, pictures
from fakes.polyglots import CANARY, POLYGLOTS, bmp_that_is_a_script
from fakes.witnesses import silent_sink
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, Stub, upload_request
from tests.e2e.refusals import nothing_stays_staged, refused
from tests.e2e.test_user_service import Person
from tests.e2e.userd_process import Userd

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(300)]

ATTACHMENTS: Final = "/api/v1/media/attachments"
STATUSES: Final = {
    "empty_file": 400,
    "unsupported_type": 415,
    "broken_file": 422,
    "too_many_pixels": 422,
    "metadata_too_large": 413,
}
"""What HTTP says of each; gRPC calls them all INVALID_ARGUMENT."""
SVG: Final = b'<svg xmlns="http://www.w3.org/2000/svg">%b</svg>'
DOCTYPE: Final = b'<?xml version="1.0"?><!DOCTYPE a [%b]><a>&b;</a>'
NEVER: Final = "http://127.0.0.1:PORT/"
"""Where nobody may ask; the port is put in when it is known."""

Make: TypeAlias = Callable[[], bytes]


def _picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 80, 40)).save(buffer, kind)
    return buffer.getvalue()


def _naming(kind: str, *, behind_a_film: bool = False) -> Make:
    def make() -> bytes:
        content = hostile_films.references(NEVER)[kind]
        return hostile_films.behind_a_file_type(content) if behind_a_film else content

    return make


UNSUPPORTED: Final[Mapping[str, tuple[str, bytes | Make]]] = {
    "noise": ("a.jpg", bytes(range(256)) * 8),
    "a page": ("a.jpg", b"<!doctype html><script>alert(1)</script>"),
    "a program": ("a.png", b"\x7fELF" + bytes(200)),
    "PHP that begins as a GIF": ("a.gif", b"GIF89a<?php system($_GET['c']); ?>"),
    "a script that begins as a GIF": ("a.gif", b"GIF89a=1;alert(document.domain)//"),
    "a script that begins as a BMP": ("a.bmp", b"BM=1;alert(document.domain)//"),
    "a BMP that is a script": ("a.bmp", bmp_that_is_a_script),
    "a BMP": ("a.bmp", lambda: _picture("BMP")),
    "a TIFF": ("a.jpg", b"II*\x00" + bytes(100)),
    "a letter": ("a.jpg", b"%PDF-1.7\n" + bytes(100)),
    "an archive": ("a.jpg", b"PK\x03\x04" + bytes(100)),
    "a drawing that runs": ("a.svg", SVG % b'<script>alert(1)</script><g onload="alert(1)"/>'),
    "a drawing called .png": ("a.png", SVG % b"<rect/>"),
    "a drawing that fetches": ("a.svg", SVG % b'<image href="%b"/>' % NEVER.encode()),
    "a drawing that reads": ("a.svg", SVG % b'<image href="file:///etc/passwd"/>'),
    "a drawing with a page in it": (
        "a.svg",
        SVG % b'<foreignObject><iframe src="%b"/></foreignObject>' % NEVER.encode(),
    ),
    "a drawing of uses of uses": (
        "a.svg",
        SVG % b"".join(b'<g id="a%d">%b</g>' % (n, b'<use href="#a"/>' * 10) for n in range(20)),
    ),
    "a drawing without end": ("a.svg", SVG % b'<svg width="1000000000" height="1000000000"/>'),
    "a drawing in UTF-16": ("a.svg", '<svg><a href="javascript:alert(1)"/></svg>'.encode("utf-16")),
    "a packed drawing of 64 MB": ("a.svgz", lambda: gzip.compress(SVG % bytes(64 << 20))),
    "an entity from a file": ("a.svg", DOCTYPE % b'<!ENTITY b SYSTEM "file:///etc/passwd">'),
    "entities from elsewhere": (
        "a.svg",
        DOCTYPE % b'<!ENTITY %% c SYSTEM "%b">%%c;' % NEVER.encode(),
    ),
    "a billion laughs": (
        "a.svg",
        DOCTYPE % b"".join(b'<!ENTITY b%d "%b">' % (n, b"&b%d;" % (n + 1) * 10) for n in range(9)),
    ),
    **{kind: ("a.mp4", _naming(kind)) for kind in hostile_films.references("")},
}
BROKEN: Final[Mapping[str, tuple[str, bytes | Make]]] = {
    "three bytes": ("a.jpg", b"\xff\xd8\xff"),
    "half a JPEG": ("a.jpg", lambda: _picture("JPEG", (900, 700))[:3000]),
    "a PNG without its end": ("a.png", lambda: _picture()[:-20]),
    "boxes in boxes": ("a.mp4", lambda: hostile_films.nested_boxes(b"moov")),
    "a film without its index": ("a.mp4", lambda: hostile_films.without_index(films.film())),
    **{
        f"{kind}, behind a film's first bytes": ("a.mp4", _naming(kind, behind_a_film=True))
        for kind in hostile_films.references("")
    },
}
TOO_MUCH: Final[Mapping[str, tuple[str, bytes | Make]]] = {
    "a picture that claims to be huge": ("a.png", lambda: pictures.png_that_lies(50_000, 50_000)),
    "a film of 16384 by 8192": ("a.mp4", hostile_films.huge_film),
}
BAD_FILES: Final = [
    ("empty_file", "nothing", "a.jpg", b""),
    ("metadata_too_large", "metadata", "a.jpg", lambda: pictures.jpeg_with_segments(24)),
    *(("unsupported_type", row, *file) for row, file in UNSUPPORTED.items()),
    *(("broken_file", row, *file) for row, file in BROKEN.items()),
    *(("too_many_pixels", row, *file) for row, file in TOO_MUCH.items()),
]


@pytest.fixture(scope="module")
def users(mediad: Mediad, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Userd]:
    limits = {"USERD_REGISTRATIONS_PER_ADDRESS": "1000"}
    with Userd(tmp_path_factory.mktemp("userd"), mediad, **limits).running() as process:
        yield process


@pytest_asyncio.fixture
async def person(users: Userd) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=users.base_url, timeout=60) as http:
        yield await Person(http).sign_up(f"eve{uuid.uuid4().hex[:12]}")


async def _posted(person: Person, content: bytes, name: str) -> httpx.Response:
    """As bytes of no kind: what says which is refused by the user service, unread."""
    file = (name, content, "application/octet-stream")
    return await person.http.post(ATTACHMENTS, files={"file": file})


def _refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def _attachment(content: bytes, name: str, **fields: object) -> pb.UploadMediaRequest:
    declared = {"filename": name, "content_type": "", "purpose": pb.POST_ATTACHMENT}
    return upload_request(content, **declared | fields)


async def _deaths(mediad: Mediad, http: httpx.AsyncClient) -> float:
    """How many decoding processes died so far."""
    told = (await http.get(f"{mediad.base_url}/metrics")).text
    return sum(map(float, re.findall(r"^mediad_cell_deaths_total\S* (\S+)$", told, re.MULTILINE)))


def _kept_of(folder: Path, content: bytes) -> list[Path]:
    """What is stored of it: files are named by their hash."""
    digest = hashlib.sha256(content).hexdigest()
    return [path for path in (folder / "data").rglob("*") if path.name.startswith(digest)]


@pytest.mark.parametrize(
    ("code", "name", "made"), [(c, n, m) for c, _, n, m in BAD_FILES], ids=[f[1] for f in BAD_FILES]
)
async def test_a_bad_file_is_refused_alike_over_both_and_leaves_nothing(
    mediad: Mediad,
    media: Stub,
    person: Person,
    users: Userd,
    http: httpx.AsyncClient,
    code: str,
    name: str,
    made: bytes | Make,
) -> None:
    content, key = made if isinstance(made, bytes) else made(), uuid.uuid4().hex
    deaths = await _deaths(mediad, http)
    async with silent_sink() as port:
        content = content.replace(b"PORT", b"%d" % port)
        request = _attachment(content, name, user_id="eve", idempotency_key=key)

        called = await refused(media.UploadMedia(request))
        posted = await _posted(person, content, name)

    assert called == ("INVALID_ARGUMENT", code)
    assert _refusal(posted) == (STATUSES[code], code)
    again = pb.GetMediaRequest(user_id="eve", idempotency_key=key)
    assert await refused(media.GetMedia(again)) == ("NOT_FOUND", "media_not_found")
    assert _kept_of(mediad.folder, content) == []
    await nothing_stays_staged(mediad.folder)
    assert list((users.folder / "data" / "uploads").iterdir()) == []
    assert await _deaths(mediad, http) == deaths


@pytest.mark.parametrize("row", POLYGLOTS)
async def test_what_is_two_things_is_only_ever_a_picture(
    mediad: Mediad, media: Stub, person: Person, http: httpx.AsyncClient, row: str
) -> None:
    make, format, other_name = POLYGLOTS[row]
    content = make()
    assert CANARY in content
    deaths = await _deaths(mediad, http)

    as_other = await refused(media.UploadMedia(_attachment(content, other_name)))
    posted_as_other = await _posted(person, content, other_name)
    stored = await media.UploadMedia(_attachment(content, f"face{format.extension}"))
    posted = (await _posted(person, content, f"face{format.extension}")).json()["data"]

    assert as_other == ("INVALID_ARGUMENT", "type_mismatch")
    assert _refusal(posted_as_other) == (415, "type_mismatch")
    known = await media.GetMedia(pb.GetMediaRequest(media_id=stored.media_id))
    assert known.content_type == posted["content_type"] == format
    for rendition in (*known.renditions, *known.thumbnails):
        answer = await http.get(rendition.url)
        assert answer.status_code == 200
        assert answer.headers["content-type"] in {"image/jpeg", "image/webp"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert CANARY not in answer.content
    assert await _deaths(mediad, http) == deaths
