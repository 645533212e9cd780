"""Whatever goes in, nothing that comes out tells who made it, where, when or with what."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import pytest
from fakes import films, sounds
from fakes.boxes import box
from media_proto import media_service_pb2 as pb

from tests.e2e import telling
from tests.e2e.processes import Mediad, Stub, upload_request

_PLANTED: Final = b"planted-5d0c1be29f7a4386-in-here"
_TRANSFORMED: Final = ("avif", "webp", "jpg")
_THUMBNAILS: Final = ("320", "640", "1080")
_DENIED: Final = re.compile(
    "gps|locat|serial|make|model|owner|artist|author|creator|title|comment|software|copyright"
    "|album|perform|(?<!group)descri|keyword|writer|origin|chapter|timecode|iptc|xmp|attach|picture$"
)
_DATED: Final = re.compile("(create|modify|date|time).*(date|original)|datetime|creationtime")
_NOTHING: Final = {"", "0000:00:00 00:00:00"}
_HARMLESS: Final = ("System", "ExifTool", "SourceFile", "ICC-header", "ICC_Profile")
_HANDLERS: Final = {"VideoHandler", "SoundHandler"}


def _uris(playlist: str) -> list[str]:
    tagged = re.findall('URI="([^"]*)"', playlist)
    return tagged + [line for line in playlist.split("\n") if line and line[0] != "#"]


async def _fetched(http: httpx.AsyncClient, url: str) -> bytes:
    answer = await http.get(url)
    assert answer.status_code == 200, (url, answer.text)
    return answer.content


async def _streamed(http: httpx.AsyncClient, url: str) -> AsyncIterator[bytes]:
    """A playlist, and all that it leads to."""
    playlist = await _fetched(http, url)
    yield playlist
    for found in dict.fromkeys(urljoin(url, uri) for uri in _uris(playlist.decode())):
        if "mpegurl" in (await http.head(found)).headers["content-type"]:
            async for part in _streamed(http, found):
                yield part
        else:
            yield await _fetched(http, found)


async def _uploaded(media: Stub, name: str, content: bytes) -> str:
    request = upload_request(
        content, filename=name, content_type="", purpose=pb.MESSAGE_ATTACHMENT, user_id="bob"
    )
    return (await media.UploadMedia(request)).media_id


async def _done(media: Stub, media_id: str) -> pb.MediaResponse:
    async with asyncio.timeout(100):
        watched = media.WatchMedia(pb.WatchMediaRequest(media_id=media_id))
        return [told async for told in watched][-1]


async def _served(
    media: Stub, http: httpx.AsyncClient, name: str, content: bytes
) -> dict[str, bytes]:
    """All that is served of a file, by what it is served as."""
    media_id = await _uploaded(media, name, content)
    known = await _done(media, media_id)
    assert known.status == pb.COMPLETED, (name, known)
    served: dict[str, bytes] = {}
    for rendition in (*known.renditions, *known.thumbnails):
        key = f"{name}.{rendition.name}"
        if rendition.name == "hls":
            parts = [part async for part in _streamed(http, rendition.url)]
            assert len(parts) >= 3
            served |= {f"{key}.{n}": part for n, part in enumerate(parts)}
        else:
            served[key] = await _fetched(http, rendition.url)
    if known.media_type in (pb.IMAGE, pb.VIDEO) or known.page_count:
        for extension in _TRANSFORMED:
            wanted = pb.GetSignedUrlRequest(
                media_id=media_id, expiry_seconds=60, rendition=f"fit:320:320.{extension}"
            )
            url = (await media.GetSignedUrl(wanted)).url
            served[f"{name}.{extension}"] = await _fetched(http, url)
    return served


async def _all_served(
    media: Stub, http: httpx.AsyncClient, files: Iterable[tuple[str, bytes]]
) -> dict[str, bytes]:
    one_by_one = [await _served(media, http, name, content) for name, content in files]
    return {key: content for served in one_by_one for key, content in served.items()}


def _tags_of(folder: Path, files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """What exiftool finds in each."""
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: only known words were looked for")
    folder.mkdir()
    paths = [folder / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name])
    done = subprocess.run(
        [program, "-a", "-G1", "-ee3", "-u", "-j", *paths],
        capture_output=True,
        timeout=100,
        check=False,
    )
    found = json.loads(done.stdout)
    assert len(found) == len(files)
    return {Path(each["SourceFile"]).name: each for each in found}


def _telling(tags: dict[str, Any]) -> dict[str, Any]:
    """Those of the tags that say what nobody is to know."""
    return {
        key: value
        for key, value in tags.items()
        if key.split(":")[0] not in _HARMLESS and _tells(key.rpartition(":")[2].lower(), value)
    }


def _tells(tag: str, value: object) -> bool:
    if tag == "handlerdescription":
        return value not in _HANDLERS
    is_dated = bool(_DATED.search(tag)) and str(value) not in _NOTHING
    return is_dated or (bool(_DENIED.search(tag)) and str(value) not in _NOTHING)


def _outputs(served: Iterable[str]) -> set[str]:
    """Of what they are served as, what is not the file's name or the number of a part."""
    return {key.split(".")[2] for key in served}


