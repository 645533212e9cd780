from __future__ import annotations

import dataclasses

import pytest
from fakes.samples import NOON, a_blob, a_media, a_stored_rendition, sha256_of
from media_service.core.blobs import (
    DELETING,
    content_lock,
    developing_lock,
    is_of_deletion,
    key_named,
    labelled_at,
    may_have_gone,
    new_label,
    original_key,
    parse_key,
    rendition_key,
)
from media_service.core.media import Sha256

SHA = sha256_of("content")


def test_originals_and_renditions_lie_under_their_hash() -> None:
    assert original_key(SHA) == f"originals/{SHA[:2]}/{SHA[2:4]}/{SHA}"
    made = rendition_key(SHA, "fit-1", checksum=sha256_of("made"))
    assert made == f"renditions/{SHA[:2]}/{SHA[2:4]}/{SHA}.fit-1.{sha256_of('made')[:16]}"


def test_keys_can_be_told_again() -> None:
    assert parse_key(a_blob().key) == (a_blob().sha256, "")
    rendition = a_stored_rendition()
    assert parse_key(rendition.key) == (rendition.source, rendition.recipe_key)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (rendition_key(SHA, "transformed-fit-1", checksum=SHA), True),
        (rendition_key(SHA, "fit-1", checksum=SHA), False),
        (original_key(SHA), False),
        ("transformed-fit-1", False),
    ],
)
def test_only_transformations_may_have_gone(key: str, expected: bool) -> None:
    assert may_have_gone(key) is expected


def test_keys_of_renditions_without_a_checksum_are_still_ours() -> None:
    before = f"renditions/{SHA[:2]}/{SHA[2:4]}/{SHA}.fit-1"

    assert parse_key(before) == (SHA, "fit-1")


@pytest.mark.parametrize(
    "key",
    [
        "",
        SHA,
        f"originals/{SHA}",
        f"other/ab/cd/{SHA}",
        f"originals/ab/cd/{SHA}/",
        f"originals/ab/cd/{SHA.upper()}",
        f"originals/ab/cd/{SHA[:-1]}",
        f"renditions/ab/cd/{SHA}.",
        f"renditions/ab/cd/{SHA}.fit/../x",
        f"renditions/ab/cd/{SHA}.tmp~",
        f"renditions/{SHA[:2]}/{SHA[2:4]}/{SHA}.fit-1.0123456789abcde",
        f"renditions/{SHA[:2]}/{SHA[2:4]}/{SHA}.fit-1.0123456789abcdef0",
        f"renditions/{SHA[:2]}/{SHA[2:4]}/{SHA}.fit-1.0123456789abcdef.x",
        f"originals/ab/cd/{SHA}\n",
    ],
)
def test_keys_of_other_shapes_are_not_ours(key: str) -> None:
    assert parse_key(key) is None


def test_a_name_tells_its_key() -> None:
    for key in (a_blob().key, a_stored_rendition().key):
        assert key_named(key.rpartition("/")[2]) == key
    for name in ("", "readme.txt", f"{SHA}.", f"{SHA}.TMP", SHA[:-1]):
        assert key_named(name) is None


def test_a_label_tells_when_it_was_made() -> None:
    label = new_label("fsck", NOON)

    assert labelled_at(label) == NOON
    assert label.startswith("fsck-20300101t120000-")
    assert new_label("fsck", NOON) != label


def test_what_deletions_set_aside_is_told_from_the_rest_of_the_trash() -> None:
    assert is_of_deletion(new_label(DELETING, NOON))
    assert not is_of_deletion(new_label("fsck", NOON))


@pytest.mark.parametrize("kind", ["", "Fsck", "a-b", "../x", "x" * 17])
def test_the_kind_of_a_label_is_one_word(kind: str) -> None:
    with pytest.raises(ValueError):
        new_label(kind, NOON)


def test_locks_are_signed_64_bit_numbers() -> None:
    for lock in (content_lock, developing_lock):
        assert lock(Sha256("00" * 32)) == 0
        assert lock(Sha256("ff" * 32)) == -1
        assert lock(Sha256("7f" + "ff" * 31)) <= 2**63 - 1
        assert lock(Sha256("80" + "00" * 31)) >= -(2**63)


def test_a_content_has_two_locks_of_its_own() -> None:
    contents = [sha256_of(str(n)) for n in range(100)]
    locks = {lock(content) for content in contents for lock in (content_lock, developing_lock)}

    assert len(locks) == 200


def test_a_rendition_that_was_made_has_the_sizes_it_really_has() -> None:
    planned = a_media().renditions[1]
    stored = dataclasses.replace(a_stored_rendition(), width=149, height=151, size_bytes=77)

    made = stored.as_made(planned)

    assert (made.width, made.height, made.size_bytes) == (149, 151, 77)
    assert (made.name, made.recipe) == (planned.name, planned.recipe)
