from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from fakes.in_memory_blobs import InMemoryBlobs, InMemoryStaging
from fakes.samples import ALICE
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core import copying
from media_service.core.copies import CopyReport, Kind, Outcome, Progress
from media_service.core.copying import Copying
from media_service.core.errors import (
    DatabaseUnavailable,
    MediaError,
    StorageFull,
    StorageUnavailable,
)
from media_service.core.ports import StagedFile

NO_GRACE = timedelta(0)


class Stumbling(InMemoryBlobs):
    """A store whose puts fail as they are told to."""

    def __init__(self, failure_of: Callable[[str], MediaError | None]) -> None:
        super().__init__()
        self._failure_of = failure_of

    async def put(self, key: str, staged: StagedFile, *, anew: bool = False) -> None:
        if error := self._failure_of(key):
            raise error
        await super().put(key, staged, anew=anew)


class Move:
    """A service whose bytes go from its store to another."""

    def __init__(self) -> None:
        self.fake: FakeService = fake_service()
        self.target, self.staging = InMemoryBlobs(), InMemoryStaging()
        self.told: list[Progress] = []

    @property
    def source(self) -> InMemoryBlobs:
        return self.fake.blobs

    def copying(self, *, at_once: int = 3) -> Copying:
        return Copying(
            database=self.fake.database,
            source=self.source,
            target=self.target,
            staging=self.staging,
            at_once=at_once,
        )

    async def copy(self, kinds: tuple[Kind, ...] = tuple(Kind)) -> CopyReport:
        return await self.copying().copy(kinds, tell=self.told.append)

    async def verify(self) -> CopyReport:
        return await self.copying().verify(tell=self.told.append)


