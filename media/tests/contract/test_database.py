"""What every Database promises: the one in memory, and PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import unicodedata
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import asyncpg
import orjson
import pytest
from fakes.in_memory_database import InMemoryDatabase, QueuedJob, RowRefused
from fakes.postgres_server import Databases
from fakes.relay import Relay, open_relay
from fakes.samples import (
    ALICE,
    BOB,
    NOON,
    a_blob,
    a_media,
    a_recipe,
    a_stored_rendition,
    an_inspection,
    sha256_of,
)
from media_service.core.blobs import BlobState, LockNumber, hash_range
from media_service.core.errors import DatabaseUnavailable, IdempotencyKeyReused
from media_service.core.formats import Format
from media_service.core.media import (
    Media,
    MediaId,
    MediaType,
    ProcessingStatus,
    Purpose,
    Sha256,
    Visibility,
    new_media_id,
)
from media_service.core.ports import Database
from media_service.core.recipes import Encoding, Shape
from media_service.core.renditions import ProcessingOptions
from media_service.infra.postgres.database import open_database

REFUSED = (RowRefused, asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What a row that breaks a rule of the schema meets. A bug, so none of our errors."""
LOCK = LockNumber(7)
OTHER_LOCK = LockNumber(-(2**63))
SECOND = timedelta(seconds=1)


class Subject(Protocol):
    """A database under test, and what the suite needs to know and do beside its port."""

    database: Database

    async def jobs(self) -> list[QueuedJob]:
        """The jobs that workers see."""

    async def go_away(self) -> None:
        """Break every connection and accept no more."""

    async def come_back(self) -> None:
        """Be there again."""


class InMemorySubject:
    def __init__(self) -> None:
        self._fake = InMemoryDatabase()
        self.database: Database = self._fake

    async def jobs(self) -> list[QueuedJob]:
        return self._fake.jobs

    async def go_away(self) -> None:
        self._fake.go_away()

    async def come_back(self) -> None:
        self._fake.come_back()


class PostgresSubject:
    def __init__(self, database: Database, url: str, relay: Relay) -> None:
        self.database = database
        self._url = url
        self._relay = relay

    async def jobs(self) -> list[QueuedJob]:
        connection = await asyncpg.connect(self._url)
        rows = await connection.fetch("select args from procrastinate_jobs order by id")
        await connection.close()
        jobs = [orjson.loads(row["args"]) for row in rows]
        return [QueuedJob(job["media_id"], job["revision"]) for job in jobs]

    async def go_away(self) -> None:
        await self._relay.cut()

    async def come_back(self) -> None:
        await self._relay.mend()


@asynccontextmanager
async def _open_postgres_subject(databases: Databases) -> AsyncIterator[Subject]:
    async with databases.borrow() as url:
        [host] = parse_qs(urlsplit(url).query)["host"]
        with tempfile.TemporaryDirectory() as folder:
            async with (
                open_relay(Path(folder), target=Path(host) / ".s.PGSQL.5432") as relay,
                open_database(url.replace(host, folder), max_connections=8) as database,
            ):
                yield PostgresSubject(database, url, relay)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "memory":
        yield InMemorySubject()
        return
    async with _open_postgres_subject(request.getfixturevalue("databases")) as opened:
        yield opened


@pytest.fixture
def database(subject: Subject) -> Database:
    return subject.database


async def _inserted(database: Database, media: Media) -> Media:
    """The medium, after it and its blob were stored."""
    async with database.transaction() as rows:
        await rows.blobs.keep(a_blob(sha256=media.sha256))
        await rows.media.insert(media)
    return media


async def _roll_back(transaction: AsyncExitStack) -> None:
    """End the transaction with an error, which passes as it is."""
    error = LookupError()
    assert not await transaction.__aexit__(LookupError, error, None)


async def _found(database: Database, media: Media) -> Media:
    return (await database.latest.media.find([media.id]))[media.id]


# Media


async def test_a_medium_comes_back_as_it_was_inserted(database: Database) -> None:
    media = await _inserted(database, a_media())

    assert await _found(database, media) == media


async def test_every_field_of_a_medium_is_kept(database: Database) -> None:
    options = ProcessingOptions(
        generate_thumbnails=True, generate_blurhash=False, quality=70, max_width=900, max_height=1
    )
    plan = a_media().renditions
    moving = dataclasses.replace(
        plan[0], recipe=a_recipe(animated=True, encoding=Encoding.WEBP), size_bytes=2**40
    )
    media = a_media(
        options=options,
        renditions=(moving, *plan[1:]),
        size_bytes=2**40,
        duration_ms=2**40,
        revision=12,
        policy_version=3,
        deduplicated=True,
        failure_code="broken_file",
        idempotency_key="k" * 128,
        created_at=datetime(2030, 1, 1, 0, 0, 0, 123456, UTC),
        expires_at=NOON + timedelta(days=1),
    )

    await _inserted(database, media)

    assert await _found(database, media) == media


