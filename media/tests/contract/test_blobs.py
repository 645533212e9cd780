"""What every `Blobs` promises, whatever it is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from fakes.storages import (
    LARGE,
    SMALL,
    Storage,
    Stored,
    copied,
    delete,
    opened,
    put,
    read,
    sha256_of,
    some_bytes,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from media_service.core.blobs import original_key, rendition_key
from media_service.core.errors import MediaDamaged

SIZES = pytest.mark.parametrize("size", [0, 1, SMALL, 1024 * 1024, LARGE])
shared_fixture = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def assert_damaged(storage: Storage, stored: Stored) -> None:
    with pytest.raises(MediaDamaged):
        await read(storage, stored)
    with pytest.raises(MediaDamaged):
        async with copied(storage, stored):
            pass


@SIZES
async def test_what_was_put_is_read(storage: Storage, size: int) -> None:
    stored = await put(storage, some_bytes(size))

    for _ in range(2):  # verified, then remembered
        assert await read(storage, stored) == stored.content
    async with copied(storage, stored) as path:
        assert path.read_bytes() == stored.content


@shared_fixture
@given(data=st.data(), size=st.sampled_from([0, SMALL, LARGE]))
async def test_any_range_is_that_slice(storage: Storage, data: st.DataObject, size: int) -> None:
    stored = await put(storage, some_bytes(size))
    start = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - start))

    assert await read(storage, stored, start, length) == stored.content[start : start + length]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(("start", "beyond"), [(0, 1), (10, 1), (-1, 0)])
async def test_a_range_beyond_the_end_is_refused(
    storage: Storage, size: int, start: int, beyond: int
) -> None:
    stored = await put(storage, some_bytes(size))

    with pytest.raises(ValueError):
        await read(storage, stored, start, size - start + beyond)


async def test_putting_again_changes_nothing(storage: Storage) -> None:
    first = await put(storage, some_bytes(SMALL))
    again = await put(storage, some_bytes(SMALL))

    assert first == again
    assert await read(storage, first) == first.content
    assert [found.key async for found in storage.blobs.objects("originals/")] == [first.key]


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_putting_again_heals(storage: Storage, size: int) -> None:
    stored = await put(storage, some_bytes(size))
    storage.lay(stored.key, some_bytes(size, seed=2))
    await assert_damaged(storage, stored)

    await put(storage, stored.content)

    assert await read(storage, stored) == stored.content


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_putting_anew_heals_whatever_the_store_believes(storage: Storage, size: int) -> None:
    stored = await put(storage, some_bytes(size))
    storage.lay(stored.key, some_bytes(size, seed=2))

    async with storage.staging.new() as staged:
        await staged.write(stored.content)
        await storage.blobs.put(stored.key, staged, anew=True)

    assert await read(storage, stored) == stored.content


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_was_put_ahead_is_put_the_same(storage: Storage, size: int) -> None:
    async with storage.staging.new() as staged:
        await staged.write(some_bytes(size))
        stored = Stored(original_key(staged.sha256), some_bytes(size))
        await storage.blobs.put_ahead(stored.key, staged)
        await storage.blobs.put(stored.key, staged)

    assert await read(storage, stored) == stored.content


DAMAGES = pytest.mark.parametrize(
    "damage",
    [
        lambda whole: None,
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: bytes([whole[0] ^ 1]) + whole[1:],
    ],
    ids=["missing", "empty", "truncated", "longer", "flipped"],
)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@DAMAGES
async def test_damage_is_never_read(
    storage: Storage, size: int, damage: Callable[[bytes], bytes | None]
) -> None:
    stored = await put(storage, some_bytes(size))

    storage.lay(stored.key, damage(stored.content))

    await assert_damaged(storage, stored)


async def check(storage: Storage, stored: Stored) -> None:
    size_bytes = len(stored.content)
    await storage.blobs.check(stored.key, size_bytes=size_bytes, sha256=stored.sha256)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@DAMAGES
async def test_a_check_believes_nothing(
    storage: Storage, size: int, damage: Callable[[bytes], bytes | None]
) -> None:
    stored = await put(storage, some_bytes(size))
    await read(storage, stored)
    await check(storage, stored)
    storage.lay(stored.key, damage(stored.content))

    with pytest.raises(MediaDamaged):
        await check(storage, stored)

    await assert_damaged(storage, stored)


@shared_fixture
@given(at=st.integers(0, LARGE - 1), bit=st.integers(0, 7), start=st.integers(0, LARGE - 10))
async def test_one_flipped_bit_anywhere_spoils_every_range(
    storage: Storage, at: int, bit: int, start: int
) -> None:
    stored = await put(storage, some_bytes(LARGE))
    await read(storage, stored, 0, 10)
    flipped = bytearray(stored.content)
    flipped[at] ^= 1 << bit

    storage.lay(stored.key, bytes(flipped))

    with pytest.raises(MediaDamaged):
        await read(storage, stored, start, 10)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_other_bytes_than_were_asked_for_are_damage(storage: Storage, size: int) -> None:
    stored = await put(storage, some_bytes(size))
    await read(storage, stored)

    await assert_damaged(storage, Stored(stored.key, some_bytes(size, seed=2)))
    await assert_damaged(storage, Stored(stored.key, stored.content[:-1]))


async def test_what_was_never_put_is_missing(storage: Storage) -> None:
    content = some_bytes(10)

    await assert_damaged(storage, Stored(original_key(sha256_of(content)), content))


async def test_only_what_should_be_there_is_missed_aloud(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    content, told = some_bytes(10), []
    for recipe in ("transformed-fit-1x1-q85-jpeg-1", "fit-1x1-q85-jpeg-1"):
        key = rendition_key(sha256_of(b"source"), recipe, checksum=sha256_of(content))
        await assert_damaged(storage, Stored(key, content))
        told.append([r.message for r in caplog.records if "damaged blob" in r.message])
        caplog.clear()

    assert told[0] == []
    assert all(recipe in message for message in told[1])


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_rendition_made_anew_replaces_the_old_one(storage: Storage, size: int) -> None:
    key = rendition_key(sha256_of(b"source"), "fit-1x1-q85-jpeg-1", checksum=sha256_of(b"x"))
    old = await put(storage, some_bytes(size, seed=1), key)
    assert await read(storage, old) == old.content

    new = await put(storage, some_bytes(size, seed=2), key)

    assert await read(storage, new) == new.content
    await assert_damaged(storage, old)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_reader_keeps_what_it_opened(storage: Storage, size: int) -> None:
    key = rendition_key(sha256_of(b"source"), "fit-1x1-q85-jpeg-1", checksum=sha256_of(b"x"))
    old = await put(storage, some_bytes(size, seed=1), key)

    async with opened(storage, old) as blob:
        await put(storage, some_bytes(size, seed=2), key)
        await delete(storage.blobs, [key])
        pieces = [piece async for piece in blob.read(0, size)]

    assert b"".join(pieces) == old.content


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_many_put_and_read_one_key_at_once(storage: Storage, size: int) -> None:
    stored = await put(storage, some_bytes(size))

    await asyncio.gather(*(put(storage, stored.content) for _ in range(20)))
    contents = await asyncio.gather(*(read(storage, stored) for _ in range(20)))

    assert set(contents) == {stored.content}
    assert storage.staged_files() == 0


async def test_deleted_is_gone(storage: Storage) -> None:
    small, large = await put(storage, some_bytes(SMALL)), await put(storage, some_bytes(LARGE))
    for stored in (small, large):
        await read(storage, stored)

    await delete(storage.blobs, [small.key, large.key])

    for stored in (small, large):
        await assert_damaged(storage, stored)
    assert [found.key async for found in storage.blobs.objects("originals/")] == []


async def test_deleting_what_is_not_there_is_no_error(storage: Storage) -> None:
    stored = await put(storage, b"there")
    never = original_key(sha256_of(b"never there"))

    await delete(storage.blobs, [never, stored.key, never])
    await delete(storage.blobs, [stored.key])
    await delete(storage.blobs, [])

    await assert_damaged(storage, stored)


async def test_keys_are_those_in_the_folder(storage: Storage) -> None:
    originals = {(await put(storage, bytes([n]))).key for n in range(20)}
    source = sha256_of(b"source")
    renditions = {
        (await put(storage, b"x", rendition_key(source, recipe, checksum=sha256_of(b"x")))).key
        for recipe in ("fit-1x1-q85-jpeg-1", "crop-1x1-q85-webp-moving-1")
    }

    async def keys(prefix: str) -> set[str]:
        return {found.key async for found in storage.blobs.objects(prefix)}

    assert await keys("originals/") == originals
    assert await keys("renditions/") == renditions
    assert await keys(f"renditions/{source[:2]}/") == renditions
    assert await keys(f"renditions/{source[:2]}/{source[2:4]}/") == renditions
    for key in originals:
        assert key in await keys(key[:13])
    assert await keys("renditions/00/") == set()


async def test_objects_are_told_with_their_sizes_in_the_order_of_their_keys(
    storage: Storage,
) -> None:
    puts = [await put(storage, some_bytes(size)) for size in range(1, 30)]

    found = [each async for each in storage.blobs.objects("originals/")]

    expected = sorted((stored.key, len(stored.content)) for stored in puts)
    assert [(each.key, each.size_bytes) for each in found] == expected
    assert all(each.written_at.tzinfo for each in found)


SHA256 = sha256_of(b"somewhere else")
LABEL = "test-20300101t120000-00000001"
NOT_KEYS = [
    "",
    "/etc/passwd",
    "originals",
    f"originals/../../{SHA256}",
    f"originals/./../{SHA256}",
    f"originals/{SHA256[:2]}/{SHA256[2:4]}/{'0' * 64}",
    f"originals/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.recipe",
    f"renditions/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}",
    f"renditions/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.../../x",
    f"renditions/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.recipe.{'0' * 15}",
    f"staging/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}",
    original_key(SHA256) + "\n",
    original_key(SHA256) + "\0",
    "/" + original_key(SHA256),
    original_key(SHA256).upper(),
    original_key(SHA256).replace("/", "//"),
]


async def assert_refused(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError):
        async with storage.blobs.open(key, size_bytes=1, sha256=SHA256):
            pass
    with pytest.raises(ValueError):
        async with storage.blobs.local_copy(key, size_bytes=1, sha256=SHA256):
            pass
    with pytest.raises(ValueError):
        await delete(storage.blobs, [key])
    with pytest.raises(ValueError):
        await storage.blobs.trash([key], label=LABEL)
    with pytest.raises(ValueError):
        await storage.blobs.check(key, size_bytes=1, sha256=SHA256)
    async with storage.staging.new() as staged:
        with pytest.raises(ValueError):
            await storage.blobs.put(key, staged)
        with pytest.raises(ValueError):
            await storage.blobs.put_ahead(key, staged)


@pytest.mark.parametrize("key", NOT_KEYS)
async def test_what_is_no_key_is_refused(storage: Storage, key: str) -> None:
    await assert_refused(storage, key)


@shared_fixture
@given(
    parts=st.lists(
        st.sampled_from(["originals", "renditions", "..", ".", "ab", "a/", "/", SHA256, "", "\n"]),
        max_size=6,
    )
)
@example(parts=["originals", "..", "..", SHA256])
async def test_no_combination_of_parts_leads_elsewhere(storage: Storage, parts: list[str]) -> None:
    await assert_refused(storage, "/".join(parts))


@shared_fixture
@given(key=st.text())
async def test_no_text_is_a_key(storage: Storage, key: str) -> None:
    await assert_refused(storage, key)


@pytest.mark.parametrize(
    "prefix",
    ["", "originals", "originals/a", "originals/../", "staging/", "/", "originals/ab/cd/e"],
)
async def test_only_folders_are_listed(storage: Storage, prefix: str) -> None:
    with pytest.raises(ValueError):
        [found async for found in storage.blobs.objects(prefix)]


async def test_a_deletion_that_fails_brings_everything_back(storage: Storage) -> None:
    stored = await put(storage, some_bytes(SMALL))

    with contextlib.suppress(MediaDamaged):
        async with storage.blobs.deleting() as deletion:
            await deletion.set_aside([stored.key])
            await read(storage, stored)
            pytest.fail("it could be read while it was set aside")

    assert await read(storage, stored) == stored.content


async def test_what_was_put_meanwhile_outlives_a_deletion(storage: Storage) -> None:
    stored = await put(storage, some_bytes(SMALL))

    async with storage.blobs.deleting() as deletion:
        await deletion.set_aside([stored.key])
        await put(storage, stored.content)

    assert await read(storage, stored) == stored.content
