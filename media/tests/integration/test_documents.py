"""Documents through a whole service: uploaded, delivered over HTTP, deleted."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fakes import documents
from fakes.documents import DOCUMENTS
from fakes.samples import ALICE, a_declaration
from fakes.service import in_chunks
from media_service.composition import open_media_service
from media_service.config import read_settings
from media_service.core.errors import MediaDamaged, MediaError
from media_service.core.formats import Format
from media_service.core.media import Media, MediaType, ProcessingStatus, Purpose
from media_service.core.readiness import Readiness
from media_service.core.recipes import VerbatimRecipe
from media_service.core.service import MediaService
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.errors import STATUS
from media_service.entrypoints.http_api.server import serve_http
from PIL import Image

pytestmark = pytest.mark.needs_postgres
LONG_AGO = 10**9
CANARY = b"canary-7be1c9a7742d84c16-in-here"


@dataclasses.dataclass(frozen=True)
class Running:
    """A service, its HTTP server, and where it stores."""

    service: MediaService
    http: httpx.AsyncClient
    database_url: str
    folder: Path

    async def send(self, content: bytes, filename: str, **declared: Any) -> Media:
        """Upload a file to a conversation, and have done what is made of it."""
        declaration = a_declaration(
            purpose=Purpose.MESSAGE_ATTACHMENT, filename=filename, content_type="", **declared
        )
        media = await self.service.uploading.upload(declaration, in_chunks(content, size=65536))
        await self.service.processing.run(media.id, revision=1)
        return await self.service.reading.get(media.id)

    async def get(self, media: Media, name: str = "full", **headers: str) -> httpx.Response:
        """What a reader with a signed URL gets."""
        rendition = media.rendition(name)
        assert rendition
        expires_at = self.service.clock() + timedelta(hours=1)
        url = self.service.links.url(media, rendition, now=expires_at - timedelta(hours=1))
        return await self.http.get("/" + url.split("/", 3)[3], headers=headers)

    def files(self) -> list[Path]:
        """What is stored, staged or thrown away."""
        found = (path for path in self.folder.rglob("*") if path.name != "lock")
        return [path for path in found if path.is_file()]

    async def refusal(self, content: bytes, filename: str, **declared: Any) -> tuple[int, str]:
        """The HTTP status and code of what is wrong with a file; (200, "") if nothing is."""
        try:
            await self.send(content, filename, **declared)
        except MediaError as error:
            return STATUS[error.kind].value, error.code
        return 200, ""


@asynccontextmanager
async def _open(database_url: str, folder: Path, **others: Any) -> AsyncIterator[Running]:
    settings = read_settings(
        data_dir=folder / "data",
        database_url=database_url,
        storage_url=f"file://{folder}/blobs",
        cells=1,
        **others,
    )
    async with open_media_service(settings) as opened:
        app = http_app(opened.service, readiness=Readiness(needed={}), capabilities=dict)
        async with (
            serve_http(app, host="127.0.0.1") as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            yield Running(opened.service, http, database_url, folder / "blobs")


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with _open(database_url, tmp_path) as running:
        yield running


async def test_every_document_is_delivered_as_it_came_and_never_shown(running: Running) -> None:
    for format, content in DOCUMENTS.items():
        media = await running.send(content, f"Ärger{format.extension}")
        answer = await running.get(media)
        part = await running.get(media, range="bytes=2-9")
        again = await running.get(media, **{"if-none-match": answer.headers["etag"]})

        assert (media.media_type, media.content_type) == (MediaType.DOCUMENT, format)
        assert media.status is ProcessingStatus.COMPLETED
        assert answer.content == content
        assert answer.headers["content-type"].split(";")[0] == format
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="_rger' + format.extension)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert (part.status_code, part.content) == (206, content[2:10])
        assert again.status_code == 304

    originals = [path for path in running.files() if "originals" in path.parts]
    assert len(originals) == len(DOCUMENTS)
    made = {path.name.split(".")[1] for path in running.files() if path not in originals}
    assert not any(recipe.startswith("verbatim") for recipe in made)


async def test_a_document_of_pages_shows_the_first(running: Running) -> None:
    media = await running.send(documents.pdf_letter(pages=3), "letter.pdf")

    page, small = await running.get(media, "page"), await running.get(media, "320")

    assert (media.pages, media.width, media.height) == (3, 1190, 1684)
    assert len(media.blurhash) == 28
    assert [r.name for r in media.renditions] == ["full", "page", "320", "640", "1080"]
    for answer, size in ((page, (1190, 1684)), (small, (320, 453))):
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["content-disposition"].startswith('inline; filename="letter.jpg"')
        assert Image.open(io.BytesIO(answer.content)).size == size


async def test_a_document_that_its_first_bytes_do_not_tell_is_told_by_its_directory(
    running: Running,
) -> None:
    content = documents.office(Format.DOCX, late=True)

    media = await running.send(content, "late.docx")
    again = await running.send(content, "again.docx")

    assert media.content_type == again.content_type == Format.DOCX
    recipe = media.renditions[0].recipe
    assert recipe == VerbatimRecipe(content_type=Format.DOCX)
    assert again.deduplicated


async def test_files_that_are_none_are_refused_and_nothing_of_them_is_kept(
    running: Running,
) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    playlist = b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n"
    links, slip = documents.zip_of_links(), documents.zip_named("../../x")
    jpeg = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(jpeg, "JPEG")
    polyglot = jpeg.getvalue() + documents.pdf()
    refused = {
        "S01": await running.refusal(svg, "drawing.svg"),
        "S02": await running.refusal(b'<?xml version="1.0"?><!DOCTYPE a [...]>', "a.txt"),
        "S08": await running.refusal(svg.decode().encode("utf-16"), "a.txt"),
        "V02": await running.refusal(playlist, "clip.mp4"),
        "V04": await running.refusal(b"ffconcat version 1.0\nfile a.mp4\n", "list.txt"),
        "V05": await running.refusal(b"1\n00:00:01,000 --> 00:00:02,000\nx\n", "a.mp4"),
        "V06": await running.refusal(b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "a.mp4"),
        "M02": await running.refusal(b"<!doctype html><p>hello</p>", "photo.jpg"),
        "M02, text": await running.refusal(b"<p>, said the page, is a tag", "photo.jpg"),
        "M03": await running.refusal(b"\x7fELF\x02\x01\x01" + bytes(60), "notes.txt"),
        "M03, PE": await running.refusal(b"MZ\x90\0\x03" + bytes(60), "setup.zip"),
        "M04": await running.refusal(svg, "photo.png"),
        "M05": await running.refusal(b"GIF89a<?php system($_GET['c']); ?>", "a.txt"),
        "P04": await running.refusal(b"GIF89a=1;alert(document.domain)//....", "a.gif"),
        "B28": await running.refusal(documents.zip_of_many(10_001), "many.zip"),
        "D02": await running.refusal(slip, "slip.zip"),
        "D03": await running.refusal(links, "links.zip"),
        "macros": await running.refusal(
            documents.office(Format.DOCX, {"word/vbaProject.bin": b"x"}), "letter.docx"
        ),
        "named a program": await running.refusal(DOCUMENTS[Format.ZIP], "setup.exe"),
        "a face": await running.refusal(polyglot, "face.pdf"),
    }

    assert {row: outcome for row, outcome in refused.items() if outcome[0] != 415} == {}
    assert await running.refusal(b"%PDF-1.7\nno more", "a.pdf") == (422, "broken_file")
    assert await running.refusal(b"ab", "a.txt") == (422, "broken_file")
    assert running.files() == []

    shown = await running.send(polyglot, "face.jpg")
    assert shown.content_type == "image/jpeg"
    full = await running.get(shown)
    assert b"%PDF" not in full.content
    assert full.headers["content-type"] == "image/jpeg"


async def test_a_deleted_document_leaves_nothing_behind(running: Running) -> None:
    content = documents.pdf(drawing=b"% " + CANARY + b"\n1 0 0 rg 0 0 99 99 re f")
    media = await running.send(content, "canary.pdf")
    await running.get(media)
    for path in running.files():  # nothing is young
        os.utime(path, (LONG_AGO, LONG_AGO))
    connection = await asyncpg.connect(running.database_url)
    await connection.execute("delete from procrastinate_jobs")
    await connection.close()
    assert (await running.service.auditing.compare(deep=True)).found == {}

    await running.service.deleting.delete(media.id, user=ALICE)
    swept = await running.service.housekeeping.sweep(grace=timedelta(0))

    assert swept.condemned_blobs == 1
    assert running.files() == []
    assert (await running.get(media)).status_code == 404


async def test_a_damaged_document_is_never_sent(running: Running) -> None:
    media = await running.send(documents.TEXT * 9, "notes.txt")
    [file] = running.files()
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    answer = await running.get(media)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == MediaDamaged().code
    healed = await running.send(documents.TEXT * 9, "again.txt")
    assert (await running.get(healed)).content == documents.TEXT * 9
    assert (await running.get(media)).content == documents.TEXT * 9
