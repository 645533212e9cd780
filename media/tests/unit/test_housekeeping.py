from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from fakes.clock import SettableClock
from fakes.samples import ALICE, BOB, sha256_of
from fakes.scripted_codecs import picture
from fakes.service import GRACE, FakeService, fake_service
from media_service.core.blobs import DELETING, BlobState, new_label, original_key, rendition_key
from media_service.core.errors import DatabaseUnavailable, MediaNotFound, StorageUnavailable
from media_service.core.housekeeping import SweepReport
from media_service.core.media import Media, Purpose

NO_GRACE = timedelta(0)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def _deleted(fake: FakeService, content: bytes | None = None) -> Media:
    media = await fake.upload_done(content)
    await fake.service.deleting.delete(media.id, user=ALICE)
    return media


# Condemned contents


async def test_what_nobody_holds_goes_after_the_grace_period(fake: FakeService) -> None:
    media = await _deleted(fake)
    fake.clock.advance(GRACE)

    report = await fake.service.housekeeping.sweep()

    assert report == SweepReport(condemned_blobs=1)
    assert fake.blobs.contents == {}
    assert fake.database.blobs == {}
    assert fake.database.renditions == {}
    assert fake.database.media[media.id].sha256 == ""


async def test_what_nobody_holds_stays_until_then(fake: FakeService) -> None:
    await _deleted(fake)
    fake.clock.advance(GRACE - MOMENT)

    assert await fake.service.housekeeping.sweep() == SweepReport()

    assert len(fake.blobs.contents) == 5


async def test_a_sweep_can_be_told_another_grace(fake: FakeService) -> None:
    await _deleted(fake)

    assert (await fake.service.housekeeping.sweep(grace=NO_GRACE)).condemned_blobs == 1


@pytest.mark.parametrize("wrong_by", [timedelta(days=1), -timedelta(days=1)])
async def test_a_machine_whose_clock_is_wrong_sweeps_neither_early_nor_late(
    fake: FakeService, wrong_by: timedelta
) -> None:
    wrong = fake_service(beside=fake, clock=SettableClock(fake.clock.now + wrong_by))
    media = await fake.upload_done(picture("story"), purpose=Purpose.STORY)
    await _deleted(fake, picture("condemned"))

    assert await wrong.service.housekeeping.sweep() == SweepReport()

    fake.clock.advance(GRACE)
    assert await wrong.service.housekeeping.sweep() == SweepReport(condemned_blobs=1)
    fake.clock.advance(timedelta(days=1))
    assert await wrong.service.housekeeping.sweep() == SweepReport(expired_media=1)
    assert fake.database.media[media.id].deleted_at == fake.clock.now


@pytest.mark.parametrize("wrong_by", [timedelta(days=1), -timedelta(days=1)])
async def test_what_a_machine_with_a_wrong_clock_wrote_goes_in_time(
    fake: FakeService, wrong_by: timedelta
) -> None:
    wrong = fake_service(beside=fake, clock=SettableClock(fake.clock.now + wrong_by))
    media = await wrong.upload(picture("story"), purpose=Purpose.STORY)
    condemned = await wrong.upload_done(picture("condemned"))
    await wrong.service.deleting.delete(condemned.id, user=ALICE)

    assert media.expires_at == fake.clock.now + timedelta(days=1)
    assert await fake.service.housekeeping.sweep() == SweepReport()
    fake.clock.advance(GRACE)
    assert await fake.service.housekeeping.sweep() == SweepReport(condemned_blobs=1)


async def test_what_somebody_holds_stays(fake: FakeService) -> None:
    first = await fake.upload_done(picture())
    await fake.upload(picture(), owner=BOB)
    await fake.service.deleting.delete(first.id, user=ALICE)
    before = dict(fake.blobs.contents)

    assert await fake.service.housekeeping.sweep(grace=NO_GRACE) == SweepReport()

    assert fake.blobs.contents == before


async def test_more_goes_than_one_batch_holds(fake: FakeService) -> None:
    for n in range(12):
        await _deleted(fake, picture(f"p{n}"))

    assert (await fake.service.housekeeping.sweep(grace=NO_GRACE)).condemned_blobs == 12


