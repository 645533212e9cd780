"""Deleting from S3 so that what was not meant to go can't: copies first, and doubt is remembered.

An object is copied to `trash/<label>/<key>`, then deleted; it comes back by a copy the other way.

A DELETE may be done when everybody has gone on: its answer was lost, or its sender stood still. If
the same bytes are put meanwhile, they would go with it. So each deletion has a mark of its own,
`leaving/<key>.<label>`, from before there is a copy in the trash until every DELETE that was sent
has been answered. As long as a mark is young, nobody puts the key (`is_leaving`; for two minutes,
by the store's own clock), and what is brought back keeps its copy in the trash. A DELETE is sent
within ten seconds after its mark was written, or not at all.

So whoever finds a copy in the trash, and then no young mark of the key, knows that no DELETE of
that label is under way or will be: what is then seen under the key stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from media_service.core.blobs import is_of_deletion, labelled_at, parse_key
from media_service.core.errors import StorageUnavailable
from media_service.core.media import Sha256
from media_service.infra.blobs.s3_bucket import Bucket, in_turns
from media_service.infra.blobs.s3_calls import to_its_end
from media_service.infra.blobs.trash import checked_key

LATE = timedelta(seconds=120)
"""How late a DELETE may be done after its sender gave up: longer than TCP goes on delivering."""

MARKED_SECONDS = 10.0
"""For so long after its mark was written a DELETE may be sent: no longer than it takes until the
locks of a process that stands still are given to others, and much less than LATE."""

_TRASH, _LEAVING = "trash/", "leaving/"
_FORGOTTEN = timedelta(days=1)
_AT_ONCE = 8


def _seconds_since_boot() -> float:
    """By a clock that goes on while a machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class S3Trash:
    """What was taken away from a bucket's keys."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        forget: Callable[[str], None],
        clock: Callable[[], float] = _seconds_since_boot,
    ) -> None:
        self._bucket = bucket
        self._forget = forget
        self._clock = clock

    async def is_leaving(self, key: str) -> bool:
        """Whether a DELETE of the key may still be under way, or be sent."""
        ages = await self._bucket.ages(_LEAVING + key)
        return any(age < LATE for age in ages)

    async def move_out(self, keys: Iterable[str], *, label: str) -> None:
        """Take the keys' bytes away; those that are not there are no error."""
        labelled_at(label)
        keys = list(dict.fromkeys(map(checked_key, keys)))
        await to_its_end(self._move_out(keys, label))

    async def _move_out(self, keys: Sequence[str], label: str) -> None:
        marks = {key: f"{_LEAVING}{key}.{label}" for key in keys}
        marked_at = await self._write(marks.values())
        try:
            leaving = await self._copy(keys, label)
        except StorageUnavailable:
            with suppress(StorageUnavailable):
                await self._bucket.delete(marks.values())
            raise
        if self._clock() - marked_at > MARKED_SECONDS / 2:
            marked_at = await self._write(marks[key] for key in leaving)
        doubts: list[bool] = []
        await self._bucket.delete(
            leaving,
            on_doubt=lambda: doubts.append(True),
            before=partial(self._check_marked, marked_at),
        )
        if not doubts:
            await self._bucket.delete(marks.values())

    async def _copy(self, keys: Sequence[str], label: str) -> list[str]:
        """Copy into the trash what is there of the keys; which that was."""
        copies = [partial(self._bucket.copy, key, _trashed(label, key)) for key in keys]
        found = await in_turns(copies, at_once=_AT_ONCE)
        copied = [key for key, was_there in zip(keys, found, strict=True) if was_there]
        for key in copied:
            self._forget(key)
        return copied

    async def _write(self, marks: Iterable[str]) -> float:
        """Write marks; since when they are there at least."""
        begun = self._clock()
        await in_turns([partial(self._bucket.put, mark, b"") for mark in marks], at_once=_AT_ONCE)
        return begun

    def _check_marked(self, marked_at: float) -> None:
        """Raise StorageUnavailable if this process stood still since it wrote its marks."""
        if self._clock() - marked_at > MARKED_SECONDS:
            raise StorageUnavailable

    async def labels(self) -> list[str]:
        """Every label that something here has."""
        names = await self._bucket.folders(_TRASH)
        return sorted([name for name in names if _is_label(name) and await self._has(name)])

    async def _has(self, label: str) -> bool:
        async for _ in self._bucket.objects(f"{_TRASH}{label}/"):
            return True
        return False

    async def move_back(self, label: str) -> list[str]:
        """Put back what has this label, where nothing has taken its place; its keys."""
        labelled_at(label)
        prefix = f"{_TRASH}{label}/"
        keys = [o.key.removeprefix(prefix) async for o in self._bucket.objects(prefix)]
        keys = [key for key in keys if parse_key(key)]
        await self.put_back(keys, label=label)
        return keys

    async def put_back(self, keys: Iterable[str], *, label: str) -> None:
        """Put these back, as `move_back` does."""
        jobs = [partial(self._put_back, key, label) for key in keys]
        await to_its_end(in_turns(jobs, at_once=_AT_ONCE))

    async def _put_back(self, key: str, label: str) -> None:
        trashed = _trashed(label, key)
        # First, and not later: a DELETE may come, and its mark go, between two looks.
        is_leaving = await self.is_leaving(key)
        if await self._bucket.head(key) is None:
            await self._bucket.copy(trashed, key, only_new=True)
        if not is_leaving:
            await self._bucket.delete([trashed])

    async def empty(self, *, before: datetime) -> int:
        """Remove what was moved here before this moment, but for what deletions set aside."""
        await self._forget_marks()
        removed = 0
        for label in await self.labels():
            if not is_of_deletion(label) and labelled_at(label) < before:
                removed += await self._remove([
                    o.key async for o in self._bucket.objects(f"{_TRASH}{label}/")
                ])  # fmt: skip
        return removed

    async def _forget_marks(self) -> None:
        before = datetime.now(UTC) - _FORGOTTEN
        marks = self._bucket.objects(_LEAVING)
        await self._remove([mark.key async for mark in marks if mark.written_at < before])

    async def discard(self, source: Sha256) -> int:
        """Remove the original of this hash, and its renditions."""
        names = [_trashed(label, key)
                 for label in await self._bucket.folders(_TRASH)
                 for key in await self._keys(label, source)]  # fmt: skip
        return await self._remove(names)

    async def _keys(self, label: str, source: Sha256) -> list[str]:
        """What has this label and was made of this content, or is it."""
        folder = f"{source[:2]}/{source[2:4]}/"
        found = [self._bucket.objects(_trashed(label, f"{kind}/{folder}{source}"))
                 for kind in ("originals", "renditions")]  # fmt: skip
        prefix = _trashed(label, "")
        return [each.key.removeprefix(prefix) for objects in found async for each in objects]

    async def finish(self, keys: Iterable[str], *, label: str) -> None:
        """Remove these."""
        keys = list(keys)
        for key in keys:
            self._forget(key)
        await to_its_end(self._bucket.delete(_trashed(label, key) for key in keys))

    async def _remove(self, names: Sequence[str]) -> int:
        await self._bucket.delete(names)
        return len(names)


class S3Deletion:
    """What one deletion has set aside."""

    def __init__(self, trash: S3Trash, *, label: str) -> None:
        self._trash = trash
        self._label = label
        self._keys: list[str] = []

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Take the keys' bytes away; those that are not there are no error."""
        keys = list(map(checked_key, keys))
        self._keys += keys
        await self._trash.move_out(keys, label=self._label)

    async def undo(self) -> None:
        """Put back what was set aside, where nothing has taken its place."""
        await self._trash.put_back(self._keys, label=self._label)

    async def finish(self) -> None:
        """Let it go for good."""
        await self._trash.finish(self._keys, label=self._label)


def _trashed(label: str, key: str) -> str:
    return f"{_TRASH}{label}/{key}"


def _is_label(name: str) -> bool:
    with suppress(ValueError):
        labelled_at(name)
        return True
    return False
