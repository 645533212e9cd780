"""The main way: a photograph goes in, and comes back upright, in every size, telling nothing."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
from fakes.films import phone_film
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.conftest import PHOTO
from tests.e2e.processes import Mediad, Stub, completed, upload_request
from tests.e2e.refusals import refused


async def test_every_url_of_the_answer_works_at_once(
    media: Stub, http: httpx.AsyncClient, photo: bytes
) -> None:
    answer = await media.UploadMedia(upload_request(photo))

    urls = [answer.url, *(t.url for t in answer.thumbnails)]
    responses = await asyncio.gather(*(http.get(url) for url in urls))

    assert [r.status_code for r in responses] == [200] * 4
    sizes = [Image.open(io.BytesIO(r.content)).size for r in responses]
    assert sizes == [(1600, 1200), (150, 150), (300, 300), (600, 600)]
    assert (answer.width, answer.height) == (1600, 1200)
    assert answer.thumbnail_url == answer.thumbnails[0].url


async def test_a_photograph_comes_back_upright_and_tells_nothing(
    media: Stub, http: httpx.AsyncClient, photo: bytes
) -> None:
    answer = await media.UploadMedia(upload_request(photo))

    for url in [answer.url, *(t.url for t in answer.thumbnails)]:
        body = (await http.get(url)).content
        picture = Image.open(io.BytesIO(body))
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        for secret in (b"Exif", b"GPS", b"SERIAL-0042", b"Example", b"http://ns.adobe.com"):
            assert secret not in body
    full = np.asarray(Image.open(io.BytesIO((await http.get(answer.url)).content)))
    assert full[0].mean() < full[700].mean() + 60  # the sky is on top
    assert full[40, :, 2].mean() > full[40, :, 0].mean()


async def test_all_orientations_of_one_picture_look_the_same(
    media: Stub, http: httpx.AsyncClient, photo: bytes
) -> None:
    upright = Image.open(io.BytesIO(photo)).transpose(Image.Transpose.ROTATE_270)
    looks, hashes = [], set()
    for orientation, back in _BACK.items():
        stored = upright if back is None else upright.transpose(back)
        told = Image.Exif()
        told[0x0112] = orientation
        buffer = io.BytesIO()
        stored.save(buffer, "JPEG", quality=92, exif=told)
        answer = await media.UploadMedia(upload_request(buffer.getvalue()))
        body = (await http.get(answer.url)).content
        looks.append(np.asarray(Image.open(io.BytesIO(body)), dtype=float))
        hashes.add(answer.blurhash[:10])

    assert max(np.abs(look - looks[0]).mean() for look in looks) < 1
    assert len(hashes) <= 3  # JPEG's own losses may move the last digits


_T = Image.Transpose
_BACK = {
    1: None,
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_90,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_270,
}
"""For each EXIF orientation, how an upright picture is laid to be stored."""


async def test_get_media_tells_all_once_the_work_is_done(media: Stub, photo: bytes) -> None:
    uploaded = await media.UploadMedia(upload_request(photo, filename="../Évening\r\n.jpg"))

    answer = await completed(media, uploaded.media_id)

    assert answer.filename == "Évening.jpg"
    assert (answer.user_id, answer.purpose, answer.visibility) == (
        "alice",
        pb.PROFILE_PICTURE,
        pb.PUBLIC,
    )
    assert [r.name for r in answer.renditions] == ["full"]
    assert all(t.size_bytes > 0 for t in [*answer.renditions, *answer.thumbnails])
    assert answer.content_type == "image/jpeg"
    assert len(answer.blurhash) == 28


async def test_a_stream_stores_what_a_message_stores(media: Stub, photo: bytes) -> None:
    metadata = pb.UploadMetadata(
        filename="p.jpg", user_id="bob", purpose=pb.PROFILE_PICTURE, expected_size_bytes=len(photo)
    )
    chunks = [pb.UploadChunk(metadata=metadata)]
    chunks += [pb.UploadChunk(data=photo[i : i + 50_000]) for i in range(0, len(photo), 50_000)]

    streamed = await media.UploadMediaStream(iter(chunks))
    unary = await media.UploadMedia(upload_request(photo))

    assert streamed.sha256 == unary.sha256
    assert streamed.media_id != unary.media_id


async def test_private_media_need_their_signed_url(
    media: Stub, http: httpx.AsyncClient, photo: bytes
) -> None:
    answer = await media.UploadMedia(upload_request(photo, purpose=pb.MESSAGE_ATTACHMENT))

    signed = await http.get(answer.url)
    bare = await http.get(answer.url.split("?")[0])

    assert signed.status_code == 200
    assert signed.headers["cache-control"].startswith("private")
    assert (bare.status_code, bare.json()["error"]["code"]) == (404, "media_not_found")


async def test_deleted_means_gone_at_once(
    media: Stub, http: httpx.AsyncClient, photo: bytes
) -> None:
    answer = await media.UploadMedia(upload_request(photo))
    signed = await media.GetSignedUrl(
        pb.GetSignedUrlRequest(media_id=answer.media_id, expiry_seconds=60)
    )
    delete = pb.DeleteMediaRequest(media_id=answer.media_id, user_id="alice")

    await media.DeleteMedia(delete)
    await media.DeleteMedia(delete)

    for url in (answer.url, answer.thumbnail_url, signed.url):
        assert (await http.get(url)).status_code == 404
    again = media.GetMedia(pb.GetMediaRequest(media_id=answer.media_id))
    assert await refused(again) == ("NOT_FOUND", "media_not_found")


async def test_fifty_uploads_of_the_same_bytes_are_one_blob_and_fifty_rows(
    mediad: Mediad, media: Stub, photo: bytes
) -> None:
    bytes_of_today = photo + b"fifty"

    answers = await asyncio.gather(
        *(media.UploadMedia(upload_request(bytes_of_today, user_id=f"user-{n}")) for n in range(50))
    )

    assert len({a.media_id for a in answers}) == 50
    assert len({a.sha256 for a in answers}) == 1
    stored = list((mediad.folder / "data" / "blobs").rglob(f"{answers[0].sha256}*"))
    assert len([f for f in stored if f.parts[-4] == "originals"]) == 1


async def test_reflection_makes_grpcurl_work(mediad: Mediad, photo: bytes) -> None:
    grpcurl = Path(sys.executable).with_name("grpcurl")
    request = {
        "filename": "test.jpg",
        "content_type": "image/jpeg",
        "user_id": "demo",
        "purpose": 1,
        "data": base64.b64encode(photo).decode(),
    }

    ran = subprocess.run(
        [
            grpcurl,
            "-plaintext",
            "-d",
            "@",
            f"127.0.0.1:{mediad.grpc_port}",
            "media.MediaService/UploadMedia",
        ],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["blurhash"]


async def test_the_upload_command_waits_until_a_film_plays(mediad: Mediad, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mov"
    clip.write_bytes(phone_film())

    ran = mediad.command("upload", "--wait", str(clip))

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["status"], told["purpose"]) == ("COMPLETED", "POST_ATTACHMENT")
    assert {"full", "hls"} <= {rendition["name"] for rendition in told["renditions"]}


async def test_the_upload_command_prints_what_the_service_answered(mediad: Mediad) -> None:
    ran = mediad.command("upload", str(PHOTO))

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["width"] == 1600