def _says_nothing(folder: Path, sent: dict[str, bytes], served: dict[str, bytes]) -> None:
    told = {
        (name, word)
        for name, content in served.items()
        for word in telling.TELLTALES
        if word in content.lower()
    }
    assert not told
    blind = [name for name, tags in _tags_of(folder / "in", sent).items() if not _telling(tags)]
    assert not blind, "what does not see what was sent proves nothing"
    found = {name: _telling(tags) for name, tags in _tags_of(folder / "out", served).items()}
    assert not {name: tags for name, tags in found.items() if tags}


async def test_pictures_tell_nothing(media: Stub, http: httpx.AsyncClient, tmp_path: Path) -> None:
    sent = dict(telling.pictures())

    served = await _all_served(media, http, sent.items())

    assert _outputs(served) == {"full", "motion", *_THUMBNAILS, *_TRANSFORMED}
    _says_nothing(tmp_path, sent, served)


async def test_films_tell_nothing(media: Stub, http: httpx.AsyncClient, tmp_path: Path) -> None:
    sent = dict(telling.moving_pictures())
    assert b"canary-in-sei" in sent["remuxed.mov"]

    served = await _all_served(media, http, sent.items())

    made = {"full", "hls", "poster", "preview"}
    assert _outputs(served) == {*made, *_THUMBNAILS, *_TRANSFORMED}
    _says_nothing(tmp_path, sent, served)


async def test_sounds_tell_nothing(media: Stub, http: httpx.AsyncClient, tmp_path: Path) -> None:
    sent = dict(telling.recordings())

    served = await _all_served(media, http, sent.items())

    assert _outputs(served) == {"full", "opus", "wave", "waveform"}
    assert not any(b"METADATA_BLOCK_PICTURE" in content for content in served.values())
    _says_nothing(tmp_path, sent, served)


async def test_only_a_document_itself_says_whose_it_is(
    media: Stub, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    sent = telling.letter()

    served = await _served(media, http, "letter.pdf", sent)

    assert served.pop("letter.pdf.full") == sent
    assert _outputs(served) == {"page", *_THUMBNAILS, *_TRANSFORMED}
    _says_nothing(tmp_path, {"letter.pdf": sent}, served)


async def test_deleted_films_sounds_and_documents_are_gone(
    mediad: Mediad, media: Stub, http: httpx.AsyncClient
) -> None:
    planted = {
        name: content + _skipped(name)
        for name, content in (
            ("gone.mov", films.phone_film(seconds=1.2)),
            ("gone.mp3", sounds.sound("mp3", seconds=1)),
            ("gone.pdf", telling.letter()),
            ("gone.txt", b"a text of some length\n"),
        )
    }
    ids = [await _uploaded(media, name, content) for name, content in planted.items()]
    known = [await _done(media, media_id) for media_id in ids]
    urls = [r.url for each in known for r in (*each.renditions, *each.thumbnails)]
    assert len(_holding(mediad.folder / "data" / "blobs", _PLANTED)) == len(planted)

    for media_id in ids:
        await media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id="bob"))
    for _ in range(2):
        assert mediad.command("sweep", "--grace", "0").returncode == 0

    assert {(await http.get(url)).status_code for url in urls} == {404}
    assert _holding(mediad.folder / "data" / "blobs", _PLANTED) == []
    assert _holding(mediad.folder / "data", _PLANTED) == []
    hashes = [each.sha256 for each in known]
    named = [p for p in (mediad.folder / "data").rglob("*") if p.name.startswith(tuple(hashes))]
    assert named == []


def _skipped(name: str) -> bytes:
    """What players of the file skip, with the planted word in it."""
    return box(b"free", _PLANTED) if name.endswith(".mov") else b"\n" + _PLANTED


def _holding(folder: Path, word: bytes) -> list[str]:
    """The files of a folder that hold the word."""
    found = subprocess.run(
        ["grep", "-rlaF", word.decode(), folder], capture_output=True, check=False
    )
    return found.stdout.decode().splitlines()
