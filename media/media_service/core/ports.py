"""Ports: everything the core needs from outside, as promises. `infra` keeps them.

Adapters raise the errors of `core.errors` and nothing of their vendor's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from media_service.core.blobs import Blob, HeldBlob, LockNumber, StoredObject, StoredRendition
from media_service.core.jobs import Urgency
from media_service.core.media import Media, MediaId, Sha256, UserId


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> datetime:
        """Now, aware, in UTC."""


class StagedFile(Protocol):
    """A private file that is hashed as it grows; gone when its context ends."""

    @property
    def path(self) -> Path:
        """Where it is, on this machine."""

    @property
    def size_bytes(self) -> int:
        """How many bytes were written so far."""

    @property
    def sha256(self) -> Sha256:
        """The hash of what was written so far."""

    async def write(self, chunk: bytes | memoryview) -> None:
        """Append. Raises StorageFull, StorageUnavailable."""

    async def absorb(self) -> None:
        """Hash what another process wrote to `path`: size and hash are right from then on."""

    async def flush(self) -> None:
        """Return once a power cut can't lose what was written. Raises as `write`."""


class Staging(Protocol):
    """Where bytes wait until they are known to be good."""

    def new(self) -> AbstractAsyncContextManager[StagedFile]:
        """A new empty file. Raises StorageFull, StorageUnavailable."""

    async def discard_abandoned(self) -> int:
        """Remove what processes that are no more left behind; how many files that were."""

    async def count_abandoned(self) -> int:
        """How many files `discard_abandoned` would remove."""


class OpenBlob(Protocol):
    """Bytes that were found whole and right when they were opened."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""

    def at_hand(self, start: int, length: int) -> bytes | None:
        """`length` bytes from `start`, if they are in memory anyway."""

    def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces of at most 256 KB."""


class Deletion(Protocol):
    """Keys on their way out. Until it is over they can come back."""

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Take the keys' bytes away; those that are not there are no error.

        Raises StorageUnavailable.
        """


class Trash(Protocol):
    """Where bytes lie that no key leads to any more, by labels (see `core.blobs.new_label`).

    What raises does so with StorageUnavailable; ValueError for what is no key or label.
    """

    def deleting(self) -> AbstractAsyncContextManager[Deletion]:
        """A deletion that happens when its context ends, or not at all if that raises.

        Meanwhile the bytes lie in the trash, under a label of the kind `deleting`. A process that
        is killed leaves them there.
        """

    async def trash(self, keys: Iterable[str], *, label: str) -> None:
        """Take the keys' bytes away, into the trash; those that are not there are no error."""

    async def labels(self) -> list[str]:
        """Every label that something in the trash has, in their order."""

    async def restore(self, label: str) -> list[str]:
        """Put back what has this label, and answer its keys.

        Where something lies under the key again it stays, and what was in the trash goes.
        """

    async def empty_trash(self, *, before: datetime) -> int:
        """Let go for good what was put there before this moment; how many objects that were.

        What deletions have set aside stays: only `restore` brings an end to it.
        """

    async def discard_trashed(self, source: Sha256) -> int:
        """Let go for good the original of this hash and its renditions, whatever their label."""


