"""What two stores promise as one, beyond what every store does."""

from __future__ import annotations

import dataclasses

import pytest
from fakes.in_memory_blobs import InMemoryBlobs, InMemoryStaging
from fakes.storages import SMALL, Storage, Stored, copied, delete, put, read, some_bytes
from media_service.core.errors import MediaDamaged, StorageUnavailable
from media_service.infra.blobs.fallback import FallbackBlobs


@dataclasses.dataclass
class Pair:
    """A new store, an old one, and both as one."""

    new: InMemoryBlobs
    old: InMemoryBlobs
    staging: InMemoryStaging

    @property
    def storage(self) -> Storage:
        return self._storage(FallbackBlobs(self.new, self.old))

    @property
    def behind(self) -> Storage:
        return self._storage(self.old)

    def _storage(self, blobs: FallbackBlobs | InMemoryBlobs) -> Storage:
        return Storage(blobs, self.staging, lambda key, content: None, lambda: 0)


@pytest.fixture
def pair() -> Pair:
    return Pair(InMemoryBlobs(), InMemoryBlobs(), InMemoryStaging())


async def put_into_both(pair: Pair) -> Stored:
    await put(pair.behind, some_bytes(SMALL))
    return await put(pair.storage, some_bytes(SMALL))


async def assert_away(pair: Pair, stored: Stored) -> None:
    with pytest.raises(StorageUnavailable):
        await read(pair.storage, stored)
    with pytest.raises(StorageUnavailable):
        async with copied(pair.storage, stored):
            pass
    with pytest.raises(StorageUnavailable):
        await check(pair, stored)


async def check(pair: Pair, stored: Stored) -> None:
    size_bytes = len(stored.content)
    await pair.storage.blobs.check(stored.key, size_bytes=size_bytes, sha256=stored.sha256)


async def test_what_is_put_goes_to_the_new_one(pair: Pair) -> None:
    stored = await put(pair.storage, some_bytes(SMALL))

    assert (list(pair.new.contents), list(pair.old.contents)) == ([stored.key], [])


@pytest.mark.parametrize("damage", [None, b"", b"other bytes"])
async def test_what_is_damaged_in_the_new_one_is_read_from_the_old(
    pair: Pair, damage: bytes | None
) -> None:
    stored = await put_into_both(pair)
    pair.new.contents.pop(stored.key)
    if damage is not None:
        pair.new.contents[stored.key] = damage

    assert await read(pair.storage, stored) == stored.content
    async with copied(pair.storage, stored) as path:
        assert path.read_bytes() == stored.content
    await check(pair, stored)


async def test_what_is_damaged_in_both_is_damaged(pair: Pair) -> None:
    stored = await put_into_both(pair)
    pair.new.contents[stored.key] = b"other"
    pair.old.contents[stored.key] = b"bytes"

    with pytest.raises(MediaDamaged):
        await read(pair.storage, stored)
    with pytest.raises(MediaDamaged):
        await check(pair, stored)


async def test_a_new_store_that_is_away_is_not_one_that_holds_nothing(pair: Pair) -> None:
    stored = await put(pair.storage, some_bytes(SMALL))
    pair.new.failure = StorageUnavailable()

    await assert_away(pair, stored)


async def test_an_old_store_that_is_away_is_not_one_that_holds_nothing(pair: Pair) -> None:
    stored = await put(pair.behind, some_bytes(SMALL))
    pair.old.failure = StorageUnavailable()

    await assert_away(pair, stored)


async def test_what_the_old_store_holds_is_read_while_the_new_one_is_away(pair: Pair) -> None:
    stored = await put_into_both(pair)
    pair.new.failure = StorageUnavailable()

    assert await read(pair.storage, stored) == stored.content


async def test_deleted_is_gone_from_both(pair: Pair) -> None:
    stored = await put_into_both(pair)

    await delete(pair.storage.blobs, [stored.key])

    assert (pair.new.contents, pair.old.contents) == ({}, {})


async def test_a_deletion_that_one_store_refuses_happens_in_neither(pair: Pair) -> None:
    stored = await put_into_both(pair)

    async def refused() -> None:
        async with pair.storage.blobs.deleting() as deletion:
            pair.old.failure = StorageUnavailable()
            await deletion.set_aside([stored.key])

    with pytest.raises(StorageUnavailable):
        await refused()

    assert list(pair.new.contents) == list(pair.old.contents) == [stored.key]


async def test_what_both_hold_is_listed_once_and_in_order(pair: Pair) -> None:
    keys = []
    for n in range(30):
        where = (pair.storage, pair.behind, None)[n % 3]
        stored = await put(where, bytes([n])) if where else await put(pair.behind, bytes([n]))
        if where is None:
            await put(pair.storage, bytes([n]))
        keys.append(stored.key)

    assert [each.key async for each in pair.storage.blobs.objects("originals/")] == sorted(keys)