async def test_every_value_of_every_enumeration_is_kept(database: Database) -> None:
    plain = a_media()
    recipes = [a_recipe(shape=shape, encoding=e) for shape in Shape for e in Encoding]
    renditions = [dataclasses.replace(plain.renditions[0], recipe=recipe) for recipe in recipes]
    media = [
        *(a_media(purpose=purpose) for purpose in Purpose),
        *(a_media(media_type=media_type) for media_type in MediaType),
        *(a_media(visibility=visibility) for visibility in Visibility),
        *(a_media(status=status) for status in ProcessingStatus),
        *(a_media(renditions=(rendition,)) for rendition in renditions),
    ]
    for each in media:
        await _inserted(database, each)

    found = await database.latest.media.find([m.id for m in media])

    assert found == {m.id: m for m in media}


async def test_text_is_kept_as_it_is(database: Database) -> None:
    texts = [
        'o\'clock "quoted" `ticked`',
        "'; drop table media; --",
        "back\\slash \\x00 \\u0000 %s $1 {} :name",
        "👩\u200d👩\u200d👧 مرحبا 漢字",
        "\u202egpj.exe",
        "tab\tnewline\r\n",
        "\U0010ffff",
        "x" * 100_000,
    ]
    media = [await _inserted(database, a_media(filename=text)) for text in texts]

    found = await database.latest.media.find([m.id for m in media])

    assert [found[m.id].filename for m in media] == texts


async def test_names_in_either_form_of_unicode_are_two_names(database: Database) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
    first = await _inserted(database, a_media(filename=composed))
    second = await _inserted(database, a_media(filename=decomposed))

    found = await database.latest.media.find([first.id, second.id])

    assert found[first.id].filename == composed
    assert found[second.id].filename == decomposed


async def test_text_with_a_nul_is_refused_as_a_bug(database: Database) -> None:
    with pytest.raises(REFUSED):
        await _inserted(database, a_media(filename="a\0b"))


async def test_only_media_that_are_there_are_found(database: Database) -> None:
    media = await _inserted(database, a_media())

    found = await database.latest.media.find([media.id, new_media_id(), media.id])

    assert list(found) == [media.id]
    assert await database.latest.media.find([]) == {}


async def test_deleted_media_are_found(database: Database) -> None:
    media = await _inserted(database, a_media())

    await database.latest.media.update(media.deleted(NOON), revision=1)

    assert (await _found(database, media)).deleted_at == NOON


async def test_an_id_can_be_inserted_only_once(database: Database) -> None:
    media = await _inserted(database, a_media())

    with pytest.raises(REFUSED):
        await database.latest.media.insert(dataclasses.replace(media, filename="other.jpg"))


async def test_a_medium_without_its_blob_is_refused(database: Database) -> None:
    with pytest.raises(REFUSED):
        await database.latest.media.insert(a_media())


async def test_an_update_writes_all_that_can_change(database: Database) -> None:
    media = await _inserted(database, a_media(idempotency_key="key"))
    changed = dataclasses.replace(
        media,
        filename="b.png",
        blurhash="new",
        status=ProcessingStatus.FAILED,
        failure_code="broken_file",
        options=ProcessingOptions(generate_thumbnails=False, generate_blurhash=True),
        renditions=media.renditions[:1],
        policy_version=2,
        revision=2,
        idempotency_key="",
        updated_at=NOON + SECOND,
        deleted_at=NOON + SECOND,
        stage_percent=40,
    )

    assert await database.latest.media.update(changed, revision=1)

    assert await _found(database, media) == changed


async def test_an_update_keeps_what_can_not_change(database: Database) -> None:
    media = await _inserted(database, a_media())
    await database.latest.blobs.keep(a_blob("other"))
    other = a_media(
        a_blob("other"),
        id=media.id,
        owner=BOB,
        purpose=Purpose.STORY,
        visibility=Visibility.PRIVATE,
        created_at=NOON - SECOND,
        expires_at=NOON,
        deduplicated=True,
    )

    assert await database.latest.media.update(other, revision=1)

    assert await _found(database, media) == media


async def test_an_update_of_another_revision_changes_nothing(database: Database) -> None:
    media = await _inserted(database, a_media(revision=2))
    late = dataclasses.replace(media, status=ProcessingStatus.FAILED, revision=1)

    assert not await database.latest.media.update(late, revision=1)

    assert await _found(database, media) == media


async def test_an_update_of_a_deleted_medium_changes_nothing(database: Database) -> None:
    media = await _inserted(database, a_media(deleted_at=NOON))
    late = dataclasses.replace(media, filename="late.jpg", deleted_at=None)

    assert not await database.latest.media.update(late, revision=1)

    assert await _found(database, media) == media


async def test_progress_only_grows(database: Database) -> None:
    media = await _inserted(database, a_media(stage_percent=10))

    for percent in (50, 40, 50):
        assert await database.latest.media.note_progress(media.id, revision=1, percent=percent)

    assert await _found(database, media) == dataclasses.replace(media, stage_percent=50)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": ProcessingStatus.COMPLETED},
        {"status": ProcessingStatus.FAILED},
        {"revision": 2},
        {"deleted_at": NOON},
    ],
)
async def test_progress_of_what_is_over_is_not_noted(
    database: Database, changes: dict[str, Any]
) -> None:
    media = await _inserted(database, a_media(**changes))

    assert not await database.latest.media.note_progress(media.id, revision=1, percent=50)

    assert await _found(database, media) == media