@pytest.fixture
async def move(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Three pictures, with all their renditions."""
    monkeypatch.setattr(copying, "_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(copying, "_BATCH", 2)
    move = Move()
    for name in "abc":
        await move.fake.upload_done(picture(name))
    return move


def outcomes(report: CopyReport) -> dict[Outcome, int]:
    return {outcome: count for outcome, count in report.objects.items() if count}


async def test_every_object_is_copied(move: Move) -> None:
    report = await move.copy()

    assert move.target.contents == move.source.contents
    assert outcomes(report) == {Outcome.COPIED: 15}
    assert report.copied_bytes == sum(map(len, move.source.contents.values()))
    assert report.is_complete
    assert move.staging.open_files == 0


async def test_originals_go_first(move: Move) -> None:
    await move.copy()

    kinds = [progress.kind for progress in move.told]
    assert kinds == sorted(kinds)
    assert [p.part for p in move.told if p.part == 1] == [1, 1]


async def test_originals_can_go_alone(move: Move) -> None:
    await move.copy((Kind.ORIGINALS,))

    assert len(move.target.contents) == 3
    assert all(key.startswith("originals/") for key in move.target.contents)


async def test_what_is_there_is_not_copied_again(move: Move) -> None:
    await move.copy((Kind.ORIGINALS,))

    assert outcomes(await move.copy()) == {Outcome.HELD: 3, Outcome.COPIED: 12}
    assert outcomes(await move.copy()) == {Outcome.HELD: 15}


async def test_what_is_there_damaged_is_copied_again(move: Move) -> None:
    await move.copy()
    key = next(iter(move.target.contents))
    good = move.target.contents[key]
    for bad in (good[:-1], good[:-1] + b"?", b""):
        move.target.contents[key] = bad

        assert outcomes(await move.copy()) == {Outcome.HELD: 14, Outcome.COPIED: 1}
        assert move.target.contents[key] == good


async def test_a_copy_that_was_ended_goes_on(move: Move) -> None:
    def end(_: Progress) -> None:
        task.cancel()

    task = asyncio.create_task(move.copying(at_once=1).copy(tell=end))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < len(move.target.contents) < 15

    assert (await move.copy()).is_complete
    assert move.target.contents == move.source.contents
    assert move.staging.open_files == 0


@pytest.mark.parametrize("damage", [None, b"", b"other bytes"])
async def test_what_is_damaged_is_told_and_the_rest_copied(
    move: Move, damage: bytes | None
) -> None:
    key = next(key for key in move.source.contents if key.startswith("originals/"))
    whole = dict(move.source.contents)
    del whole[key], move.source.contents[key]
    if damage is not None:
        move.source.contents[key] = damage

    report = await move.copy()

    assert move.target.contents == whole
    assert report.failed == [(key, Outcome.DAMAGED)]
    assert not report.is_complete


async def test_what_no_row_names_is_not_copied(move: Move) -> None:
    media = await move.fake.upload_done(picture("d"))
    await move.fake.service.deleting.delete(media.id, user=ALICE)
    orphans = dict(move.source.contents)
    await move.fake.service.housekeeping.sweep(grace=NO_GRACE)
    move.source.contents |= orphans

    await move.copy()

    assert len(move.target.contents) == 15


async def test_what_is_deleted_while_it_is_copied_does_not_come_back(move: Move) -> None:
    media = next(iter(move.fake.database.media.values()))

    async def delete_meanwhile() -> None:
        move.fake.database.before.pop("begin", None)
        await move.fake.service.deleting.delete(media.id, user=media.owner)
        await move.fake.service.housekeeping.sweep(grace=NO_GRACE)

    move.fake.database.before["begin"] = delete_meanwhile

    report = await move.copying(at_once=1).copy(tell=move.told.append)

    assert report.is_complete
    assert not any(media.sha256 in key for key in move.target.contents)
    assert move.target.contents == move.source.contents


async def test_a_store_that_is_away_for_a_moment_is_asked_again(move: Move) -> None:
    failures = [StorageUnavailable()] * 2
    move.target = Stumbling(lambda _: failures.pop() if failures else None)

    assert outcomes(await move.copy()) == {Outcome.COPIED: 15}
    assert not failures


async def test_what_can_not_be_put_is_told_and_the_rest_copied(move: Move) -> None:
    stuck = sorted(move.source.contents)[3]
    move.target = Stumbling(lambda key: StorageUnavailable() if key == stuck else None)

    report = await move.copy()

    assert report.failed == [(stuck, Outcome.UNREADABLE)]
    assert outcomes(report) == {Outcome.COPIED: 14, Outcome.UNREADABLE: 1}
    assert not report.is_complete


async def test_a_store_that_stays_away_ends_the_copy(move: Move) -> None:
    move.source.failure = StorageUnavailable()

    with pytest.raises(StorageUnavailable):
        await move.copy()


async def test_a_database_that_stays_away_ends_the_copy(move: Move) -> None:
    move.fake.database.go_away()

    with pytest.raises(DatabaseUnavailable):
        await move.copy()


async def test_a_full_target_ends_the_copy(move: Move) -> None:
    move.staging.failure = StorageFull()

    with pytest.raises(StorageFull):
        await move.copy()


async def test_verifying_finds_what_is_missing_or_damaged_and_copies_nothing(move: Move) -> None:
    await move.copy()
    missing, damaged = sorted(move.target.contents)[:2]
    del move.target.contents[missing]
    move.target.contents[damaged] = b"other"
    before = dict(move.target.contents)

    report = await move.verify()

    assert sorted(report.failed) == [(missing, Outcome.DAMAGED), (damaged, Outcome.DAMAGED)]
    assert outcomes(report) == {Outcome.HELD: 13, Outcome.DAMAGED: 2}
    assert move.target.contents == before


async def test_few_are_under_way_at_once(move: Move) -> None:
    most = 0

    def tell(_: Progress) -> None:
        nonlocal most
        most = max(most, move.staging.open_files)

    await move.copying(at_once=2).copy(tell=tell)

    assert most <= 2