class Blobs(Trash, Protocol):
    """Where bytes lie for good, under keys that never hold other bytes.

    A put or a delete that is cancelled has ended before it raises.
    """

    async def put_ahead(self, key: str, staged: StagedFile) -> None:
        """Do what can be done of `put` before anything is locked for it; promises nothing.

        What it leaves where no `put` follows is an orphan. Raises as `put`.
        """

    async def put(self, key: str, staged: StagedFile, *, anew: bool = False) -> None:
        """Return once the staged bytes lie under the key and survive a power cut.

        What lay there before is replaced, so that damage heals. Only a store that can prove that
        it holds these very bytes already may leave them, unless they are to be put `anew`. The
        staged file may be moved away. Raises StorageFull, StorageUnavailable.
        """

    def open(
        self, key: str, *, size_bytes: int, sha256: Sha256
    ) -> AbstractAsyncContextManager[OpenBlob]:
        """The bytes, checked against size and hash.

        Raises MediaDamaged if they are missing or others, StorageUnavailable.
        """

    def local_copy(
        self, key: str, *, size_bytes: int, sha256: Sha256
    ) -> AbstractAsyncContextManager[Path]:
        """A file on this machine with the bytes, to read only. Raises as `open`."""

    async def check(self, key: str, *, size_bytes: int, sha256: Sha256) -> None:
        """Read every byte as it lies in the store now, trusting nothing that is remembered.

        Raises as `open`; what was remembered of damaged bytes is forgotten.
        """

    async def check_store(self) -> None:
        """Return if the store takes bytes and gives them back. Asked often; cheap when all is well.

        What lies on the disk of `Staging` is checked there. Raises StorageFull, StorageUnavailable.
        """

    async def presigned_url(
        self, key: str, *, content_type: str, disposition: str, expires_in: timedelta
    ) -> str | None:
        """Where anybody can read the bytes for a while, without us; None if there is no such way.

        They are sent as what they are said to be. Raises MediaDamaged if they are missing,
        StorageUnavailable.
        """

    def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Everything under a whole folder (such as `originals/ab/`), in the order of the keys.

        Raises StorageUnavailable.
        """

    async def discard_abandoned_uploads(self, *, before: datetime) -> int:
        """Let go of uploads that began before this moment and never ended; how many that were.

        Raises StorageUnavailable.
        """


class MediaRows(Protocol):
    """The rows of media; deleted ones too."""

    async def find(self, ids: Sequence[MediaId]) -> dict[MediaId, Media]:
        """Those that are there."""

    async def find_by_idempotency_key(self, owner: UserId, key: str) -> Media | None:
        """The medium this owner uploaded under this key, unless it was deleted."""

    async def insert(self, media: Media) -> None:
        """Add a row. Raises IdempotencyKeyReused if owner and key are taken."""

    async def update(self, media: Media, *, revision: int) -> bool:
        """Write what can change, if the row may still change so; whether it did.

        It may not if it is deleted, or has another revision than this. What is COMPLETED stays
        so, and what is FAILED can only become COMPLETED, until a new revision begins or it is
        deleted: so who comes late undoes nothing.
        """

    async def note_progress(self, media_id: MediaId, *, revision: int, percent: int) -> bool:
        """Note how much of the stage under way is done; whether the row may still change so.

        It may while it is unfinished, not deleted, and of this revision. It is never less than
        was noted before, and nothing else is changed: who comes late undoes nothing.
        """

    async def expired(
        self, now: datetime, *, limit: int, after: Media | None = None
    ) -> list[Media]:
        """Media past their expiry that are not deleted yet, oldest first, those that come after."""

    async def holding(self, sha256: Sha256, *, limit: int) -> list[Media]:
        """Media of this content that are not deleted."""

    async def failed(self, sha256: Sha256, *, code: str, limit: int) -> list[Media]:
        """Media of this content that are FAILED with this code, and not deleted."""

    async def owned_by(
        self, owner: UserId, *, after: MediaId | None = None, limit: int
    ) -> list[Media]:
        """The owner's media, deleted ones too, in the order of their ids, those that come after."""

    async def remove(self, ids: Sequence[MediaId]) -> None:
        """Remove the rows of media that are deleted, for good, and what was to be told of them.

        Only that they were deleted is still told to whoever is to hear of it.
        """

    async def remove_deleted(self, before: datetime, *, limit: int) -> int:
        """Remove rows of media deleted before this moment, for good; how many."""


class BlobRows(Protocol):
    """The rows of blobs."""

    async def find(self, sha256s: Sequence[Sha256]) -> dict[Sha256, Blob]:
        """Those that are there, live or condemned."""

    async def keep(self, blob: Blob) -> None:
        """Add the blob, or revive it if it was condemned or damaged."""

    async def condemn_unheld(self, sha256: Sha256, *, now: datetime) -> None:
        """Condemn the blob if no medium that is not deleted holds it."""

    async def condemned(
        self, before: datetime, *, limit: int, after: Blob | None = None
    ) -> list[Blob]:
        """Blobs condemned before this moment, oldest first, those that come after."""

    async def note_damage(self, sha256: Sha256, *, now: datetime) -> bool:
        """Note that its bytes are missing or wrong; whether that is news."""

    async def note_sound(self, sha256: Sha256) -> bool:
        """Note that its bytes are right; whether that is news."""

    async def count_damaged(self) -> int:
        """How many are noted as damaged."""

    async def within(self, start: str, end: str, *, limit: int) -> list[HeldBlob]:
        """Those with hashes from `start` up to, not including, `end`, in their order.

        Both are hexadecimal digits, an even number of them.
        """

    async def remove(self, sha256: Sha256) -> None:
        """Remove the blob's row and those of its renditions."""