async def test_progress_of_no_medium_is_not_noted(database: Database) -> None:
    media_id = new_media_id()

    assert not await database.latest.media.note_progress(media_id, revision=1, percent=50)


async def test_an_update_of_no_medium_says_so(database: Database) -> None:
    assert not await database.latest.media.update(a_media(), revision=1)


@pytest.mark.parametrize("over", [ProcessingStatus.COMPLETED, ProcessingStatus.FAILED])
async def test_work_that_is_over_is_not_changed_by_who_comes_late(
    database: Database, over: ProcessingStatus
) -> None:
    media = await _inserted(database, a_media(status=over))

    for late in set(ProcessingStatus) - {ProcessingStatus.COMPLETED}:
        assert not await database.latest.media.update(media.advanced(late, NOON), revision=1)

    assert await _found(database, media) == media


async def test_what_is_completed_can_not_be_completed_again(database: Database) -> None:
    media = await _inserted(database, a_media(status=ProcessingStatus.COMPLETED))
    late = dataclasses.replace(media, updated_at=NOON + SECOND)

    assert not await database.latest.media.update(late, revision=1)

    assert await _found(database, media) == media


async def test_what_failed_may_still_be_completed(database: Database) -> None:
    media = await _inserted(database, a_media(status=ProcessingStatus.FAILED))
    late = media.advanced(ProcessingStatus.COMPLETED, NOON)

    assert await database.latest.media.update(late, revision=1)

    assert await _found(database, media) == late


@pytest.mark.parametrize("over", [ProcessingStatus.COMPLETED, ProcessingStatus.FAILED])
async def test_a_medium_whose_work_is_over_can_be_deleted(
    database: Database, over: ProcessingStatus
) -> None:
    media = await _inserted(database, a_media(status=over))

    assert await database.latest.media.update(media.deleted(NOON), revision=1)

    assert (await _found(database, media)).deleted_at == NOON


@pytest.mark.parametrize("over", [ProcessingStatus.COMPLETED, ProcessingStatus.FAILED])
async def test_a_medium_whose_work_is_over_can_begin_a_new_revision(
    database: Database, over: ProcessingStatus
) -> None:
    media = await _inserted(database, a_media(status=over))
    anew = dataclasses.replace(media, status=ProcessingStatus.PENDING, revision=2)

    assert await database.latest.media.update(anew, revision=1)

    assert await _found(database, media) == anew


# Idempotency keys


async def test_a_medium_is_found_by_its_idempotency_key(database: Database) -> None:
    media = await _inserted(database, a_media(idempotency_key="k"))

    assert await database.latest.media.find_by_idempotency_key(ALICE, "k") == media


async def test_a_key_of_another_owner_is_another_key(database: Database) -> None:
    await _inserted(database, a_media(idempotency_key="k"))

    assert await database.latest.media.find_by_idempotency_key(BOB, "k") is None
    await _inserted(database, a_media(idempotency_key="k", owner=BOB))


async def test_no_key_is_never_taken_and_never_found(database: Database) -> None:
    await _inserted(database, a_media(idempotency_key=""))
    await _inserted(database, a_media(idempotency_key=""))

    assert await database.latest.media.find_by_idempotency_key(ALICE, "") is None


async def test_a_taken_key_is_refused(database: Database) -> None:
    await _inserted(database, a_media(idempotency_key="k"))

    with pytest.raises(IdempotencyKeyReused):
        await _inserted(database, a_media(idempotency_key="k"))


async def test_a_deleted_medium_gives_its_key_back(database: Database) -> None:
    first = await _inserted(database, a_media(idempotency_key="k"))
    await database.latest.media.update(first.deleted(NOON), revision=1)

    assert await database.latest.media.find_by_idempotency_key(ALICE, "k") is None
    await _inserted(database, a_media(idempotency_key="k"))


async def test_of_two_inserts_of_a_key_at_once_one_is_refused(database: Database) -> None:
    async with database.transaction() as rows:
        await rows.blobs.keep(a_blob())
        await rows.media.insert(first := a_media(idempotency_key="k"))
        rival = asyncio.create_task(_inserted(database, a_media(idempotency_key="k")))
        await _settle(rival)

    with pytest.raises(IdempotencyKeyReused):
        await rival
    assert await database.latest.media.find_by_idempotency_key(ALICE, "k") == first


async def test_a_key_is_free_again_when_its_transaction_is_rolled_back(database: Database) -> None:
    transaction = AsyncExitStack()
    rows = await transaction.enter_async_context(database.transaction())
    await rows.blobs.keep(a_blob())
    await rows.media.insert(a_media(idempotency_key="k"))
    rival = asyncio.create_task(_inserted(database, a_media(idempotency_key="k")))
    await _settle(rival)

    await _roll_back(transaction)

    media = await rival
    assert await database.latest.media.find_by_idempotency_key(ALICE, "k") == media


# Expiry


async def test_expired_media_are_listed_oldest_first(database: Database) -> None:
    ends = [NOON - SECOND, NOON - 2 * SECOND, NOON]
    second, first, third = [
        await _inserted(database, a_media(expires_at=expires_at)) for expires_at in ends
    ]

    assert await database.latest.media.expired(NOON, limit=9) == [first, second, third]
    assert await database.latest.media.expired(NOON, limit=2) == [first, second]
    assert await database.latest.media.expired(NOON, limit=9, after=first) == [second, third]
    assert await database.latest.media.expired(NOON, limit=9, after=third) == []


