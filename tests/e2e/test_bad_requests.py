"""Bad input over a real channel: a clear status, a stable code, nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import httpx
import pytest
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, Stub, upload_request
from tests.e2e.refusals import nothing_stays_staged, refused

Call = Callable[..., Awaitable[object]]
INVALID = "INVALID_ARGUMENT"
MB = 1024 * 1024
NOBODY = "01900000-0000-7000-8000-000000000000"


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 80, 40)).save(buffer, kind)
    return buffer.getvalue()


BAD_FIELDS: dict[str, tuple[dict[str, object], str]] = {
    "no user": ({"user_id": ""}, "invalid_user_id"),
    "a user with a line break": ({"user_id": "a\nb"}, "invalid_user_id"),
    "a user of 129 characters": ({"user_id": "x" * 129}, "invalid_user_id"),
    "no purpose": ({"purpose": 0}, "invalid_purpose"),
    "a purpose of tomorrow": ({"purpose": 99}, "invalid_purpose"),
    "a visibility of tomorrow": ({"visibility": 9}, "invalid_visibility"),
    "a name of 100 kB": ({"filename": "x" * 100_000}, "invalid_filename"),
    "a content type that splits headers": ({"content_type": "a/b\r\nX: y"}, "invalid_content_type"),
    "another kind of content type": ({"content_type": "video/mp4"}, "type_mismatch"),
    "another kind of extension": ({"filename": "a.exe"}, "type_mismatch"),
    "size 0": ({"expected_size_bytes": 0}, "invalid_size"),
    "size -1": ({"expected_size_bytes": -1}, "invalid_size"),
    "size 2^63-1": ({"expected_size_bytes": 2**63 - 1}, "file_too_large"),
    "another size": ({"expected_size_bytes": 5}, "size_mismatch"),
    "a checksum that is none": ({"expected_sha256": "zz"}, "invalid_checksum"),
    "another checksum": ({"expected_sha256": "0" * 64}, "checksum_mismatch"),
    "a key with a space": ({"idempotency_key": "a b"}, "invalid_idempotency_key"),
    "quality 101": ({"processing_options": {"quality": 101}}, "invalid_options"),
    "width -1": ({"processing_options": {"max_width": -1}}, "invalid_options"),
    "height 1e9": ({"processing_options": {"max_height": 10**9}}, "invalid_options"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FIELDS)
async def test_a_bad_field_is_refused_with_its_code(media: Stub, name: str) -> None:
    fields, code = BAD_FIELDS[name]

    assert await refused(media.UploadMedia(upload_request(picture(), **fields))) == (INVALID, code)


NAMES = [
    "../../etc/passwd.png", "..\\..\\boot.png", "/abs/x.png", "a\x00b.png",
    "x\r\nSet-Cookie: a.png", "\u202egnp.exe.png", "-i.png", "%03d.png", "concat:a.png",
    "CON.png", "😀.png", "   .png", ".png", "a" * 300 + ".png", "é.png", "e\u0301.png",
    "|cmd.png", "@file.png", "msl:x.png",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_hostile_name_is_made_safe(media: Stub, http: httpx.AsyncClient, name: str) -> None:
    answer = await media.UploadMedia(
        upload_request(picture(), filename=name, content_type="image/png")
    )

    kept = (await media.GetMedia(pb.GetMediaRequest(media_id=answer.media_id))).filename
    assert kept.isprintable()
    assert not set("/\\\x00\r\n\u202e") & set(kept)
    assert 1 <= len(kept.encode()) <= 200
    disposition = (await http.get(answer.url)).headers["content-disposition"]
    assert disposition.isascii()


async def test_limits_are_exact(mediad: Mediad, media: Stub) -> None:
    png, limit = picture(), 10 * MB
    at_limit = png + bytes(limit - len(png))

    accepted = await media.UploadMedia(upload_request(at_limit, filename="a.png", content_type=""))
    too_large = await refused(media.UploadMedia(upload_request(at_limit + b"x")))

    assert accepted.size_bytes == limit
    assert too_large == (INVALID, "file_too_large")


async def test_a_stream_over_the_limit_is_cut_off(mediad: Mediad, media: Stub) -> None:
    sent = 0

    async def long(chunks: int) -> AsyncIterator[pb.UploadChunk]:
        nonlocal sent
        yield METADATA
        yield DATA
        for _ in range(chunks):
            sent += 256 * 1024
            yield pb.UploadChunk(data=bytes(256 * 1024))

    assert await refused(media.UploadMediaStream(long(44))) == (INVALID, "file_too_large")
    sent = 0
    assert await refused(media.UploadMediaStream(long(4000)))
    assert sent < 60 * MB
    await nothing_stays_staged(mediad.folder)


METADATA = pb.UploadChunk(metadata=pb.UploadMetadata(user_id="a", purpose=pb.PROFILE_PICTURE))
DATA = pb.UploadChunk(data=picture())
BAD_STREAMS = {
    "nothing at all": [],
    "an empty chunk": [pb.UploadChunk()],
    "data before metadata": [DATA, METADATA],
    "metadata twice": [METADATA, METADATA],
    "metadata late": [METADATA, DATA, METADATA],
    "a chunk of 5 MB": [METADATA, pb.UploadChunk(data=bytes(5 * MB))],
    "many tiny chunks": [METADATA, *[pb.UploadChunk(data=b"x")] * 3000],
}


@pytest.mark.parametrize("name", BAD_STREAMS)
async def test_a_stream_out_of_order_is_refused(mediad: Mediad, media: Stub, name: str) -> None:
    status, code = await refused(media.UploadMediaStream(iter(BAD_STREAMS[name])))

    assert (status, code) in {(INVALID, "invalid_stream"), (INVALID, "unsupported_type")}
    await nothing_stays_staged(mediad.folder)


async def test_metadata_alone_is_an_empty_file(media: Stub) -> None:
    assert await refused(media.UploadMediaStream(iter([METADATA]))) == (INVALID, "empty_file")


BAD_IDS = [
    "",
    "x",
    "1",
    NOBODY.replace("-", ""),
    NOBODY + "0",
    "../" + NOBODY,
    "' or 1=1 --",
    "\u0661" * 36,
]


@pytest.mark.parametrize("media_id", BAD_IDS)
async def test_what_is_no_id_is_refused(media: Stub, media_id: str) -> None:
    wrong = (INVALID, "invalid_media_id")

    assert await refused(media.GetMedia(pb.GetMediaRequest(media_id=media_id))) == wrong
    assert (
        await refused(media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id="a")))
        == wrong
    )
    assert (
        await refused(media.ProcessMedia(pb.ProcessMediaRequest(media_id=media_id, user_id="a")))
        == wrong
    )
    signed = pb.GetSignedUrlRequest(media_id=media_id, expiry_seconds=60)
    assert await refused(media.GetSignedUrl(signed)) == wrong


@pytest.mark.parametrize("seconds", [-1, 0, 604_801, 315_360_000])
async def test_an_expiry_out_of_range_is_refused(media: Stub, seconds: int) -> None:
    request = pb.GetSignedUrlRequest(media_id=NOBODY, expiry_seconds=seconds)

    assert await refused(media.GetSignedUrl(request)) == (INVALID, "invalid_expiry")


@pytest.mark.parametrize("count", [0, 101, 10_000])
async def test_a_batch_out_of_range_is_refused(media: Stub, count: int) -> None:
    ids = [str(uuid.uuid4()) for _ in range(count)]

    got = await refused(media.BatchGetMedia(pb.BatchGetMediaRequest(media_ids=ids)))
    deleted = await refused(
        media.BatchDeleteMedia(pb.BatchDeleteMediaRequest(media_ids=ids, user_id="a"))
    )

    assert got == deleted == (INVALID, "invalid_batch")


async def test_a_batch_keeps_order_and_names_what_is_missing(media: Stub) -> None:
    made = [
        (await media.UploadMedia(upload_request(picture(size=(9, n)), filename="a.png"))).media_id
        for n in (5, 6)
    ]
    asked = [made[1], NOBODY, made[0], "no id", made[1]]

    answer = await media.BatchGetMedia(pb.BatchGetMediaRequest(media_ids=asked))

    assert [m.media_id for m in answer.media] == [made[1], made[0], made[1]]
    assert list(answer.missing_ids) == [NOBODY, "no id"]


async def test_one_foreign_id_spoils_nothing_else(media: Stub) -> None:
    mine = (await media.UploadMedia(upload_request(picture(), user_id="me"))).media_id
    theirs = (await media.UploadMedia(upload_request(picture(), user_id="you"))).media_id
    hidden = (
        await media.UploadMedia(
            upload_request(picture(), user_id="you", purpose=pb.MESSAGE_ATTACHMENT)
        )
    ).media_id
    ids = [mine, theirs, hidden, NOBODY, "no id", mine]

    answer = await media.BatchDeleteMedia(pb.BatchDeleteMediaRequest(media_ids=ids, user_id="me"))

    assert answer.deleted_count == 1
    assert {f.media_id: f.code for f in answer.failures} == {
        theirs: "not_the_owner",
        hidden: "media_not_found",
        NOBODY: "media_not_found",
        "no id": "invalid_media_id",
    }
    await media.GetMedia(pb.GetMediaRequest(media_id=theirs))


async def test_not_yours_and_not_there_look_the_same_for_private_media(media: Stub) -> None:
    hidden = await media.UploadMedia(
        upload_request(picture(), user_id="you", purpose=pb.MESSAGE_ATTACHMENT)
    )

    answers = []
    for media_id in (hidden.media_id, NOBODY):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await media.DeleteMedia(pb.DeleteMediaRequest(media_id=media_id, user_id="me"))
        answers.append((raised.value.code(), raised.value.details()))

    assert answers[0] == answers[1]


async def test_an_idempotency_key_makes_a_retry_safe(media: Stub) -> None:
    request = upload_request(picture(), idempotency_key=uuid.uuid4().hex)
    other = upload_request(picture(size=(7, 7)), idempotency_key=request.idempotency_key)

    answers = await asyncio.gather(*(media.UploadMedia(request) for _ in range(8)))

    assert len({a.media_id for a in answers}) == 1
    assert await refused(media.UploadMedia(other)) == (
        "FAILED_PRECONDITION",
        "idempotency_key_reused",
    )


async def test_processing_again_changes_the_urls_and_only_for_other_options(
    media: Stub, http: httpx.AsyncClient
) -> None:
    made = await media.UploadMedia(upload_request(picture(size=(800, 600))))
    request = pb.ProcessMediaRequest(
        media_id=made.media_id,
        user_id="alice",
        processing_options=pb.ProcessingOptions(generate_thumbnails=True, max_width=100),
    )

    await media.ProcessMedia(request)
    once = await media.GetMedia(pb.GetMediaRequest(media_id=made.media_id))
    await media.ProcessMedia(request)
    twice = await media.GetMedia(pb.GetMediaRequest(media_id=made.media_id))

    assert once.url == twice.url != made.url
    assert once.blurhash == ""
    new = Image.open(io.BytesIO((await http.get(once.url)).content))
    assert new.size == (100, 75)
    old = Image.open(io.BytesIO((await http.get(made.url)).content))
    assert old.size in {(800, 600), (100, 75)}  # the old one, if it was made before it was replaced
    assert await refused(
        media.ProcessMedia(pb.ProcessMediaRequest(media_id=made.media_id, user_id="eve"))
    ) == ("PERMISSION_DENIED", "not_the_owner")


async def test_bytes_that_are_no_message_are_refused(mediad: Mediad) -> None:
    async with mediad.channel() as channel:
        for method in ("UploadMedia", "DeleteMedia", "BatchDeleteMedia"):
            call: Call = channel.unary_unary(f"/media.MediaService/{method}")
            for garbage in (b"\xff\xff\xff", b"\x12\x05\xff\xfe\xfd\xfc\xfb", b"\x0a\x7f"):
                assert await refused(call(garbage)) == (INVALID, "invalid_request")
        stream: Call = channel.stream_unary("/media.MediaService/UploadMediaStream")
        assert await refused(stream(iter([b"\xff\xff"]))) == (INVALID, "invalid_stream")


async def test_the_transports_own_limits_answer_for_themselves(mediad: Mediad, media: Stub) -> None:
    too_large = upload_request(bytes(100 * MB + 200 * 1024))
    metadata = tuple((f"k{n}", "v" * 1000) for n in range(100))

    assert (await refused(media.UploadMedia(too_large)))[0] == "RESOURCE_EXHAUSTED"
    status, _ = await refused(
        media.GetMedia(pb.GetMediaRequest(media_id=NOBODY), metadata=metadata)
    )
    assert status in {"RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE"}
    assert (await refused(media.GetMedia(pb.GetMediaRequest(media_id=NOBODY))))[0] == "NOT_FOUND"


async def test_a_compressed_bomb_is_refused(mediad: Mediad) -> None:
    async with mediad.channel() as channel:
        call: Call = channel.unary_unary(
            "/media.MediaService/GetMedia",
            request_serializer=pb.GetMediaRequest.SerializeToString,
        )
        bomb = pb.GetMediaRequest(media_id="x" * (100 * MB + 100 * 1024))
        status, _ = await refused(call(bomb, compression=grpc.Compression.Gzip))

    assert status == "RESOURCE_EXHAUSTED"


async def test_deadlines_and_cancels_leave_nothing_behind(mediad: Mediad, media: Stub) -> None:
    async def slow() -> AsyncIterator[pb.UploadChunk]:
        yield METADATA
        yield DATA
        await asyncio.sleep(30)

    calls = [media.UploadMediaStream(slow(), timeout=0.3) for _ in range(20)]
    cancelled = [media.UploadMediaStream(slow()) for _ in range(20)]
    await asyncio.sleep(0.2)
    for call in cancelled:
        call.cancel()
    statuses = {(await refused(call))[0] for call in calls}

    assert statuses == {"DEADLINE_EXCEEDED"}
    await nothing_stays_staged(mediad.folder)


async def test_a_good_checksum_is_accepted(media: Stub) -> None:
    data = picture(size=(31, 31))
    digest = hashlib.sha256(data).hexdigest()

    answer = await media.UploadMedia(
        upload_request(data, expected_sha256=digest.upper(), expected_size_bytes=len(data))
    )

    assert answer.sha256 == digest
