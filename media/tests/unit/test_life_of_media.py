"""Whatever is done in whatever order, media, rows and bytes are what a simple model says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import fake_service
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from media_service.core.blobs import BlobState
from media_service.core.delivering import Representation
from media_service.core.errors import MediaNotFound, NotTheOwner
from media_service.core.media import MediaId, ProcessingStatus, Purpose, UserId

T = TypeVar("T")


@dataclasses.dataclass
class Known:
    """What the model knows of a medium that was answered for."""

    owner: UserId
    content: bytes


class LifeOfMedia(RuleBasedStateMachine):
    """Users upload, read, delete; the worker and the sweeper do their work in between."""

    media = Bundle("media")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.fake = fake_service()
        self.model: dict[MediaId, Known] = {}
        self.gone: set[MediaId] = set()

    def teardown(self) -> None:
        self.loop.close()

    def do(self, doing: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(doing)

    @rule(
        target=media,
        name=st.sampled_from("abc"),
        owner=st.sampled_from([ALICE, BOB]),
        purpose=st.sampled_from([Purpose.AVATAR, Purpose.STORY]),
    )
    def upload(self, name: str, owner: UserId, purpose: Purpose) -> MediaId:
        content = picture(name)
        media = self.do(self.fake.upload(content, owner=owner, purpose=purpose))
        self.model[media.id] = Known(owner, content)
        return media.id

    @rule(media_id=media)
    def read(self, media_id: MediaId) -> None:
        if media_id in self.gone:
            assert self.do(self.fake.service.reading.find([media_id])) == {}
            return
        media = self.do(self.fake.service.reading.get(media_id))
        assert media.owner == self.model[media_id].owner

    @rule(media_id=media)
    def look(self, media_id: MediaId) -> None:
        delivering = self.fake.service.delivering
        try:
            found = self.do(delivering.find(media_id, "full", version="", signature=None))
        except MediaNotFound:
            assert media_id in self.gone
            return
        recipe = found.media.renditions[0].recipe
        assert media_id not in self.gone
        assert self.do(self._read(found)) == developed_bytes(self.model[media_id].content, recipe)

    async def _read(self, found: Representation) -> bytes:
        async with self.fake.service.delivering.open(found) as (_, blob):
            return b"".join([piece async for piece in blob.read(0, blob.size_bytes)])

    @rule(media_id=media)
    def delete(self, media_id: MediaId) -> None:
        owner = self.model[media_id].owner
        self.do(self.fake.service.deleting.delete(media_id, user=owner))
        self.gone.add(media_id)

    @rule(media_id=media)
    def try_to_delete_what_is_another_s(self, media_id: MediaId) -> None:
        other = BOB if self.model[media_id].owner == ALICE else ALICE
        try:
            self.do(self.fake.service.deleting.delete(media_id, user=other))
        except NotTheOwner:
            assert media_id not in self.gone
        except MediaNotFound:
            assert media_id in self.gone
        else:
            raise AssertionError

    @rule()
    def work(self) -> None:
        self.do(self.fake.work())

    @rule()
    def restart(self) -> None:
        self.fake = fake_service(beside=self.fake)

    @rule(hours=st.sampled_from([0, 1, 12]))
    def sweep(self, hours: int) -> None:
        self.fake.clock.advance(timedelta(hours=hours))
        self.do(self.fake.service.housekeeping.sweep())
        self.do(self.fake.service.housekeeping.collect_orphans(part=0, parts=64))

    @rule()
    def rot(self) -> None:
        """Damage every rendition; originals stay."""
        rotten = [key for key in self.fake.blobs.contents if key.startswith("renditions/")]
        self.fake.blobs.contents |= dict.fromkeys(rotten, b"rotten")

    @invariant()
    def media_end_when_their_time_is_over(self) -> None:
        now = self.fake.clock.now
        rows = self.fake.database.media.values()
        self.gone |= {row.id for row in rows if row.expires_at and row.expires_at <= now}

    @invariant()
    def no_medium_is_without_its_bytes(self) -> None:
        for media_id in self.model.keys() - self.gone:
            row = self.fake.database.media[media_id]
            blob = self.fake.database.blobs[row.sha256]
            assert blob.state is BlobState.LIVE
            assert self.fake.blobs.contents[blob.key] == self.model[media_id].content

    @invariant()
    def no_bytes_are_without_their_row(self) -> None:
        database = self.fake.database
        originals = {blob.key for blob in database.blobs.values()}
        renditions = {rendition.key for rendition in database.renditions.values()}
        assert set(self.fake.blobs.contents) == originals | renditions

    @invariant()
    def blobs_are_live_for_as_long_as_somebody_holds_them(self) -> None:
        database = self.fake.database
        held = {m.sha256 for m in database.media.values() if m.deleted_at is None}
        for blob in database.blobs.values():
            assert (blob.state is BlobState.LIVE) == (blob.sha256 in held)

    @invariant()
    def nothing_is_left_in_staging(self) -> None:
        assert self.fake.staging.open_files == 0

    @invariant()
    def nothing_ever_fails(self) -> None:
        statuses = {media.status for media in self.fake.database.media.values()}
        assert ProcessingStatus.FAILED not in statuses


LifeOfMedia.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
test_life_of_media = LifeOfMedia.TestCase
