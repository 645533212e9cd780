from __future__ import annotations

import dataclasses
import itertools

import pytest
from fakes.samples import ALICE
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import FakeService, fake_service
from media_service.core.blobs import hash_range, original_key
from media_service.core.errors import StorageUnavailable
from media_service.core.media import Media, ProcessingStatus
from media_service.core.scrubbing import Pace, ScrubReport


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def scrub(fake: FakeService, part: int = 0, parts: int = 1) -> ScrubReport:
    return await fake.service.scrubbing.scrub(part=part, parts=parts, pace=Pace(1e12))


def _size(fake: FakeService) -> int:
    return sum(map(len, fake.blobs.contents.values()))


async def test_everything_that_is_held_is_read(fake: FakeService) -> None:
    await fake.upload_done(picture("one"))
    await fake.upload(picture("two"))

    assert await scrub(fake) == ScrubReport(objects=6, size_bytes=_size(fake))


async def test_what_nobody_holds_is_not_looked_at(fake: FakeService) -> None:
    media = await fake.upload_done()
    await fake.service.deleting.delete(media.id, user=ALICE)
    fake.blobs.contents.clear()

    assert await scrub(fake) == ScrubReport()


async def test_a_rotten_original_is_noted(fake: FakeService) -> None:
    media = await fake.upload(picture())
    fake.blobs.contents[original_key(media.sha256)] = picture()[:-1] + b"x"

    assert (await scrub(fake)).damaged_originals == 1
    assert (await scrub(fake)).damaged_originals == 0

    assert await fake.service.housekeeping.count_damaged() == 1


async def test_an_original_that_is_right_again_is_noted_too(fake: FakeService) -> None:
    media = await fake.upload(picture())
    key = original_key(media.sha256)
    fake.blobs.contents[key] = b"rotten"
    await scrub(fake)
    await fake.service.processing.give_up(media.id, revision=1, code="media_damaged")
    fake.blobs.contents[key] = picture()

    assert (await scrub(fake)).healed_originals == 1

    await fake.work()
    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED
    assert await fake.service.housekeeping.count_damaged() == 0


async def _with_rotten_full(fake: FakeService) -> tuple[Media, str]:
    media = await fake.upload_done(picture())
    recipe = media.renditions[0].recipe
    key = fake.database.renditions[media.sha256, recipe.key].key
    fake.blobs.contents[key] = b"rotten"
    return media, key


async def test_a_rotten_rendition_is_made_anew(fake: FakeService) -> None:
    media, key = await _with_rotten_full(fake)

    assert (await scrub(fake)).damaged_renditions == 1

    made = developed_bytes(picture(), media.renditions[0].recipe)
    assert fake.blobs.contents[key] == made
    assert (await scrub(fake)).damaged_renditions == 0


async def test_a_rotten_rendition_that_no_medium_wants_any_more_is_forgotten(
    fake: FakeService,
) -> None:
    media, key = await _with_rotten_full(fake)
    fake.database.media[media.id] = dataclasses.replace(media, renditions=())

    await scrub(fake)

    assert key not in fake.blobs.contents
    assert (media.sha256, media.renditions[0].recipe.key) not in fake.database.renditions


async def test_a_store_that_is_away_is_no_damage(fake: FakeService) -> None:
    await fake.upload_done()
    fake.blobs.failure = StorageUnavailable()

    report = await scrub(fake)

    assert (report.failures, report.damaged_originals, report.damaged_renditions) == (5, 0, 0)
    assert await fake.service.housekeeping.count_damaged() == 0


async def test_parts_make_up_the_whole(fake: FakeService) -> None:
    for n in range(30):
        await fake.upload(picture(f"p{n}"))

    counts = [(await scrub(fake, part, 7)).objects for part in range(7)]

    assert sum(counts) == 30
    assert max(counts) < 30


@pytest.mark.parametrize("parts", [1, 3, 256, 43_200])
def test_parts_of_all_hashes_meet_and_leave_nothing_out(parts: int) -> None:
    ranges = [hash_range(part, parts) for part in range(parts)]

    assert ranges[0][0] == "0" * 16
    assert ranges[-1][1] > "f" * 64
    for (_, beyond), (start, _) in itertools.pairwise(ranges):
        assert beyond == start


async def test_no_more_than_the_budget_is_read() -> None:
    now, slept = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(100, clock=lambda: now, sleep=sleep)
    for _ in range(3):
        await pace.spend(50)
    now += 10  # what was not used is not saved up
    await pace.spend(100)

    assert slept == [0.5, 0.5, 0.5, 1.0]
