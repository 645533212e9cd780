"""Copies: what is copied from store to store, and what became of it."""

from __future__ import annotations

import dataclasses
import enum

from media_service.core.media import Sha256

_MOST_LISTED = 1000


class Kind(enum.StrEnum):
    """What is copied, in this order: renditions can be made again, originals can't."""

    ORIGINALS = "originals"
    RENDITIONS = "renditions"


class Outcome(enum.StrEnum):
    """What became of one object."""

    COPIED = "copied"
    HELD = "held"
    """It lay there already, whole."""
    GONE = "gone"
    """It was deleted meanwhile."""
    DAMAGED = "damaged"
    """It is missing or damaged where it should have been read from."""
    UNREADABLE = "unreadable"
    """A store or the database failed each time it was tried."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NamedObject:
    """An object that a row names."""

    key: str
    size_bytes: int
    checksum: Sha256
    source: Sha256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one kind is: hashes spread evenly, so the last one tells the part that is done."""

    kind: Kind
    part: float
    objects: int
    size_bytes: int


@dataclasses.dataclass(slots=True)
class CopyReport:
    """What became of how many objects, and which could not be copied, up to a thousand."""

    objects: dict[Outcome, int] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(Outcome, 0)
    )
    copied_bytes: int = 0
    held_bytes: int = 0
    failed: list[tuple[str, Outcome]] = dataclasses.field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether the other store holds every object that a row names."""
        return not (self.objects[Outcome.DAMAGED] or self.objects[Outcome.UNREADABLE])

    def add(self, named: NamedObject, outcome: Outcome) -> None:
        """Count an object."""
        self.objects[outcome] += 1
        if outcome is Outcome.COPIED:
            self.copied_bytes += named.size_bytes
        elif outcome is Outcome.HELD:
            self.held_bytes += named.size_bytes
        elif outcome is not Outcome.GONE and len(self.failed) < _MOST_LISTED:
            self.failed.append((named.key, outcome))