class RenditionRows(Protocol):
    """The rows of renditions that have been made."""

    async def find(
        self, source: Sha256, *, recipe_keys: Iterable[str]
    ) -> dict[str, StoredRendition]:
        """Those that are there, by recipe key."""

    async def find_version(self, source: Sha256, *, version: str) -> StoredRendition | None:
        """One made by the recipe of this version."""

    async def made_of(self, sources: Sequence[Sha256]) -> list[StoredRendition]:
        """Every one made of these originals."""

    async def transformed(self, source: Sha256, *, but: int) -> list[StoredRendition]:
        """Those of this original that URLs asked for, but for so many of the newest."""

    async def put(self, renditions: Sequence[StoredRendition]) -> None:
        """Add them, or replace those of the same recipe."""

    async def forget(self, renditions: Sequence[StoredRendition]) -> None:
        """Remove their rows, unless they were replaced meanwhile."""


class Jobs(Protocol):
    """Work for later, done at least once."""

    async def enqueue_developing(self, media: Media, *, urgency: Urgency = Urgency.PERSON) -> None:
        """Have the renditions of this revision of the medium made, from the first stage on.

        What a person waits for is done before backfills; and of each, owners take turns.
        """

    async def enqueue_transcoding(self, media: Media, *, urgency: Urgency = Urgency.PERSON) -> None:
        """Have what takes minutes made of this revision of the medium; in turns, as above.

        Jobs of equal contents are done one after the other, so that the second finds it made.
        """

    async def discard(self, media_id: MediaId, *, running: bool = True) -> None:
        """Remove every job for this medium; one that is `running`, too, by breaking it off."""

    async def forgotten(
        self, before: datetime, *, after: MediaId | None = None, limit: int
    ) -> list[Media]:
        """Media that wait for a job that does not exist, in the order of their ids.

        They are unfinished, were last changed before this moment and have no job that is waiting
        or being done; or they failed because of damage that their original no longer has.
        """


class Rows(Protocol):
    """All rows, as one view of them: the latest committed, or one transaction's."""

    async def now(self) -> datetime:
        """The time by the clock that everybody who shares these rows shares.

        What is to be compared with later is told by it: other machines' clocks may be wrong.
        """

    @property
    def media(self) -> MediaRows:
        """The rows of media."""

    @property
    def blobs(self) -> BlobRows:
        """The rows of blobs."""

    @property
    def renditions(self) -> RenditionRows:
        """The rows of renditions."""

    @property
    def jobs(self) -> Jobs:
        """The queue of jobs."""


class Database(Protocol):
    """Where the truth is kept. Everything raises DatabaseUnavailable when it is away."""

    @property
    def latest(self) -> Rows:
        """The rows as last committed."""

    def transaction(self, *locks: LockNumber) -> AbstractAsyncContextManager[Rows]:
        """All or nothing, holding the locks (taken in order) until it is over."""


class Cache(Protocol):
    """Remembers media for an hour. Never needed: one that is away misses, and never raises.

    Nothing that was dropped after `begin` is filled with what was read before the drop.
    """

    async def get(self, ids: Sequence[MediaId]) -> dict[MediaId, Media | None]:
        """What is remembered; None for an id that is known not to be there."""

    def begin(self) -> float:
        """To be called before reading what will be filled in."""

    async def fill(self, found: Mapping[MediaId, Media | None], *, begun: float) -> None:
        """Remember what was read since `begun`."""

    async def drop(self, ids: Iterable[MediaId]) -> None:
        """Forget. Called before and after every change is committed."""


class Changes(Protocol):
    """Tells which media change, in whichever process."""

    def follow(
        self, *, on_change: Callable[[MediaId], None], on_gap: Callable[[bool], None]
    ) -> AbstractContextManager[None]:
        """Call `on_change` when a medium's row has changed, while the context lasts.

        `on_gap(True)` is called when changes may be missed from now on, at once if that is so
        already; `on_gap(False)` when none are missed any more.
        """
