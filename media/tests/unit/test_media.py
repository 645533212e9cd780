from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

import pytest
from fakes.samples import ALICE, BOB, NOON, a_media, an_inspection
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.errors import InvalidMediaId, MediaNotFound, NotTheOwner
from media_service.core.formats import Format
from media_service.core.media import (
    Media,
    ProcessingStatus,
    Purpose,
    Visibility,
    new_media_id,
    parse_media_id,
    require_owner,
)
from media_service.core.planning import plan_renditions
from media_service.core.purposes import DEFAULT_POLICIES

AN_ID = "0198c0de-1234-7abc-8def-0123456789ab"
SECOND = timedelta(seconds=1)


# Progress


def _film(made: AbstractSet[str] = frozenset(), **changes: Any) -> Media:
    """A film, of which this is made."""
    planned = plan_renditions(
        DEFAULT_POLICIES.of[Purpose.POST_ATTACHMENT].developing,
        format=Format.MP4,
        options=None,
        inspection=an_inspection(has_video=True),
    )
    renditions = tuple(dataclasses.replace(r, size_bytes=r.name in made) for r in planned)
    return a_media(renditions=renditions, status=ProcessingStatus.PROCESSING, **changes)


PREVIEW = {"poster", "320", "640", "1080"}
PLAYABLE = PREVIEW | {"full"}


@pytest.mark.parametrize(
    ("made", "percent", "shown"),
    [
        (set(), 0, 0),
        ({"poster", "320"}, 0, 50 // 3),
        (PREVIEW, 0, 33),
        (PREVIEW, 60, 160 // 3),
        (PLAYABLE, 0, 66),
        (PLAYABLE, 99, 299 // 3),
    ],
)
def test_each_stage_weighs_the_same(made: set[str], percent: int, shown: int) -> None:
    assert _film(made, stage_percent=percent).progress_percent == shown


def test_progress_is_100_only_when_the_work_is_over() -> None:
    everything = {r.name for r in _film().renditions}

    assert _film(everything).progress_percent == 99
    done = _film(everything).advanced(ProcessingStatus.COMPLETED, NOON)
    assert done.progress_percent == 100


def test_what_is_told_of_a_stage_ends_with_it() -> None:
    under_way = _film(PREVIEW, stage_percent=80)

    assert under_way.with_made(_film(PREVIEW).renditions).stage_percent == 80
    assert under_way.with_made(_film(PLAYABLE).renditions).stage_percent == 0


def test_a_new_revision_begins_at_nothing() -> None:
    again = _film(PREVIEW, stage_percent=80).begun_anew(NOON)

    assert (again.revision, again.stage_percent) == (2, 0)
    assert again.status is ProcessingStatus.PENDING


# Ids


def test_ids_are_version_7_uuids_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_media_id())
    after = time.time_ns() // 1_000_000

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    ids = [new_media_id() for _ in range(5000)]

    milliseconds = [uuid.UUID(media_id).int >> 80 for media_id in ids]
    assert milliseconds == sorted(milliseconds)


def test_no_two_ids_are_equal() -> None:
    assert len({new_media_id() for _ in range(5000)}) == 5000


@given(st.uuids())
def test_an_id_in_its_one_spelling_is_taken(value: uuid.UUID) -> None:
    assert parse_media_id(str(value)) == str(value)


def test_a_new_id_is_taken() -> None:
    media_id = new_media_id()

    assert parse_media_id(media_id) == media_id


def test_capitals_are_read_as_the_same_id() -> None:
    assert parse_media_id(AN_ID.upper()) == AN_ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        AN_ID[:-1],
        AN_ID + "0",
        AN_ID.replace("-", ""),
        AN_ID.replace("-", "") + "----",
        "{" + AN_ID + "}",
        "{" + AN_ID[1:-1] + "}",
        "urn:uuid:" + AN_ID,
        " " + AN_ID[1:],
        AN_ID[:-1] + "\n",
        AN_ID[:-1] + "\0",
        AN_ID[:-1] + "g",
        AN_ID[:-1] + "１",
        AN_ID.replace("1", "_", 1),
        AN_ID[0:7] + "-0" + AN_ID[9:],
        "../../../../../../../../etc/passwd__",
        "' or 1=1; drop table media; --------",
        "0" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(InvalidMediaId):
        parse_media_id(text)


@given(st.text(max_size=40))
def test_what_is_taken_is_spelled_as_uuids_are(text: str) -> None:
    try:
        parsed = parse_media_id(text)
    except InvalidMediaId:
        return
    assert parsed == text.lower() == str(uuid.UUID(parsed))


# Owners


def test_the_owner_gets_the_medium() -> None:
    media = a_media()

    assert require_owner(media, ALICE, now=NOON) == media


def test_the_owner_gets_a_deleted_medium() -> None:
    media = a_media(deleted_at=NOON)

    assert require_owner(media, ALICE, now=NOON) == media


def test_another_is_told_that_a_public_medium_is_not_theirs() -> None:
    with pytest.raises(NotTheOwner):
        require_owner(a_media(), BOB, now=NOON)


@pytest.mark.parametrize(
    "media",
    [
        None,
        a_media(visibility=Visibility.PRIVATE),
        a_media(deleted_at=NOON),
        a_media(expires_at=NOON),
        a_media(visibility=Visibility.PRIVATE, deleted_at=NOON),
    ],
    ids=["missing", "private", "deleted", "expired", "private and deleted"],
)
def test_another_can_not_tell_what_is_hidden_from_what_is_not_there(media: Media | None) -> None:
    with pytest.raises(MediaNotFound):
        require_owner(media, BOB, now=NOON)


# States


def test_a_medium_is_gone_from_the_moment_it_expires() -> None:
    media = a_media(expires_at=NOON)

    assert not media.is_gone(NOON - SECOND)
    assert media.is_gone(NOON)


def test_a_deleted_medium_is_gone() -> None:
    assert a_media(deleted_at=NOON).is_gone(NOON - SECOND)


@pytest.mark.parametrize("status", [ProcessingStatus.PENDING, ProcessingStatus.PROCESSING])
def test_deleting_cancels_work_that_is_not_done(status: ProcessingStatus) -> None:
    assert a_media(status=status).deleted(NOON).status is ProcessingStatus.CANCELLED


@pytest.mark.parametrize("status", [ProcessingStatus.COMPLETED, ProcessingStatus.FAILED])
def test_deleting_leaves_work_that_is_over_as_it_ended(status: ProcessingStatus) -> None:
    assert a_media(status=status).deleted(NOON).status is status


def test_a_deleted_medium_forgets_its_name_and_gives_its_key_back() -> None:
    deleted = a_media(filename="holiday.jpg", idempotency_key="k").deleted(NOON)

    assert (deleted.filename, deleted.idempotency_key) == ("", "")
    assert deleted.deleted_at == deleted.updated_at == NOON


def test_work_that_advances_forgets_why_it_failed() -> None:
    failed = a_media().advanced(ProcessingStatus.FAILED, NOON, failure_code="broken_file")

    assert failed.advanced(ProcessingStatus.PENDING, NOON).failure_code == ""
