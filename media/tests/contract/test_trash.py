"""What every `Blobs` promises of its trash, whatever it is made of."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from fakes.storages import (
    LARGE,
    SMALL,
    Storage,
    Stored,
    delete,
    put,
    read,
    sha256_of,
    some_bytes,
)
from media_service.core.blobs import DELETING, new_label, original_key, rendition_key
from media_service.core.errors import MediaDamaged

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
LABEL, OTHER_LABEL = "test-20300101t120000-00000001", "test-20300101t120000-00000002"
SECOND = timedelta(seconds=1)


async def is_there(storage: Storage, stored: Stored) -> bool:
    with contextlib.suppress(MediaDamaged):
        return await read(storage, stored) == stored.content
    return False


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_is_trashed_is_gone_until_it_is_restored(storage: Storage, size: int) -> None:
    stored = await put(storage, some_bytes(size))
    await read(storage, stored)

    await storage.blobs.trash([stored.key], label=LABEL)

    assert not await is_there(storage, stored)
    assert [found async for found in storage.blobs.objects("originals/")] == []
    assert await storage.blobs.labels() == [LABEL]

    assert await storage.blobs.restore(LABEL) == [stored.key]

    assert await is_there(storage, stored)
    assert await storage.blobs.labels() == []


async def test_a_label_brings_back_its_own_and_nothing_else(storage: Storage) -> None:
    original = await put(storage, b"one")
    rendition = await put(
        storage, b"two", rendition_key(original.sha256, "fit-1", checksum=sha256_of(b"two"))
    )
    other = await put(storage, b"three")
    await storage.blobs.trash([original.key, rendition.key], label=LABEL)
    await storage.blobs.trash([other.key], label=OTHER_LABEL)

    assert sorted(await storage.blobs.restore(LABEL)) == sorted([original.key, rendition.key])

    assert await is_there(storage, original)
    assert await is_there(storage, rendition)
    assert not await is_there(storage, other)
    assert await storage.blobs.labels() == [OTHER_LABEL]


async def test_one_key_lies_in_the_trash_under_several_labels(storage: Storage) -> None:
    stored = await put(storage, b"twice")
    await storage.blobs.trash([stored.key], label=LABEL)
    await put(storage, b"twice")
    await storage.blobs.trash([stored.key], label=OTHER_LABEL)
    await storage.blobs.empty_trash(before=NOON)

    assert await storage.blobs.labels() == sorted([LABEL, OTHER_LABEL])
    await storage.blobs.restore(LABEL)
    await delete(storage.blobs, [stored.key])
    await storage.blobs.restore(OTHER_LABEL)

    assert await is_there(storage, stored)


async def test_what_was_put_again_meanwhile_stays(storage: Storage) -> None:
    key = rendition_key(sha256_of(b"source"), "fit-1", checksum=sha256_of(b"x"))
    await put(storage, b"old", key)
    await storage.blobs.trash([key], label=LABEL)
    new = await put(storage, b"new", key)

    await storage.blobs.restore(LABEL)

    assert await is_there(storage, new)
    assert await storage.blobs.labels() == []


async def test_what_is_not_there_is_trashed_and_restored_without_an_error(
    storage: Storage,
) -> None:
    never = original_key(sha256_of(b"never there"))

    await storage.blobs.trash([never, never], label=LABEL)
    await storage.blobs.trash([], label=LABEL)

    assert await storage.blobs.labels() == []
    assert await storage.blobs.restore(LABEL) == []


async def test_the_trash_is_emptied_of_what_is_old(storage: Storage) -> None:
    later = new_label("test", NOON + 2 * SECOND)
    stored = [await put(storage, bytes([n, 1])) for n in range(3)]
    await storage.blobs.trash([each.key for each in stored[:2]], label=LABEL)
    await storage.blobs.trash([stored[2].key], label=later)

    assert await storage.blobs.empty_trash(before=NOON) == 0
    assert await storage.blobs.empty_trash(before=NOON + SECOND) == 2

    assert await storage.blobs.labels() == [later]
    assert await storage.blobs.restore(LABEL) == []


async def test_what_a_killed_deletion_set_aside_is_never_emptied_and_comes_back(
    storage: Storage,
) -> None:
    stored = await put(storage, some_bytes(SMALL))
    deletion = storage.blobs.deleting()
    await (await deletion.__aenter__()).set_aside([stored.key])  # and then the process is killed

    [label] = await storage.blobs.labels()
    assert label.startswith(f"{DELETING}-")
    assert await storage.blobs.empty_trash(before=datetime.now(UTC) + timedelta(days=9)) == 0
    assert await storage.blobs.restore(label) == [stored.key]

    assert await is_there(storage, stored)


async def test_a_deletion_that_is_over_leaves_no_label(storage: Storage) -> None:
    stored = await put(storage, some_bytes(SMALL))
    with contextlib.suppress(ZeroDivisionError):
        async with storage.blobs.deleting() as deletion:
            await deletion.set_aside([stored.key])
            raise ZeroDivisionError
    assert await storage.blobs.labels() == []

    await delete(storage.blobs, [stored.key])

    assert await storage.blobs.labels() == []


async def test_a_content_is_discarded_from_every_label(storage: Storage) -> None:
    original = await put(storage, b"one")
    rendition = await put(
        storage, b"two", rendition_key(original.sha256, "fit-1", checksum=sha256_of(b"two"))
    )
    other = await put(storage, b"three")
    await storage.blobs.trash([original.key, other.key], label=LABEL)
    await storage.blobs.trash([rendition.key], label=OTHER_LABEL)

    assert await storage.blobs.discard_trashed(original.sha256) == 2

    assert await storage.blobs.labels() == [LABEL]
    assert await storage.blobs.restore(LABEL) == [other.key]


NOT_LABELS = ["", ".", "..", "test", LABEL.upper(), LABEL + "\n", f"../{LABEL}", "fsck-2030"]


@pytest.mark.parametrize("label", NOT_LABELS)
async def test_what_is_no_label_is_refused(storage: Storage, label: str) -> None:
    with pytest.raises(ValueError):
        await storage.blobs.trash([], label=label)
    with pytest.raises(ValueError):
        await storage.blobs.restore(label)


async def test_no_upload_is_abandoned_where_none_is_left_unfinished(storage: Storage) -> None:
    assert await storage.blobs.discard_abandoned_uploads(before=datetime.now(UTC)) == 0