async def test_its_clock_goes_on_during_a_transaction(database: Database) -> None:
    earlier = await database.latest.now()
    async with database.transaction() as rows:
        first = await rows.now()
        second = await rows.now()

    assert earlier.utcoffset() == timedelta(0)
    assert earlier <= first <= second


async def test_media_without_or_before_their_expiry_are_not_expired(database: Database) -> None:
    await _inserted(database, a_media())
    await _inserted(database, a_media(expires_at=NOON + timedelta(microseconds=1)))

    assert await database.latest.media.expired(NOON, limit=9) == []


async def test_deleted_media_are_not_expired(database: Database) -> None:
    media = await _inserted(database, a_media(expires_at=NOON))

    await database.latest.media.update(media.deleted(NOON), revision=1)

    assert await database.latest.media.expired(NOON, limit=9) == []


# Blobs


async def test_blobs_come_back_as_they_were_kept(database: Database) -> None:
    told = an_inspection(frames=7, duration_ms=2**40, has_transparency=True, blurhash="L'\"%")
    blobs = [a_blob(f, format=f, size_bytes=2**40, inspection=told) for f in Format]
    for blob in blobs:
        await database.latest.blobs.keep(blob)

    found = await database.latest.blobs.find([blob.sha256 for blob in blobs])

    assert found == {blob.sha256: blob for blob in blobs}


async def test_only_blobs_that_are_there_are_found(database: Database) -> None:
    await database.latest.blobs.keep(blob := a_blob())

    found = await database.latest.blobs.find([sha256_of("none"), blob.sha256, Sha256("")])

    assert list(found) == [blob.sha256]
    assert await database.latest.blobs.find([]) == {}


async def test_a_blob_that_is_kept_again_stays_as_it_was(database: Database) -> None:
    await database.latest.blobs.keep(blob := a_blob())

    await database.latest.blobs.keep(a_blob(inspection=an_inspection(width=1)))

    assert await database.latest.blobs.find([blob.sha256]) == {blob.sha256: blob}


async def test_a_blob_that_nobody_holds_is_condemned(database: Database) -> None:
    await database.latest.blobs.keep(blob := a_blob())

    await database.latest.blobs.condemn_unheld(blob.sha256, now=NOON)

    found = (await database.latest.blobs.find([blob.sha256]))[blob.sha256]
    assert (found.state, found.condemned_at) == (BlobState.CONDEMNED, NOON)


async def test_a_blob_that_is_held_is_not_condemned(database: Database) -> None:
    media = await _inserted(database, a_media())
    await _inserted(database, a_media(deleted_at=NOON))

    await database.latest.blobs.condemn_unheld(media.sha256, now=NOON)

    found = (await database.latest.blobs.find([media.sha256]))[media.sha256]
    assert found.state is BlobState.LIVE


async def test_deleted_media_hold_nothing(database: Database) -> None:
    media = await _inserted(database, a_media(deleted_at=NOON))

    await database.latest.blobs.condemn_unheld(media.sha256, now=NOON)

    [condemned] = await database.latest.blobs.condemned(NOON, limit=9)
    assert condemned.sha256 == media.sha256


async def test_a_condemned_blob_keeps_its_date(database: Database) -> None:
    await database.latest.blobs.keep(blob := a_blob())
    await database.latest.blobs.condemn_unheld(blob.sha256, now=NOON)

    await database.latest.blobs.condemn_unheld(blob.sha256, now=NOON + SECOND)

    found = await database.latest.blobs.find([blob.sha256])
    assert found[blob.sha256].condemned_at == NOON


async def test_no_blob_can_be_condemned(database: Database) -> None:
    await database.latest.blobs.condemn_unheld(sha256_of("none"), now=NOON)

    assert await database.latest.blobs.find([sha256_of("none")]) == {}


async def test_keeping_a_condemned_blob_revives_it(database: Database) -> None:
    await database.latest.blobs.keep(blob := a_blob())
    await database.latest.blobs.condemn_unheld(blob.sha256, now=NOON)
    condemned = (await database.latest.blobs.find([blob.sha256]))[blob.sha256]

    await database.latest.blobs.keep(condemned)

    assert await database.latest.blobs.find([blob.sha256]) == {blob.sha256: blob}
    assert await database.latest.blobs.condemned(NOON, limit=9) == []


async def test_a_blob_found_condemned_and_removed_since_is_kept_live(database: Database) -> None:
    condemned = a_blob(state=BlobState.CONDEMNED, condemned_at=NOON)

    await database.latest.blobs.keep(condemned)

    found = await database.latest.blobs.find([condemned.sha256])
    assert found == {condemned.sha256: a_blob()}


