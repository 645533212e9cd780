"""What every `Staging` promises, whatever it is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.storages import KINDS, LARGE, Storage, Stored, put, read, sha256_of, some_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_service.core.blobs import original_key

shared_fixture = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=list(KINDS))
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with KINDS[request.param](tmp_path) as opened:
        yield opened


@shared_fixture
@given(chunks=st.lists(st.binary(max_size=1000), max_size=8), as_views=st.booleans())
async def test_a_staged_file_knows_its_size_and_hash(
    storage: Storage, chunks: list[bytes], as_views: bool
) -> None:
    written = b""
    async with storage.staging.new() as staged:
        for chunk in chunks:
            await staged.write(memoryview(bytearray(chunk)) if as_views else chunk)
            written += chunk

            assert staged.size_bytes == len(written)
            assert staged.sha256 == sha256_of(written)
            assert staged.path.read_bytes() == written
        assert staged.sha256 == sha256_of(written)


async def test_a_huge_buffer_is_written_whole(storage: Storage) -> None:
    content = some_bytes(3 * 1024 * 1024 + 7)

    async with storage.staging.new() as staged:
        await staged.write(memoryview(content))

        assert staged.path.read_bytes() == content
        assert (staged.size_bytes, staged.sha256) == (len(content), sha256_of(content))


async def test_a_staged_file_is_gone_when_its_context_ends(storage: Storage) -> None:
    async with storage.staging.new() as staged:
        await staged.write(b"x")
        assert storage.staged_files() == 1

    assert storage.staged_files() == 0
    assert not staged.path.exists()


async def test_a_staged_file_is_gone_when_its_context_fails(storage: Storage) -> None:
    async def fail() -> None:
        async with storage.staging.new() as staged:
            await staged.write(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert storage.staged_files() == 0


async def test_what_another_process_wrote_is_absorbed(storage: Storage) -> None:
    content = some_bytes(LARGE)
    async with storage.staging.new() as staged:
        staged.path.write_bytes(content)
        await staged.absorb()
        assert (staged.size_bytes, staged.sha256) == (LARGE, sha256_of(content))

        stored = Stored(original_key(staged.sha256), content)
        await storage.blobs.put(stored.key, staged)

    assert await read(storage, stored) == content


async def test_absorbing_forgets_what_was_written_before(storage: Storage) -> None:
    async with storage.staging.new() as staged:
        await staged.write(b"what was there before")
        staged.path.write_bytes(b"other")
        await staged.absorb()
        assert (staged.size_bytes, staged.sha256) == (5, sha256_of(b"other"))

        await staged.write(b" and more")

        assert staged.path.read_bytes() == b"other and more"
        assert staged.sha256 == sha256_of(b"other and more")


async def test_flushing_more_than_once_is_no_error(storage: Storage) -> None:
    async with storage.staging.new() as staged:
        await staged.flush()
        await staged.write(b"x")
        await staged.flush()
        await staged.flush()


async def test_many_files_are_staged_at_once(storage: Storage) -> None:
    async def stage(number: int) -> None:
        async with storage.staging.new() as staged:
            for _ in range(5):
                await staged.write(bytes([number]) * 1000)
            assert staged.path.read_bytes() == bytes([number]) * 5000

    await asyncio.gather(*(stage(number) for number in range(50)))

    assert storage.staged_files() == 0


async def test_what_is_being_staged_is_not_abandoned(storage: Storage) -> None:
    async with storage.staging.new() as staged:
        await staged.write(b"x")

        assert await storage.staging.discard_abandoned() == 0

        assert staged.path.read_bytes() == b"x"


async def test_cancelling_at_any_moment_leaves_nothing(storage: Storage) -> None:
    content = some_bytes(2 * 1024 * 1024)

    async def upload() -> None:
        async with storage.staging.new() as staged:
            await staged.write(content)
            await staged.flush()
            await storage.blobs.put(original_key(staged.sha256), staged)

    for turns in range(12):
        task = asyncio.create_task(upload())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

        assert storage.staged_files() == 0
    stored = await put(storage, content)
    assert await read(storage, stored) == content
