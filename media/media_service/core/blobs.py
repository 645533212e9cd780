"""Blobs: distinct contents, each stored once under its hash, and where their bytes lie."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NewType

from media_service.core.formats import Format
from media_service.core.media import Media, Sha256
from media_service.core.recipes import TRANSFORMED, Recipe, VerbatimRecipe
from media_service.core.renditions import Inspection, Rendition


class BlobState(enum.StrEnum):
    """Whether media still hold a blob."""

    LIVE = "live"
    CONDEMNED = "condemned"
    """No medium holds it; the sweeper takes it after the grace period."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One distinct content, with what its inspection told."""

    sha256: Sha256
    size_bytes: int
    format: Format
    inspection: Inspection
    state: BlobState = BlobState.LIVE
    condemned_at: datetime | None = None
    damaged_at: datetime | None = None
    """When its bytes were found missing or wrong; None again when they are known to be right."""

    @property
    def key(self) -> str:
        """Where its bytes lie in the blob store."""
        return original_key(self.sha256)


@dataclasses.dataclass(frozen=True, slots=True)
class HeldBlob:
    """A blob, and whether a medium that is not deleted holds it."""

    blob: Blob
    is_held: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredRendition:
    """A rendition that has been made: shared by all media with equal bytes and recipe.

    One that `is_original` is the original itself: it lies where that does, and has no row.
    """

    source: Sha256
    recipe_key: str
    version: str
    content_type: str
    width: int
    height: int
    size_bytes: int
    checksum: Sha256
    is_original: bool = False

    @property
    def key(self) -> str:
        """Where its bytes lie in the blob store."""
        if self.is_original:
            return original_key(self.source)
        return rendition_key(self.source, self.recipe_key, checksum=self.checksum)

    def as_made(self, planned: Rendition) -> Rendition:
        """The planned rendition, with the sizes it really has."""
        return dataclasses.replace(
            planned, width=self.width, height=self.height, size_bytes=self.size_bytes
        )


def original_key(sha256: Sha256) -> str:
    """Where an original's bytes lie: `originals/ab/cd/abcd…`."""
    return f"{_folder('originals', sha256)}{sha256}"


def rendition_key(source: Sha256, recipe_key: str, *, checksum: Sha256) -> str:
    """Where a rendition's bytes lie: `renditions/ab/cd/abcd….<recipe>.<16 digits of its hash>`.

    Bytes that differ lie under keys that differ: who comes late never overwrites what a row names.
    """
    return f"{_folder('renditions', source)}{source}.{recipe_key}.{checksum[:16]}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """Bytes in a blob store, as its listing tells of them."""

    key: str
    size_bytes: int
    written_at: datetime


def stored(
    source: Sha256, recipe: Recipe, *, size_bytes: int, checksum: Sha256, size: tuple[int, int]
) -> StoredRendition:
    """The record of a rendition just made; `size` is its width and height in pixels."""
    return StoredRendition(
        source=source,
        recipe_key=recipe.key,
        version=recipe.version,
        content_type=recipe.content_type,
        width=size[0],
        height=size[1],
        size_bytes=size_bytes,
        checksum=checksum,
    )


def verbatim_of(media: Media) -> dict[str, StoredRendition]:
    """Those of a medium's renditions that are its original as it came, by recipe key."""
    made = (
        stored(
            media.sha256,
            rendition.recipe,
            size_bytes=media.size_bytes,
            checksum=media.sha256,
            size=(rendition.width, rendition.height),
        )
        for rendition in media.renditions
        if isinstance(rendition.recipe, VerbatimRecipe)
    )
    return {each.recipe_key: dataclasses.replace(each, is_original=True) for each in made}


def as_made(media: Media, made: Mapping[str, StoredRendition]) -> tuple[Rendition, ...]:
    """The medium's renditions, with the sizes of those that have been made, by recipe key."""
    return tuple(
        made[r.recipe.key].as_made(r)
        if r.recipe.key in made
        else dataclasses.replace(r, size_bytes=0)
        for r in media.renditions
    )


_NAME = re.compile(r"(?P<source>[0-9a-f]{64})(\.(?P<recipe>[a-z0-9-]+)(\.[0-9a-f]{16})?)?")


def parse_key(key: str) -> tuple[Sha256, str] | None:
    """The content hash and recipe (empty for an original) a key names; None if it is not ours.

    Renditions made before their keys carried a checksum are ours too: no row names them any more.
    """
    folder, slash, name = key.rpartition("/")
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    sha256, recipe_key = Sha256(match["source"]), match["recipe"] or ""
    expected = _folder("renditions" if recipe_key else "originals", sha256)
    return (sha256, recipe_key) if folder + slash == expected else None


def _folder(kind: str, sha256: Sha256) -> str:
    return f"{kind}/{sha256[:2]}/{sha256[2:4]}/"


def source_of(key: str) -> Sha256:
    """The hash of the original a key is of. Raises ValueError for what is no key."""
    parsed = parse_key(key)
    if parsed is None:
        raise ValueError(f"not a key of blobs: {key!r}")
    return parsed[0]


def may_have_gone(key: str) -> bool:
    """Whether it is no damage if nothing lies there: transformations go for newer ones."""
    parsed = parse_key(key)
    return parsed is not None and parsed[1].startswith(TRANSFORMED)


def key_named(name: str) -> str | None:
    """The key whose last part is this name; None if none of ours ends so."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    kind = "renditions" if match["recipe"] else "originals"
    return f"{_folder(kind, Sha256(match['source']))}{name}"


def hash_range(part: int, parts: int) -> tuple[str, str]:
    """The first hash of one of so many equal parts of all hashes, and the first beyond it."""
    first, beyond = (n * 2**64 // parts for n in (part, part + 1))
    return f"{first:016x}", f"{beyond:016x}" if beyond < 2**64 else "ff" * 33


_LABEL = re.compile(r"([a-z]{1,16})-([0-9]{8}t[0-9]{6})-[0-9a-f]{8}")
_MOMENT = "%Y%m%dt%H%M%S"
DELETING = "deleting"
"""What labels of deletions begin with: until one is over, what it set aside may come back."""


def new_label(kind: str, now: datetime) -> str:
    """A label for what goes into the trash together, for instance `fsck-20300101t120000-1f2e3d4c`.

    `kind` is one word of small letters.
    """
    label = f"{kind}-{now.astimezone(UTC):{_MOMENT}}-{secrets.token_hex(4)}"
    labelled_at(label)
    return label


@functools.lru_cache(1000)
def labelled_at(label: str) -> datetime:
    """When a label was made, to the second. Raises ValueError for what is no label."""
    match = _LABEL.fullmatch(label)
    if match is None:
        raise ValueError(f"not a label of the trash: {label!r}")
    return datetime.strptime(match[2], _MOMENT).replace(tzinfo=UTC)


def is_of_deletion(label: str) -> bool:
    """Whether a deletion set aside what has this label. Raises ValueError as `labelled_at`."""
    labelled_at(label)
    return label.partition("-")[0] == DELETING


LockNumber = NewType("LockNumber", int)
"""What a transaction holds against every other process: a signed 64-bit number."""


def content_lock(sha256: Sha256) -> LockNumber:
    """Held while a content's bytes and rows come or go."""
    return LockNumber(int.from_bytes(bytes.fromhex(sha256[:16]), "big", signed=True))


def developing_lock(sha256: Sha256) -> LockNumber:
    """Held while a content's renditions are made, so that only one process makes them."""
    return LockNumber(int.from_bytes(bytes.fromhex(sha256[16:32]), "big", signed=True))