async def test_condemned_blobs_are_listed_oldest_first(database: Database) -> None:
    for name, condemned_at in [("b", NOON), ("a", NOON - SECOND), ("c", NOON + SECOND)]:
        await database.latest.blobs.keep(a_blob(name))
        await database.latest.blobs.condemn_unheld(sha256_of(name), now=condemned_at)

    both = [sha256_of("a"), sha256_of("b")]
    found = await database.latest.blobs.condemned(NOON, limit=9)
    assert [blob.sha256 for blob in found] == both
    assert await database.latest.blobs.condemned(NOON, limit=1) == found[:1]
    assert await database.latest.blobs.condemned(NOON, limit=9, after=found[0]) == found[1:]
    assert await database.latest.blobs.condemned(NOON, limit=9, after=found[1]) == []


async def test_damage_is_noted_once(database: Database) -> None:
    blob = a_blob()
    await database.latest.blobs.keep(blob)

    assert await database.latest.blobs.note_damage(blob.sha256, now=NOON)
    assert not await database.latest.blobs.note_damage(blob.sha256, now=NOON + SECOND)
    assert not await database.latest.blobs.note_damage(sha256_of("not there"), now=NOON)

    assert (await database.latest.blobs.find([blob.sha256]))[blob.sha256].damaged_at == NOON
    assert await database.latest.blobs.count_damaged() == 1


async def test_the_note_on_damage_goes_when_the_blob_is_sound_or_kept_again(
    database: Database,
) -> None:
    blob = a_blob()
    await database.latest.blobs.keep(blob)
    for mend in (database.latest.blobs.note_sound, lambda _: database.latest.blobs.keep(blob)):
        await database.latest.blobs.note_damage(blob.sha256, now=NOON)
        await mend(blob.sha256)
        assert await database.latest.blobs.find([blob.sha256]) == {blob.sha256: blob}

    assert not await database.latest.blobs.note_sound(blob.sha256)
    assert await database.latest.blobs.count_damaged() == 0


async def test_blobs_are_listed_by_ranges_of_their_hashes(database: Database) -> None:
    blobs = sorted((a_blob(str(n)) for n in range(20)), key=lambda blob: blob.sha256)
    for blob in blobs:
        await database.latest.blobs.keep(blob)
    await database.latest.media.insert(a_media(blobs[3]))

    found = [
        held
        for part in range(3)
        for held in await database.latest.blobs.within(*hash_range(part, 3), limit=99)
    ]
    assert [held.blob for held in found] == blobs
    assert [held.blob for held in found if held.is_held] == [blobs[3]]

    after = f"{blobs[4].sha256}00"
    page = await database.latest.blobs.within(after, hash_range(0, 1)[1], limit=2)
    assert [held.blob for held in page] == blobs[5:7]


async def test_a_rendition_is_forgotten_unless_it_was_replaced(database: Database) -> None:
    blob = a_blob()
    await database.latest.blobs.keep(blob)
    old = a_stored_rendition(blob)
    new = dataclasses.replace(old, checksum=sha256_of("new"))
    await database.latest.renditions.put([new])

    await database.latest.renditions.forget([old])
    assert await database.latest.renditions.made_of([blob.sha256]) == [new]

    await database.latest.renditions.forget([new])
    assert await database.latest.renditions.made_of([blob.sha256]) == []


async def test_an_owner_s_media_are_listed_in_pages_deleted_ones_too(database: Database) -> None:
    media = [await _inserted(database, a_media(id=new_media_id())) for _ in range(3)]
    await _inserted(database, a_media(owner=BOB))
    deleted = media[1].deleted(NOON)
    await database.latest.media.update(deleted, revision=1)
    owned = sorted([media[0], deleted, media[2]], key=lambda each: each.id)

    rows = database.latest.media
    assert await rows.owned_by(ALICE, limit=2) == owned[:2]
    assert await rows.owned_by(ALICE, after=owned[1].id, limit=2) == owned[2:]
    assert await rows.owned_by(ALICE, after=owned[2].id, limit=2) == []


async def test_only_rows_of_deleted_media_are_removed(database: Database) -> None:
    live, gone = [await _inserted(database, a_media(id=new_media_id())) for _ in range(2)]
    await database.latest.media.update(gone.deleted(NOON), revision=1)

    await database.latest.media.remove([live.id, gone.id])

    assert await database.latest.media.find([live.id, gone.id]) == {live.id: live}


async def test_rows_of_media_that_were_deleted_long_ago_are_removed(database: Database) -> None:
    media = [await _inserted(database, a_media(id=new_media_id())) for _ in range(4)]
    for each, deleted_at in zip(media, [NOON - SECOND, NOON, NOON + SECOND], strict=False):
        await database.latest.media.update(each.deleted(deleted_at), revision=1)

    assert await database.latest.media.remove_deleted(NOON, limit=1) == 1
    assert await database.latest.media.remove_deleted(NOON, limit=9) == 1
    assert await database.latest.media.remove_deleted(NOON, limit=9) == 0

    left = await database.latest.media.find([each.id for each in media])
    assert set(left) == {media[2].id, media[3].id}


async def test_media_of_a_content_are_found_and_those_that_failed(database: Database) -> None:
    held = await _inserted(database, a_media(id=new_media_id()))
    failed = await _inserted(
        database,
        a_media(id=new_media_id(), status=ProcessingStatus.FAILED, failure_code="media_damaged"),
    )
    gone = await _inserted(database, a_media(id=new_media_id()))
    await database.latest.media.update(gone.deleted(NOON), revision=1)
    rows = database.latest.media

    found = await rows.holding(held.sha256, limit=9)
    assert {each.id for each in found} == {held.id, failed.id}
    assert len(await rows.holding(held.sha256, limit=1)) == 1
    assert await rows.failed(held.sha256, code="media_damaged", limit=9) == [failed]
    assert await rows.failed(held.sha256, code="broken_file", limit=9) == []


