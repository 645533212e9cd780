from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from fakes.samples import ALICE, BOB, NOON, a_blob, a_stored_rendition, sha256_of
from fakes.scripted_codecs import picture
from fakes.service import FakeService, fake_service
from media_service.core.auditing import Allowance, AuditReport, TooManyLosses
from media_service.core.audits import Content, Difference, Finding, differences
from media_service.core.blobs import (
    DELETING,
    BlobState,
    HeldBlob,
    StoredObject,
    new_label,
    original_key,
)
from media_service.core.errors import DatabaseUnavailable
from media_service.core.media import Media, ProcessingStatus

ORPHAN = original_key(sha256_of("nobody's"))
EVERYTHING = Allowance(count=10**9)


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def compare(fake: FakeService, *, deep: bool = False) -> AuditReport:
    return await fake.service.auditing.compare(deep=deep)


async def repair(fake: FakeService, *, deep: bool = False) -> AuditReport:
    report = await compare(fake, deep=deep)
    await fake.service.auditing.repair(report, allowance=EVERYTHING, deep=deep)
    return report


def found(report: AuditReport) -> dict[Difference, list[str]]:
    assert {difference: len(names) for difference, names in report.examples.items()} == report.found
    return report.examples


def _key(fake: FakeService, media: Media, name: str = "full") -> str:
    rendition = media.rendition(name)
    assert rendition
    return fake.database.renditions[media.sha256, rendition.recipe.key].key


async def test_what_is_as_it_should_be_has_no_differences(fake: FakeService) -> None:
    await fake.upload_done(picture("live"))
    gone = await fake.upload_done(picture("condemned"))
    await fake.service.deleting.delete(gone.id, user=ALICE)

    report = await compare(fake, deep=True)

    assert found(report) == {}
    assert (report.contents, report.objects) == (2, 10)
    assert report.size_bytes == sum(map(len, fake.blobs.contents.values()))


async def test_progress_is_told(fake: FakeService) -> None:
    steps: list[int] = []
    await fake.service.auditing.compare(on_progress=steps.append)
    assert sum(steps) == 256


async def test_missing_and_cut_originals_are_found_and_noted(fake: FakeService) -> None:
    missing, cut = [await fake.upload_done(picture(n)) for n in ("missing", "cut")]
    keys = [original_key(media.sha256) for media in (missing, cut)]
    del fake.blobs.contents[keys[0]]
    fake.blobs.contents[keys[1]] = b"cut"
    expected = {
        Difference.MISSING_ORIGINAL: keys[:1],
        Difference.WRONG_ORIGINAL: keys[1:],
    }

    assert found(await repair(fake)) == expected

    assert all(blob.damaged_at for blob in fake.database.blobs.values())
    assert found(await compare(fake)) == expected  # until they are uploaded again
    for name in ("missing", "cut"):
        await fake.upload(picture(name), owner=BOB)
    assert found(await compare(fake)) == {}