async def test_what_is_revived_after_it_was_listed_stays(fake: FakeService) -> None:
    await _deleted(fake, picture())

    async def upload() -> None:
        fake.database.before.clear()
        await fake.upload(picture(), owner=BOB)

    fake.database.before["begin"] = upload
    report = await fake.service.housekeeping.sweep(grace=NO_GRACE)

    assert report.condemned_blobs == 0
    [blob] = fake.database.blobs.values()
    assert blob.state is BlobState.LIVE
    assert fake.blobs.contents[blob.key] == picture()


async def test_what_is_condemned_anew_after_it_was_listed_has_its_grace(
    fake: FakeService,
) -> None:
    await _deleted(fake, picture())
    fake.clock.advance(GRACE)

    async def upload_and_delete() -> None:
        fake.database.before.clear()
        await _deleted(fake, picture())

    fake.database.before["begin"] = upload_and_delete
    report = await fake.service.housekeeping.sweep()

    assert report.condemned_blobs == 0
    assert original_key(sha256_of(picture())) in fake.blobs.contents


async def test_uploads_and_sweeps_at_once_lose_nothing(fake: FakeService) -> None:
    async def upload_and_delete(owner_number: int) -> None:
        for _ in range(5):
            media = await fake.upload(picture(), owner=f"u{owner_number}")
            assert fake.blobs.contents[original_key(media.sha256)] == picture()
            await fake.service.deleting.delete(media.id, user=media.owner)

    async def sweep() -> None:
        for _ in range(30):
            await fake.service.housekeeping.sweep(grace=NO_GRACE)
            await fake.service.housekeeping.collect_orphans()

    others = [fake_service(beside=fake) for _ in range(2)]
    await asyncio.gather(
        *(upload_and_delete(n) for n in range(5)),
        sweep(),
        *(other.service.housekeeping.sweep(grace=NO_GRACE) for other in others),
    )
    kept = await fake.upload(picture())

    await fake.service.housekeeping.sweep(grace=NO_GRACE)

    assert fake.blobs.contents == {original_key(kept.sha256): picture()}


async def test_a_store_that_is_away_keeps_the_rows(fake: FakeService) -> None:
    await _deleted(fake)
    fake.blobs.failure = StorageUnavailable()

    report = await fake.service.housekeeping.sweep(grace=NO_GRACE)

    assert (report.condemned_blobs, bool(report.failures)) == (0, True)
    assert len(fake.database.blobs) == 1
    fake.blobs.failure = None

    assert (await fake.service.housekeeping.sweep(grace=NO_GRACE)).condemned_blobs == 1


async def test_a_commit_that_fails_is_made_up_for_by_the_next_sweep(fake: FakeService) -> None:
    await _deleted(fake)

    async def fail() -> None:
        raise StorageUnavailable

    fake.database.before["commit"] = fail
    assert await fake.service.housekeeping.sweep(grace=NO_GRACE) == SweepReport(failures=1)
    fake.database.before.clear()

    assert (await fake.service.housekeeping.sweep(grace=NO_GRACE)).condemned_blobs == 1
    assert fake.database.blobs == {}
    assert fake.blobs.contents == {}


async def test_one_content_that_can_not_go_holds_up_no_other(fake: FakeService) -> None:
    for n in range(5):
        await _deleted(fake, picture(f"p{n}"))

    async def fail_once() -> None:
        fake.database.before.clear()
        raise StorageUnavailable

    fake.database.before["commit"] = fail_once
    report = await fake.service.housekeeping.sweep(grace=NO_GRACE)

    assert (report.condemned_blobs, report.failures) == (4, 1)
    assert len(fake.database.blobs) == 1


async def test_a_sweep_that_only_fails_gives_up(fake: FakeService) -> None:
    for n in range(40):
        await _deleted(fake, picture(f"p{n}"))

    async def fail() -> None:
        raise StorageUnavailable

    fake.database.before["commit"] = fail
    before = fake.database.calls["begin"]
    await fake.service.housekeeping.sweep(grace=NO_GRACE)

    assert fake.database.calls["begin"] - before == 20
    assert len(fake.database.blobs) == 40


# Deletions that were killed