async def test_media_that_wait_for_a_job_that_does_not_exist_are_found(
    database: Database,
) -> None:
    early = NOON - SECOND
    forgotten, queued = [
        await _inserted(database, a_media(id=new_media_id(), updated_at=early)) for _ in range(2)
    ]
    await database.latest.jobs.enqueue_developing(queued)
    done = a_media(id=new_media_id(), updated_at=early, status=ProcessingStatus.COMPLETED)
    for other in (done, a_media(id=new_media_id(), updated_at=NOON)):
        await _inserted(database, other)
    jobs = database.latest.jobs

    assert await jobs.forgotten(NOON, limit=9) == [forgotten]
    assert await jobs.forgotten(NOON, after=forgotten.id, limit=9) == []


async def test_media_that_failed_because_of_damage_that_is_healed_are_forgotten(
    database: Database,
) -> None:
    failed = await _inserted(
        database, a_media(status=ProcessingStatus.FAILED, failure_code="media_damaged")
    )
    await database.latest.blobs.note_damage(failed.sha256, now=NOON)
    assert await database.latest.jobs.forgotten(NOON, limit=9) == []

    await database.latest.blobs.note_sound(failed.sha256)

    assert await database.latest.jobs.forgotten(NOON, limit=9) == [failed]


async def test_a_removed_blob_takes_its_renditions_along(database: Database) -> None:
    kept = a_stored_rendition(a_blob("other"))
    for blob in (a_blob(), a_blob("other")):
        await database.latest.blobs.keep(blob)
        await database.latest.renditions.put([a_stored_rendition(blob)])

    await database.latest.blobs.remove(a_blob().sha256)

    sources = [a_blob().sha256, a_blob("other").sha256]
    assert list(await database.latest.blobs.find(sources)) == sources[1:]
    assert await database.latest.renditions.made_of(sources) == [kept]


async def test_a_deleted_medium_outlives_its_blob(database: Database) -> None:
    media = await _inserted(database, a_media(deleted_at=NOON))

    await database.latest.blobs.remove(media.sha256)

    assert await _found(database, media) == dataclasses.replace(media, sha256=Sha256(""))


async def test_a_blob_that_is_held_can_not_be_removed(database: Database) -> None:
    media = await _inserted(database, a_media())

    with pytest.raises(REFUSED):
        await database.latest.blobs.remove(media.sha256)

    assert await _found(database, media) == media


# Renditions


async def test_renditions_come_back_as_they_were_put(database: Database) -> None:
    await database.latest.blobs.keep(blob := a_blob())
    made = [a_stored_rendition(blob, a_recipe(width=width)) for width in (100, 200)]

    await database.latest.renditions.put(made)

    keys = (key for key in [made[0].recipe_key, "none", made[1].recipe_key])
    found = await database.latest.renditions.find(blob.sha256, recipe_keys=keys)
    assert found == {rendition.recipe_key: rendition for rendition in made}


async def test_renditions_of_other_recipes_are_not_found(database: Database) -> None:
    await database.latest.blobs.keep(a_blob())
    await database.latest.renditions.put([rendition := a_stored_rendition()])

    assert await database.latest.renditions.find(rendition.source, recipe_keys=[]) == {}
    assert await database.latest.renditions.find(rendition.source, recipe_keys=["fit"]) == {}


async def test_a_rendition_is_found_by_its_version(database: Database) -> None:
    await database.latest.blobs.keep(a_blob())
    await database.latest.renditions.put([rendition := a_stored_rendition()])
    find_version = database.latest.renditions.find_version

    assert await find_version(rendition.source, version=rendition.version) == rendition
    assert await find_version(rendition.source, version="0123456789") is None
    assert await find_version(sha256_of("none"), version=rendition.version) is None


async def test_every_rendition_of_some_originals_is_listed(database: Database) -> None:
    blobs = [a_blob(name) for name in "abc"]
    made = [a_stored_rendition(blob, a_recipe(width=w)) for blob in blobs for w in (100, 200)]
    for blob in blobs:
        await database.latest.blobs.keep(blob)
    await database.latest.renditions.put(made)

    listed = await database.latest.renditions.made_of([blobs[0].sha256, blobs[2].sha256])

    assert set(listed) == {*made[:2], *made[4:]}
    assert await database.latest.renditions.made_of([]) == []


async def test_a_rendition_put_again_is_replaced(database: Database) -> None:
    await database.latest.blobs.keep(a_blob())
    await database.latest.renditions.put([a_stored_rendition(content="first")])

    await database.latest.renditions.put([second := a_stored_rendition(content="the second")])

    assert await database.latest.renditions.made_of([second.source]) == [second]


async def test_a_rendition_without_its_original_is_refused(database: Database) -> None:
    with pytest.raises(REFUSED):
        await database.latest.renditions.put([a_stored_rendition()])