async def test_only_a_deep_comparison_finds_flipped_bits(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    original, full = original_key(media.sha256), _key(fake, media)
    for key in (original, full):
        content = fake.blobs.contents[key]
        fake.blobs.contents[key] = content[:-1] + bytes([content[-1] ^ 1])
    assert found(await compare(fake)) == {}

    report = await repair(fake, deep=True)

    assert found(report) == {
        Difference.WRONG_ORIGINAL: [original],
        Difference.WRONG_RENDITION: [full],
    }
    assert fake.database.blobs[media.sha256].damaged_at
    assert full not in fake.blobs.contents


async def test_a_missing_rendition_is_forgotten_and_made_again(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    key = _key(fake, media)
    before = dict(fake.blobs.contents)
    del fake.blobs.contents[key]

    report = await repair(fake)

    assert found(report) == {Difference.MISSING_RENDITION: [key]}
    assert report.repaired == report.found
    assert found(await compare(fake)) == {}
    await fake.developing.ensure(media)
    assert fake.blobs.contents == before


async def test_orphans_go_to_the_trash_and_come_back(fake: FakeService) -> None:
    await fake.upload_done()
    fake.blobs.contents[ORPHAN] = b"bytes"
    before = dict(fake.blobs.contents)

    report = await repair(fake)

    assert found(report) == {Difference.ORPHANED_OBJECT: [ORPHAN]}
    assert ORPHAN not in fake.blobs.contents
    assert list(fake.blobs.trashed) == [report.label]
    assert await fake.service.auditing.undo(report.label) == [ORPHAN]
    assert fake.blobs.contents == before


async def test_young_objects_are_not_judged(fake: FakeService) -> None:
    fake.blobs.contents[ORPHAN] = b"of an upload in flight"
    fake.blobs.written_at[ORPHAN] = fake.clock.now
    assert found(await compare(fake)) == {}

    fake.clock.advance(timedelta(hours=1, seconds=1))

    assert found(await compare(fake)) == {Difference.ORPHANED_OBJECT: [ORPHAN]}


async def test_an_orphan_that_gets_its_row_before_it_is_repaired_stays(
    fake: FakeService,
) -> None:
    key = original_key(sha256_of(picture()))
    fake.blobs.contents[key] = picture()
    report = await compare(fake)

    async def upload() -> None:
        fake.database.before.clear()
        await fake.upload(picture())

    fake.database.before["begin"] = upload
    await fake.service.auditing.repair(report, allowance=EVERYTHING)

    assert fake.blobs.contents == {key: picture()}
    assert fake.blobs.trashed == {}


async def test_what_was_trashed_comes_back_when_the_lock_is_lost(fake: FakeService) -> None:
    fake.blobs.contents[ORPHAN] = b"bytes"
    report = await compare(fake)

    async def fail() -> None:
        raise DatabaseUnavailable

    fake.database.before["commit"] = fail
    with pytest.raises(DatabaseUnavailable):
        await fake.service.auditing.repair(report, allowance=EVERYTHING)

    assert fake.blobs.contents == {ORPHAN: b"bytes"}


async def test_too_many_losses_stop_it_before_anything_is_done(fake: FakeService) -> None:
    fake.blobs.contents = {original_key(sha256_of(str(n))): b"x" for n in range(150)}
    before = dict(fake.blobs.contents)
    report = await compare(fake)

    for allowance in (Allowance(), Allowance(count=149, part=0), Allowance(count=0, part=0.99)):
        with pytest.raises(TooManyLosses):
            await fake.service.auditing.repair(report, allowance=allowance)
    assert fake.blobs.contents == before

    await fake.service.auditing.repair(report, allowance=Allowance(count=150, part=0))
    assert fake.blobs.contents == {}


@pytest.mark.parametrize(
    ("losses", "total", "covered"),
    [(100, 100, True), (101, 101, False), (101, 10_100, True), (101, 10_099, False), (0, 0, True)],
)
def test_a_hundred_or_a_hundredth_may_be_lost(losses: int, total: int, covered: bool) -> None:
    assert Allowance().covers(losses, total=total) is covered


async def test_a_held_blob_that_is_condemned_is_revived(fake: FakeService) -> None:
    media = await fake.upload_done()
    blob = fake.database.blobs[media.sha256]
    fake.database.blobs[media.sha256] = dataclasses.replace(
        blob, state=BlobState.CONDEMNED, condemned_at=fake.clock.now, damaged_at=fake.clock.now
    )

    assert Difference.CONDEMNED_BUT_HELD in found(await repair(fake))

    revived = fake.database.blobs[media.sha256]
    assert revived.state is BlobState.LIVE


async def test_a_live_blob_that_nobody_holds_is_condemned(fake: FakeService) -> None:
    media = await fake.upload_done()
    del fake.database.media[media.id]

    assert found(await repair(fake)) == {Difference.LIVE_BUT_UNHELD: [original_key(media.sha256)]}

    assert fake.database.blobs[media.sha256].condemned_at == fake.clock.now


async def test_media_without_their_job_are_queued_again(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.database.jobs.clear()
    fake.clock.advance(timedelta(hours=1, seconds=1))

    assert found(await repair(fake)) == {Difference.FORGOTTEN_MEDIA: [media.id]}

    await fake.work()
    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED


async def test_media_that_failed_because_of_damage_that_is_no_more_are_queued_again(
    fake: FakeService,
) -> None:
    media = await fake.upload(picture())
    await fake.service.processing.give_up(media.id, revision=1, code="media_damaged")

    assert found(await repair(fake)) == {Difference.FORGOTTEN_MEDIA: [media.id]}

    await fake.work()
    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED


async def test_noted_damage_that_is_none_any_more_is_taken_back(fake: FakeService) -> None:
    media = await fake.upload_done()
    await fake.database.latest.blobs.note_damage(media.sha256, now=fake.clock.now)

    assert found(await repair(fake)) == {Difference.NOTED_DAMAGE: [original_key(media.sha256)]}

    assert found(await compare(fake)) == {}
    assert fake.database.blobs[media.sha256].damaged_at is None


async def test_a_deletion_in_flight_is_neither_found_nor_touched(fake: FakeService) -> None:
    await fake.upload_done()
    del fake.blobs.contents[next(iter(fake.blobs.contents))]  # so that there is what to repair
    trashed = {new_label(DELETING, fake.clock.now): {ORPHAN: b"bytes"}}
    fake.blobs.trashed = dict(trashed)

    assert Difference.UNFINISHED_DELETION not in found(await repair(fake))

    assert fake.blobs.trashed == trashed


async def test_what_is_left_in_the_trash_and_in_staging_is_found(fake: FakeService) -> None:
    fake.blobs.trashed = {new_label(DELETING, NOON): {ORPHAN: b"bytes"}}
    fake.blobs.trashed |= {new_label("fsck", NOON): {ORPHAN: b"bytes"}}
    fake.staging.abandoned = 2
    fake.clock.advance(timedelta(hours=1))
    [deletion, kept] = sorted(fake.blobs.trashed)

    assert found(await repair(fake)) == {
        Difference.UNFINISHED_DELETION: [deletion],
        Difference.ABANDONED_FILE: ["1", "2"],
    }

    assert list(fake.blobs.trashed) == [kept]
    assert fake.staging.abandoned == 0
    assert fake.blobs.contents == {}


async def test_an_older_database_over_newer_blobs_loses_nothing_that_can_not_come_back(
    fake: FakeService,
) -> None:
    await fake.upload_done(picture("old"))
    tables: list[dict[Any, Any]] = [
        fake.database.media,
        fake.database.blobs,
        fake.database.renditions,
    ]
    older = [dict(table) for table in tables]
    for n in range(30):
        await fake.upload_done(picture(f"new{n}"))
    newer, everything = [dict(table) for table in tables], dict(fake.blobs.contents)
    for table, rows in zip(tables, older, strict=True):
        table.clear()
        table.update(rows)

    report = await compare(fake)
    assert report.found == {Difference.ORPHANED_OBJECT: 150}
    with pytest.raises(TooManyLosses):
        await fake.service.auditing.repair(report, allowance=Allowance())
    assert fake.blobs.contents == everything
    await fake.service.auditing.repair(report, allowance=EVERYTHING)
    for table, rows in zip(tables, newer, strict=True):
        table.update(rows)
    await fake.service.auditing.undo(report.label)

    assert fake.blobs.contents == everything
    assert found(await compare(fake, deep=True)) == {}


# The comparison itself


def _stored(key: str, size_bytes: int) -> StoredObject:
    return StoredObject(key=key, size_bytes=size_bytes, written_at=NOON)


def test_each_difference_is_told_from_rows_and_sizes_alone() -> None:
    blob, rendition = a_blob(), a_stored_rendition(a_blob())
    whole = Content(
        source=blob.sha256,
        held=HeldBlob(blob, is_held=True),
        made=(rendition,),
        objects=(
            _stored(blob.key, blob.size_bytes),
            _stored(rendition.key, rendition.size_bytes),
        ),
    )

    def told(**changes: Any) -> list[Finding]:
        changed = dataclasses.replace(whole, **changes)
        return differences(changed, settled_before=NOON + timedelta(seconds=1))

    assert told() == []
    assert {finding.difference for finding in told(objects=())} == {
        Difference.MISSING_ORIGINAL,
        Difference.MISSING_RENDITION,
    }
    assert {finding.difference for finding in told(held=None, made=())} == {
        Difference.ORPHANED_OBJECT
    }
    cut = tuple(_stored(each.key, 1) for each in whole.objects)
    assert {finding.difference for finding in told(objects=cut)} == {
        Difference.WRONG_ORIGINAL,
        Difference.WRONG_RENDITION,
    }
    unheld = HeldBlob(
        dataclasses.replace(blob, state=BlobState.CONDEMNED, condemned_at=NOON), is_held=False
    )
    assert told(held=unheld, objects=whole.objects[1:]) == []
    assert told(held=unheld, objects=()) == []  # a sweeper is at it


@pytest.mark.parametrize(
    ("allowance", "losses", "total", "is_covered"),
    [
        (Allowance(), 0, 0, True),
        (Allowance(), 100, 0, True),
        (Allowance(), 101, 10_099, False),
        (Allowance(), 101, 10_100, True),
        (Allowance(count=0, part=0), 1, 1, False),
        (Allowance(count=0, part=0.29), 29, 100, True),  # 0.29 * 100 < 29
        (Allowance(count=0, part=0.29), 30, 100, False),
        (Allowance(count=0, part=1.0), 1, 1, True),
    ],
)
def test_an_allowance_covers_losses_up_to_its_limit(
    allowance: Allowance, losses: int, total: int, is_covered: bool
) -> None:
    assert allowance.covers(losses, total=total) is is_covered
