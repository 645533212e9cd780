"""Uploads in chunks, over a real socket: what arrives, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_client import (
    DeadlineExceeded,
    Interrupted,
    MediaClient,
    ProcessingOptions,
    Purpose,
    Retries,
    TooLarge,
    Unavailable,
    Visibility,
)
from media_client._chunks import CHUNK_BYTES, chunked
from media_proto import media_service_pb2 as pb
from scripted.service import Attempt, ScriptedService, hang, refuse, succeed

KB, MB = 1024, 1024 * 1024
QUICK = Retries(attempts=3, first_pause=0.001)
ABOUT: Any = {"filename": "film.png", "user_id": "alice", "purpose": Purpose.STORY}
DATA = random.Random(7).randbytes(3 * MB + 17)


@pytest.fixture
async def media(scripted: ScriptedService) -> AsyncIterator[MediaClient]:
    async with MediaClient(scripted.address, retries=QUICK) as opened:
        yield opened


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    at = 0
    for size in sizes:
        yield DATA[at : at + size]
        at += size


async def die(attempt: Attempt) -> bytes:
    """Break the connection when the first bytes are there."""
    await anext(attempt.messages)
    await anext(attempt.messages)
    await attempt.context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    raise AssertionError


async def test_small_files_go_in_one_message_and_others_in_chunks(
    scripted: ScriptedService, media: MediaClient
) -> None:
    await media.upload_media(DATA[:MB], **ABOUT)
    await media.upload_media(DATA[: MB + 1], **ABOUT)

    assert [seen.rpc for seen in scripted.seen] == ["UploadMedia", "UploadMediaStream"]
    assert pb.UploadMediaRequest.FromString(scripted.seen[0].messages[0]).data == DATA[:MB]
    assert scripted.uploaded() == DATA[: MB + 1]


async def test_a_stream_is_metadata_then_chunks(
    scripted: ScriptedService, media: MediaClient
) -> None:
    await media.upload_media_stream(DATA, **ABOUT)

    first, *rest = [pb.UploadChunk.FromString(m) for m in scripted.seen[0].messages]
    assert first.WhichOneof("chunk") == "metadata"
    assert [len(chunk.data) for chunk in rest] == [CHUNK_BYTES] * 6 + [17]
    assert scripted.uploaded() == DATA
    assert first.metadata.expected_size_bytes == len(DATA)


async def test_all_that_is_said_arrives(scripted: ScriptedService, media: MediaClient) -> None:
    said: Any = {
        **ABOUT,
        "content_type": "image/png",
        "idempotency_key": "k",
        "visibility": Visibility.PRIVATE,
        "expected_sha256": "ab" * 32,
        "processing_options": ProcessingOptions(
            quality=7, max_width=8, max_height=9, normalize_loudness=True
        ),
    }
    await media.upload_media_stream(b"data", **said)
    await media.upload_media(b"data", **said)

    options = pb.ProcessingOptions(
        generate_thumbnails=True,
        generate_blurhash=True,
        quality=7,
        max_width=8,
        max_height=9,
        normalize_loudness=True,
    )
    shared: Any = {
        "filename": "film.png",
        "content_type": "image/png",
        "user_id": "alice",
        "purpose": pb.STORY,
        "processing_options": options,
        "idempotency_key": "k",
        "visibility": pb.PRIVATE,
        "expected_sha256": "ab" * 32,
    }
    assert scripted.about(0) == pb.UploadMetadata(**shared, expected_size_bytes=4)
    unary = pb.UploadMediaRequest.FromString(scripted.seen[1].messages[0])
    assert unary == pb.UploadMediaRequest(**shared, data=b"data")


@pytest.fixture(params=["bytes", "bytearray", "memoryview", "path", "name", "file", "half a file",
                        "unseekable", "generator"])  # fmt: skip
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kind = request.param
    path = tmp_path / "film.png"
    if kind == "half a file":
        path.write_bytes(b"read already" + DATA)
        with path.open("rb") as file:
            file.read(12)
            yield file
        return
    path.write_bytes(DATA)
    if kind == "unseekable":
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
            yield process.stdout
        return
    with path.open("rb") as file:
        yield {
            "bytes": DATA,
            "bytearray": bytearray(DATA),
            "memoryview": memoryview(DATA),
            "path": path,
            "name": str(path),
            "file": file,
            "generator": pieces(1, MB, 0, 2 * MB, MB),
        }[kind]


async def test_a_source_of_any_kind_arrives_whole(
    scripted: ScriptedService, media: MediaClient, source: Any, request: pytest.FixtureRequest
) -> None:
    told: list[tuple[int, int | None]] = []

    await media.upload_media_stream(source, **ABOUT, on_progress=lambda *now: told.append(now))

    assert scripted.uploaded() == DATA
    is_once = "unseekable" in request.node.name or "generator" in request.node.name
    total = None if is_once else len(DATA)
    assert told == [(min(n * CHUNK_BYTES, len(DATA)), total) for n in range(1, 8)]
    assert bool(scripted.about().idempotency_key) is not is_once


async def test_what_breaks_is_sent_again_from_the_beginning_if_it_can_be(
    scripted: ScriptedService, media: MediaClient, source: Any, request: pytest.FixtureRequest
) -> None:
    scripted.then(die)
    told: list[int] = []
    upload = media.upload_media_stream(source, **ABOUT, on_progress=lambda n, _: told.append(n))

    if "unseekable" in request.node.name or "generator" in request.node.name:
        with pytest.raises(Unavailable):
            await upload
        assert len(scripted.seen) == 1
        return
    await upload

    assert scripted.uploaded() == DATA
    assert len(scripted.seen) == 2
    assert told[-7:] == [min(n * CHUNK_BYTES, len(DATA)) for n in range(1, 8)]


async def test_attempts_carry_one_key(scripted: ScriptedService, media: MediaClient) -> None:
    async def lose(attempt: Attempt) -> bytes:
        await succeed(attempt)
        await attempt.context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        raise AssertionError

    scripted.then(lose)

    await media.upload_media_stream(DATA, **ABOUT)

    assert scripted.about(0) == scripted.about(1)
    assert scripted.about(0).idempotency_key


async def test_an_iterator_with_a_key_of_the_caller_is_sent_once(
    scripted: ScriptedService, media: MediaClient
) -> None:
    scripted.then(die)

    with pytest.raises(Unavailable):
        await media.upload_media_stream(pieces(MB), **ABOUT, idempotency_key="k")

    assert len(scripted.seen) == 1


async def test_hashing_first_announces_the_hash(
    scripted: ScriptedService, media: MediaClient, tmp_path: Path
) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(DATA)

    await media.upload_media_stream(path, **ABOUT, hash_first=True)

    assert scripted.about().expected_sha256 == sha256(DATA).hexdigest()
    assert scripted.uploaded() == DATA


async def test_what_can_be_read_once_can_not_be_hashed_first(media: MediaClient) -> None:
    with pytest.raises(ValueError, match="read twice"):
        await media.upload_media_stream(pieces(1), **ABOUT, hash_first=True)


async def test_an_empty_source_is_refused_by_the_service_not_by_its_size(
    scripted: ScriptedService, media: MediaClient
) -> None:
    await media.upload_media_stream(b"", **ABOUT)

    assert not scripted.about().HasField("expected_size_bytes")


async def test_a_source_that_fails_fails_the_upload_with_its_own_error(
    scripted: ScriptedService, media: MediaClient
) -> None:
    scripted.then(hang)

    async def failing() -> AsyncIterator[bytes]:
        yield DATA
        raise KeyError("the phone is gone")

    with pytest.raises(KeyError, match="phone"):
        await media.upload_media_stream(failing(), **ABOUT)
    async with asyncio.timeout(5):
        while not scripted.cancelled:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [TimeoutError, OSError, EOFError])
async def test_even_a_timeout_of_the_source_is_the_sources(
    media: MediaClient, error: type[Exception]
) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"data"
        raise error("of the source")

    with pytest.raises(error, match="of the source"):
        await media.upload_media_stream(failing(), **ABOUT)


async def test_even_an_error_of_grpc_is_the_sources(media: MediaClient) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"data"
        raise grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, details="of another service")

    with pytest.raises(grpc.aio.AioRpcError, match="of another service"):
        await media.upload_media_stream(failing(), **ABOUT)


async def test_a_progress_callback_that_fails_ends_the_upload(media: MediaClient) -> None:
    def failing(_sent: int, _total: int | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await media.upload_media_stream(DATA, **ABOUT, on_progress=failing)


async def test_a_missing_file_is_a_missing_file(media: MediaClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await media.upload_media_stream(tmp_path / "none", **ABOUT)


@pytest.mark.parametrize("nonsense", [42, None, ["a"], object()])
async def test_what_is_no_source_is_a_type_error(media: MediaClient, nonsense: Any) -> None:
    with pytest.raises(TypeError, match="can't upload"):
        await media.upload_media_stream(nonsense, **ABOUT)


async def test_a_refusal_ends_an_upload_whose_source_still_trickles(
    scripted: ScriptedService, media: MediaClient
) -> None:
    scripted.then(refuse(grpc.StatusCode.INVALID_ARGUMENT, reason="file_too_large"))
    is_closed = asyncio.Event()

    async def trickling() -> AsyncIterator[bytes]:
        try:
            yield DATA
            await asyncio.sleep(3600)
        finally:
            is_closed.set()

    async with asyncio.timeout(5):
        with pytest.raises(TooLarge):
            await media.upload_media_stream(trickling(), **ABOUT)
        await is_closed.wait()


@pytest.mark.parametrize("channels", [1, 2])
async def test_a_refusal_in_the_middle_is_never_taken_for_a_bug(
    scripted: ScriptedService, channels: int
) -> None:
    refusal = refuse(grpc.StatusCode.INVALID_ARGUMENT, reason="file_too_large")

    async def refuse_in_the_middle(attempt: Attempt) -> bytes:
        await anext(attempt.messages)
        await anext(attempt.messages)
        return await refusal(attempt)

    scripted.then(*[refuse_in_the_middle] * 60)
    async with MediaClient(scripted.address, channels=channels) as media:
        for _ in range(60):
            with pytest.raises(TooLarge):
                await media.upload_media_stream(DATA, **ABOUT)

    assert len(scripted.seen) == 60


async def test_a_source_that_stalls_meets_the_deadline(media: MediaClient) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield DATA
        await asyncio.sleep(3600)

    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await media.upload_media_stream(stalling(), **ABOUT, timeout=0.3)
    assert time.monotonic() - started < 3


async def test_a_service_that_dies_in_the_middle(scripted: ScriptedService) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100 * KB)
            await asyncio.sleep(0.01)

    async with MediaClient(scripted.address) as media:
        upload = asyncio.create_task(media.upload_media_stream(endless(), **ABOUT))
        while not scripted.seen:
            await asyncio.sleep(0.01)
        await scripted.stop()

        with pytest.raises((Unavailable, Interrupted)):
            await asyncio.wait_for(upload, 5)


async def test_nothing_is_read_far_ahead_of_what_the_service_takes(
    scripted: ScriptedService, media: MediaClient
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += CHUNK_BYTES
            yield bytes(CHUNK_BYTES)

    async def dawdle(attempt: Attempt) -> bytes:
        await anext(attempt.messages)
        return await hang(attempt)

    scripted.then(dawdle)

    with pytest.raises(DeadlineExceeded):
        await media.upload_media_stream(endless(), **ABOUT, timeout=1)

    assert read < 48 * MB  # what gRPC's windows grow to; unbounded it would be gigabytes


async def test_files_are_closed_whatever_happens(
    scripted: ScriptedService, media: MediaClient, tmp_path: Path
) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(DATA * 4)
    await media.upload_media_stream(path, **ABOUT)  # the connection stays
    before = open_files()

    scripted.then(die, die, die)
    with pytest.raises(Unavailable):
        await media.upload_media_stream(path, **ABOUT)
    scripted.then(hang)
    with pytest.raises(DeadlineExceeded):
        await media.upload_media_stream(path, **ABOUT, timeout=0.2)

    assert open_files() <= before


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_no_task_is_left_behind(scripted: ScriptedService, media: MediaClient) -> None:
    scripted.then(die, die, die, hang)
    with pytest.raises(Unavailable):
        await media.upload_media_stream(DATA, **ABOUT)
    with pytest.raises(DeadlineExceeded):
        await media.upload_media_stream(DATA, **ABOUT, timeout=0.2)
    await asyncio.sleep(0.1)

    names = [str(task.get_coro()) for task in asyncio.all_tasks()]
    assert not [name for name in names if "media_client" in name or "_write" in name]


async def test_a_file_name_that_is_no_unicode_can_be_sent(
    scripted: ScriptedService, media: MediaClient
) -> None:
    name = os.fsdecode(b"caf\xe9.png")

    await media.upload_media_stream(b"data", filename=name, user_id="u", purpose=Purpose.AVATAR)

    assert scripted.about().filename == "caf?.png"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2 * CHUNK_BYTES), max_size=6))
def test_chunks_are_the_same_bytes(sizes: list[int]) -> None:
    async def joined() -> list[bytes]:
        return [chunk async for chunk in chunked(pieces(*sizes))]  # type: ignore[arg-type]

    chunks = asyncio.run(joined())

    assert b"".join(chunks) == DATA[: sum(sizes)]
    assert all(len(chunk) == CHUNK_BYTES for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_an_open_file_is_left_open_and_where_it_was_sent_to(media: MediaClient) -> None:
    file = io.BytesIO(DATA)

    await media.upload_media_stream(file, **ABOUT)

    assert not file.closed
    assert file.tell() == len(DATA)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    with path.open("wb") as file:
        file.truncate(400 * MB)
    script = Path(__file__).with_name("upload_and_measure.py")
    grown = subprocess.run(
        [sys.executable, script, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert int(grown.stdout) < 60 * MB