async def test_putting_no_renditions_is_no_error(database: Database) -> None:
    await database.latest.renditions.put([])


# Jobs


async def test_a_job_is_queued_when_its_transaction_commits(
    subject: Subject, database: Database
) -> None:
    media = a_media(revision=3)

    async with database.transaction() as rows:
        await rows.jobs.enqueue_developing(media)
        assert await subject.jobs() == []

    assert await subject.jobs() == [QueuedJob(media.id, 3)]


async def test_a_job_is_not_queued_when_its_transaction_is_rolled_back(
    subject: Subject, database: Database
) -> None:
    transaction = AsyncExitStack()
    rows = await transaction.enter_async_context(database.transaction())
    await rows.jobs.enqueue_developing(a_media())

    await _roll_back(transaction)

    assert await subject.jobs() == []


async def test_the_same_work_can_be_queued_twice(subject: Subject, database: Database) -> None:
    media = a_media()

    await database.latest.jobs.enqueue_developing(media)
    await database.latest.jobs.enqueue_developing(media)

    assert await subject.jobs() == [QueuedJob(media.id, 1)] * 2


# Transactions


async def test_changes_are_seen_inside_at_once_and_outside_at_commit(database: Database) -> None:
    media = a_media()

    async with database.transaction() as rows:
        await rows.blobs.keep(a_blob())
        await rows.media.insert(media)
        await rows.renditions.put([a_stored_rendition()])
        await rows.media.update(
            changed := media.advanced(ProcessingStatus.FAILED, NOON), revision=1
        )
        assert await rows.media.find([media.id]) == {media.id: changed}
        assert await rows.renditions.made_of([media.sha256]) == [a_stored_rendition()]
        assert await database.latest.media.find([media.id]) == {}
        assert await database.latest.blobs.find([media.sha256]) == {}
        assert await database.latest.renditions.made_of([media.sha256]) == []

    assert await _found(database, media) == changed
    assert await database.latest.renditions.made_of([media.sha256]) == [a_stored_rendition()]


@pytest.mark.parametrize("cause", [LookupError, OSError, TimeoutError, IdempotencyKeyReused])
async def test_an_error_undoes_everything_and_passes_as_it_is(
    database: Database, cause: type[Exception]
) -> None:
    kept = await _inserted(database, a_media())
    raised = cause()

    async def fail() -> None:
        async with database.transaction() as rows:
            await rows.media.update(kept.deleted(NOON), revision=1)
            await rows.blobs.keep(a_blob("new"))
            await rows.blobs.condemn_unheld(kept.sha256, now=NOON)
            raise raised

    with pytest.raises(cause) as caught:
        await fail()

    assert caught.value is raised
    assert await _found(database, kept) == kept
    assert list(await database.latest.blobs.find([kept.sha256, sha256_of("new")])) == [kept.sha256]


async def test_a_cancelled_transaction_undoes_everything(database: Database) -> None:
    begun = asyncio.Event()

    async def stay() -> None:
        async with database.transaction(LOCK) as rows:
            await rows.blobs.keep(a_blob())
            begun.set()
            await asyncio.Event().wait()

    staying = asyncio.create_task(stay())
    await begun.wait()
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying

    assert await database.latest.blobs.find([a_blob().sha256]) == {}
    await _takes(database, LOCK)


async def test_who_changes_a_changed_row_waits_and_looks_again(database: Database) -> None:
    media = await _inserted(database, a_media())

    async with database.transaction() as rows:
        await rows.media.update(media.deleted(NOON), revision=1)
        late = media.advanced(ProcessingStatus.COMPLETED, NOON)
        rival = asyncio.create_task(database.latest.media.update(late, revision=1))
        await _settle(rival)

    assert not await rival
    assert (await _found(database, media)).deleted_at == NOON


# Locks


async def _settle(task: asyncio.Task[object]) -> None:
    """Let the task go as far as it can, and see that it still waits."""
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done


async def _takes(database: Database, *locks: LockNumber) -> None:
    async with asyncio.timeout(5), database.transaction(*locks):
        pass


async def test_transactions_with_one_lock_go_one_after_the_other(database: Database) -> None:
    inside: list[str] = []

    async def go(name: str) -> None:
        async with database.transaction(LOCK) as rows:
            inside.append(f"{name} in")
            await rows.blobs.keep(a_blob(name))
            await asyncio.sleep(0)
            inside.append(f"{name} out")

    await asyncio.gather(*(go(name) for name in "abcdef"))

    assert [said.split()[1] for said in inside] == ["in", "out"] * 6
    assert [said.split()[0] for said in inside[::2]] == [said.split()[0] for said in inside[1::2]]


async def test_who_comes_after_a_lock_sees_what_was_committed_under_it(database: Database) -> None:
    async def upload_once() -> bool:
        async with database.transaction(LOCK) as rows:
            known = await rows.blobs.find([a_blob().sha256])
            await rows.blobs.keep(a_blob())
            return bool(known)

    known = await asyncio.gather(*(upload_once() for _ in range(5)))

    assert sorted(known) == [False, True, True, True, True]


async def test_transactions_with_other_locks_do_not_wait(database: Database) -> None:
    async with database.transaction(LOCK):
        await _takes(database, OTHER_LOCK)
        await _takes(database)