async def _killed_while_deleting(fake: FakeService, keys: list[str]) -> None:
    deletion = fake.blobs.deleting()
    await (await deletion.__aenter__()).set_aside(keys)
    [label] = fake.blobs.trashed
    old = new_label(DELETING, fake.clock.now - GRACE)
    fake.blobs.trashed[old] = fake.blobs.trashed.pop(label)


async def test_what_a_killed_sweeper_set_aside_comes_back_if_a_row_still_names_it(
    fake: FakeService,
) -> None:
    await fake.upload_done()
    before = dict(fake.blobs.contents)
    await _killed_while_deleting(fake, list(before))

    report = await fake.service.housekeeping.sweep()

    assert report == SweepReport(resolved_objects=5)
    assert fake.blobs.contents == before
    assert fake.blobs.trashed == {}


async def test_what_a_killed_sweeper_set_aside_goes_if_no_row_names_it_any_more(
    fake: FakeService,
) -> None:
    fake.blobs.contents = {original_key(sha256_of("nobody's")): b"bytes"}
    await _killed_while_deleting(fake, list(fake.blobs.contents))

    assert (await fake.service.housekeeping.sweep()).resolved_objects == 1

    assert (fake.blobs.contents, fake.blobs.trashed) == ({}, {})


async def test_what_was_uploaded_again_meanwhile_stays(fake: FakeService) -> None:
    media = await fake.upload(picture())
    key = original_key(media.sha256)
    await _killed_while_deleting(fake, [key])
    await fake.upload(picture(), owner=BOB)

    await fake.service.housekeeping.sweep()

    assert fake.blobs.contents == {key: picture()}
    assert fake.blobs.trashed == {}


# The trash, and rows of deleted media


async def test_the_trash_is_emptied_after_a_week(fake: FakeService) -> None:
    key = original_key(sha256_of("nobody's"))
    fake.blobs.trashed = {new_label("fsck", fake.clock.now): {key: b"bytes"}}
    fake.clock.advance(timedelta(days=7))
    assert await fake.service.housekeeping.sweep() == SweepReport()

    fake.clock.advance(timedelta(seconds=1))

    assert await fake.service.housekeeping.sweep() == SweepReport(trashed_objects=1)
    assert fake.blobs.trashed == {}


async def test_the_row_of_a_deleted_medium_goes_after_a_month(fake: FakeService) -> None:
    media = await _deleted(fake)
    await fake.service.housekeeping.sweep(grace=NO_GRACE)
    fake.clock.advance(timedelta(days=30) - MOMENT)
    assert await fake.service.housekeeping.sweep() == SweepReport()
    await fake.service.deleting.delete(media.id, user=ALICE)

    fake.clock.advance(MOMENT)

    assert await fake.service.housekeeping.sweep() == SweepReport(tombstones=1)
    assert fake.database.media == {}
    with pytest.raises(MediaNotFound):
        await fake.service.deleting.delete(media.id, user=ALICE)


async def test_the_row_of_a_deleted_medium_tells_nothing_of_what_was_in_it(
    fake: FakeService,
) -> None:
    media = await fake.upload_done(filename="me at home.jpg")
    assert media.blurhash

    await fake.service.deleting.delete(media.id, user=ALICE)

    row = fake.database.media[media.id]
    assert (row.filename, row.blurhash, row.idempotency_key) == ("", "", "")


# Expired media


async def test_a_story_is_deleted_when_it_ends(fake: FakeService) -> None:
    media = await fake.upload_done(purpose=Purpose.STORY)
    await fake.service.reading.get(media.id)
    fake.clock.advance(timedelta(hours=24))

    assert await fake.service.housekeeping.sweep() == SweepReport(expired_media=1)

    row = fake.database.media[media.id]
    assert row.deleted_at == fake.clock.now
    assert fake.database.blobs[media.sha256].condemned_at == fake.clock.now
    assert fake.cache.remembered == {}


async def test_a_story_stays_until_then(fake: FakeService) -> None:
    await fake.upload_done(purpose=Purpose.STORY)
    fake.clock.advance(timedelta(hours=24) - MOMENT)

    assert await fake.service.housekeeping.sweep() == SweepReport()