async def test_every_lock_of_several_is_held(database: Database) -> None:
    async with database.transaction(LOCK, OTHER_LOCK):
        for lock in (LOCK, OTHER_LOCK):
            rival = asyncio.create_task(_takes(database, lock))
            await _settle(rival)
            rival.cancel()
            await asyncio.wait([rival])


async def test_a_lock_may_be_named_twice(database: Database) -> None:
    await _takes(database, LOCK, LOCK)


async def test_a_lock_is_released_by_an_error(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.transaction(LOCK):
            raise LookupError

    await _takes(database, LOCK)


async def test_who_waits_for_a_lock_may_leave(database: Database) -> None:
    async with database.transaction(LOCK):
        rival = asyncio.create_task(_takes(database, OTHER_LOCK, LOCK))
        await _settle(rival)
        rival.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rival
        await _takes(database, OTHER_LOCK)

    await _takes(database, LOCK, OTHER_LOCK)


# Outages


async def test_a_database_that_is_away_says_so(subject: Subject, database: Database) -> None:
    await subject.go_away()

    with pytest.raises(DatabaseUnavailable):
        await database.latest.media.find([new_media_id()])
    with pytest.raises(DatabaseUnavailable):
        await database.latest.blobs.keep(a_blob())
    with pytest.raises(DatabaseUnavailable):
        await database.latest.jobs.enqueue_developing(a_media())
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction(LOCK):
            pass


async def test_a_transaction_whose_database_went_away_is_lost(
    subject: Subject, database: Database
) -> None:
    transaction = AsyncExitStack()
    rows = await transaction.enter_async_context(database.transaction(LOCK))
    await rows.blobs.keep(a_blob())
    await subject.go_away()

    with pytest.raises(DatabaseUnavailable):
        await transaction.aclose()

    await subject.come_back()
    assert await database.latest.blobs.find([a_blob().sha256]) == {}


async def test_a_statement_whose_database_went_away_says_so(
    subject: Subject, database: Database
) -> None:
    transaction = AsyncExitStack()
    rows = await transaction.enter_async_context(database.transaction(LOCK))
    await subject.go_away()

    with pytest.raises(DatabaseUnavailable):
        await rows.blobs.find([a_blob().sha256])

    await _roll_back(transaction)


async def test_an_error_outlasts_a_database_that_goes_away(
    subject: Subject, database: Database
) -> None:
    transaction = AsyncExitStack()
    await transaction.enter_async_context(database.transaction(LOCK))

    await subject.go_away()

    await _roll_back(transaction)


async def test_a_database_that_comes_back_serves_at_once(
    subject: Subject, database: Database
) -> None:
    media = await _inserted(database, a_media())
    for _ in range(3):
        await subject.go_away()
        with pytest.raises(DatabaseUnavailable):
            await database.latest.media.find([media.id])

        await subject.come_back()

        assert await _found(database, media) == media
        await _takes(database, LOCK)


# PostgreSQL alone


@pytest.mark.needs_postgres
async def test_who_waits_too_long_for_a_connection_is_told(database_url: str) -> None:
    async with (
        open_database(database_url, max_connections=1, patience_seconds=0.05) as database,
        database.transaction(),
    ):
        with pytest.raises(DatabaseUnavailable):
            await database.latest.media.find([new_media_id()])
        with pytest.raises(DatabaseUnavailable):
            await database.check()
        with pytest.raises(DatabaseUnavailable):
            await _takes(database)

    with pytest.raises(DatabaseUnavailable):
        await database.check()


@pytest.mark.needs_postgres
async def test_a_wrong_argument_is_a_bug_and_no_outage(database_url: str) -> None:
    async with open_database(database_url, max_connections=1) as database:
        await database.check()

        with pytest.raises(asyncpg.DataError):
            await database.latest.media.find([MediaId("nonsense")])


@pytest.mark.needs_postgres
async def test_a_database_that_was_never_there_says_so(tmp_path: Path) -> None:
    url = f"postgresql://mediad@/mediad?host={tmp_path}&port=5432"

    with pytest.raises(DatabaseUnavailable):
        async with open_database(url, max_connections=1):
            pass


async def test_a_url_that_is_none_is_a_wrong_setting_and_no_outage() -> None:
    with pytest.raises(ValueError, match="invalid DSN"):
        async with open_database("mysql://localhost/mediad", max_connections=1):
            pass


async def test_of_what_urls_asked_for_the_newest_are_told_apart(database: Database) -> None:
    blob = a_blob()
    await database.latest.blobs.keep(blob)
    recipes = [a_recipe(transformed=True, quality=quality) for quality in (10, 20, 30)]
    planned = a_stored_rendition(blob)
    await database.latest.renditions.put([planned])
    transformed = [
        dataclasses.replace(planned, recipe_key=recipe.key, version=recipe.version)
        for recipe in recipes
    ]
    for rendition in transformed:
        await database.latest.renditions.put([rendition])

    assert await database.latest.renditions.transformed(blob.sha256, but=2) == transformed[:1]
    assert await database.latest.renditions.transformed(blob.sha256, but=3) == []
    assert await database.latest.renditions.transformed(a_blob("other").sha256, but=0) == []