async def test_a_story_s_bytes_have_their_grace_too(fake: FakeService) -> None:
    await fake.upload_done(purpose=Purpose.STORY)
    fake.clock.advance(timedelta(hours=24))
    await fake.service.housekeeping.sweep()
    assert len(fake.database.blobs) == 1

    fake.clock.advance(GRACE)

    assert await fake.service.housekeeping.sweep() == SweepReport(condemned_blobs=1)
    assert fake.blobs.contents == {}


# Orphans


async def test_bytes_without_a_row_are_removed(fake: FakeService) -> None:
    orphans = [
        original_key(sha256_of("nobody's")),
        rendition_key(sha256_of("nobody's"), "fit-1x1-q1-jpeg-1", checksum=sha256_of("bytes")),
    ]
    fake.blobs.contents = dict.fromkeys(orphans, b"bytes")

    assert await fake.service.housekeeping.collect_orphans() == 2

    assert fake.blobs.contents == {}


async def test_bytes_with_a_row_stay(fake: FakeService) -> None:
    await fake.upload_done(picture("live"))
    await _deleted(fake, picture("condemned"))
    before = dict(fake.blobs.contents)

    assert await fake.service.housekeeping.collect_orphans() == 0

    assert fake.blobs.contents == before


async def test_a_rendition_that_no_row_names_is_removed_from_beside_those_that_one_does(
    fake: FakeService,
) -> None:
    media = await fake.upload_done()
    before = dict(fake.blobs.contents)
    orphan = rendition_key(media.sha256, "fit-1x1-q1-jpeg-1", checksum=sha256_of("bytes"))
    fake.blobs.contents[orphan] = b"bytes"

    assert await fake.service.housekeeping.collect_orphans() == 1

    assert fake.blobs.contents == before


async def test_what_a_late_developer_leaves_is_removed_from_beside_what_was_committed(
    fake: FakeService,
) -> None:
    media = await fake.upload_done()
    before = dict(fake.blobs.contents)
    recipe = media.renditions[0].recipe.key
    late = rendition_key(media.sha256, recipe, checksum=sha256_of("late"))
    fake.blobs.contents[late] = b"late"

    assert await fake.service.housekeeping.collect_orphans() == 1

    assert fake.blobs.contents == before


async def test_renditions_under_keys_without_a_checksum_are_removed(fake: FakeService) -> None:
    media = await fake.upload_done()
    before = dict(fake.blobs.contents)
    made = fake.database.renditions[media.sha256, media.renditions[0].recipe.key]
    fake.blobs.contents[made.key.rpartition(".")[0]] = fake.blobs.contents[made.key]

    assert await fake.service.housekeeping.collect_orphans() == 1

    assert fake.blobs.contents == before


async def test_keys_of_other_shapes_are_left_alone(fake: FakeService) -> None:
    fake.blobs.contents = {"originals/00/readme.txt": b"somebody's"}

    assert await fake.service.housekeeping.collect_orphans() == 0

    assert len(fake.blobs.contents) == 1


async def test_bytes_that_get_their_row_while_they_are_looked_at_stay(fake: FakeService) -> None:
    fake.blobs.contents[original_key(sha256_of(picture()))] = picture()

    async def upload() -> None:
        fake.database.before.clear()
        await fake.upload(picture())

    fake.database.before["begin"] = upload

    assert await fake.service.housekeeping.collect_orphans() == 0
    assert len(fake.blobs.contents) == 1


async def test_parts_of_the_store_make_up_the_whole(fake: FakeService) -> None:
    keys = [original_key(sha256_of(str(n))) for n in range(40)]
    fake.blobs.contents = dict.fromkeys(keys, b"bytes")

    removed = [
        await fake.service.housekeeping.collect_orphans(part=part, parts=8) for part in range(8)
    ]

    assert sum(removed) == 40
    assert max(removed) < 40


async def test_bytes_come_back_when_the_rows_can_not_be_removed(fake: FakeService) -> None:
    """As when the connection is lost that held the lock: an upload may have come in between."""
    media = await fake.upload(picture())
    await fake.service.deleting.delete(media.id, user=media.owner)

    async def fail() -> None:
        raise DatabaseUnavailable

    fake.database.before["commit"] = fail
    assert await fake.service.housekeeping.sweep(grace=timedelta()) == SweepReport(failures=1)

    assert original_key(media.sha256) in fake.blobs.contents
