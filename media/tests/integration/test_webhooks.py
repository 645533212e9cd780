"""Webhooks: real rows, a real receiver, real deaths."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import re
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fakes import deliver_process
from fakes.receiver import ENDLESS, HANG, Receiver, open_receiver
from fakes.samples import NOON, a_blob, a_media
from media_service.core import webhooks
from media_service.core.media import Media, ProcessingStatus, Purpose
from media_service.core.notifying import Notifying
from media_service.core.renditions import Role, Stage
from media_service.entrypoints.worker import notifying as worker
from media_service.entrypoints.worker.notifying import notify
from media_service.infra.postgres.changes import PostgresChanges
from media_service.infra.postgres.database import PostgresDatabase, open_database
from media_service.infra.postgres.webhooks import PostgresOutbox
from media_service.infra.webhooks.receivers import open_http_receivers

pytestmark = pytest.mark.needs_postgres

NEW, OLD = b"a secret of the tests", b"the secret that was before"
PROCESSING, COMPLETED = ProcessingStatus.PROCESSING, ProcessingStatus.COMPLETED
FAILED = ProcessingStatus.FAILED
CLIENTS = Path(__file__).parents[3] / "docs" / "clients.md"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again soon."""
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(webhooks, "_FIRST_PAUSE", timedelta(seconds=0.05))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with open_receiver() as receiver:
        yield receiver


class Bench:
    """A database that knows its receivers, and what delivers to them."""

    def __init__(self, database: PostgresDatabase, *urls: str) -> None:
        self.database = database
        self.urls = urls

    async def stored(self, **changes: Any) -> Media:
        media = a_media(**changes)
        await self.database.latest.blobs.keep(a_blob())
        await self.database.latest.media.insert(media)
        return media

    async def change(self, media: Media) -> None:
        assert await self.database.latest.media.update(media, revision=media.revision)

    @asynccontextmanager
    async def delivering(
        self, *, seconds: float = 10, lease: timedelta = timedelta(seconds=20)
    ) -> AsyncIterator[Notifying]:
        async with open_http_receivers(seconds=seconds) as receivers:
            notifying = Notifying(
                outbox=self.database.outbox,
                receivers=receivers,
                urls=self.urls,
                secrets=(NEW, OLD),
                clock=lambda: datetime.now(UTC),
                lease=lease,
            )
            async with notify(notifying, PostgresChanges()):
                yield notifying

    async def until_empty(self) -> None:
        async with asyncio.timeout(10):
            while (await self.database.outbox.counts()).waiting:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(database_url: str, *urls: str) -> AsyncIterator[Bench]:
    async with open_database(database_url, max_connections=5, webhook_urls=urls) as database:
        yield Bench(database, *urls)


@pytest.fixture
async def bench(database_url: str, receiver: Receiver) -> AsyncIterator[Bench]:
    async with opened(database_url, receiver.url) as bench:
        yield bench


# What is told


async def test_the_life_of_a_medium_is_told_in_order(bench: Bench, receiver: Receiver) -> None:
    async with bench.delivering():
        media = await bench.stored(purpose=Purpose.STORY)
        await bench.change(media.advanced(PROCESSING, NOON))
        await bench.change(media.advanced(COMPLETED, NOON))
        await bench.change(media.deleted(NOON))
        await receiver.until(3)
        await bench.until_empty()

    assert receiver.types == ["media.processing", "media.completed", "media.deleted"]
    assert receiver.received[1].path == "/hooks?token=of-the-operator"
    told = receiver.received[1].event
    assert abs(datetime.fromisoformat(told["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert told["data"] == {
        "media_id": media.id,
        "user_id": media.owner,
        "purpose": "story",
        "media_type": "image",
        "status": "completed",
        "failure_code": "",
        "renditions": [],
    }
    for each in receiver.received:
        assert uuid.UUID(each.id).version == 7
        assert media.filename not in each.body.decode()


async def test_a_failure_is_told_with_its_code(bench: Bench, receiver: Receiver) -> None:
    media = await bench.stored()
    await bench.change(media.advanced(FAILED, NOON, failure_code="broken_file"))

    async with bench.delivering():
        [received] = await receiver.until(1)

    assert received.event["type"] == "media.failed"
    assert received.event["data"]["failure_code"] == "broken_file"


async def test_what_is_complete_from_the_start_is_told(bench: Bench, receiver: Receiver) -> None:
    await bench.stored(status=COMPLETED)

    async with bench.delivering():
        await receiver.until(1)

    assert receiver.types == ["media.completed"]


async def test_a_film_that_plays_is_told_once_and_its_parts_never(
    bench: Bench, receiver: Receiver
) -> None:
    [full, *thumbnails] = a_media().renditions
    film = dataclasses.replace(full, stage=Stage.PLAYABLE)
    part = dataclasses.replace(
        full, name="hls-360", stage=Stage.COMPLETE, role=Role.PART, size_bytes=7
    )
    media = await bench.stored(renditions=(film, *thumbnails, part), status=PROCESSING)
    playing = dataclasses.replace(
        media, renditions=(dataclasses.replace(film, size_bytes=9), *thumbnails, part)
    )

    async with bench.delivering():
        await bench.change(playing)
        await bench.change(dataclasses.replace(playing, stage_percent=50))
        await bench.change(playing.advanced(COMPLETED, NOON))
        await receiver.until(3)

    assert receiver.types == ["media.processing", "media.playable", "media.completed"]
    assert receiver.received[1].event["data"]["renditions"] == ["full"]


async def test_progress_alone_is_not_told(bench: Bench) -> None:
    media = await bench.stored()
    await bench.change(dataclasses.replace(media, stage_percent=50))

    assert await bench.database.outbox.find(failed_only=False, limit=9) == []


async def test_a_change_that_is_rolled_back_is_not_told(bench: Bench) -> None:
    media = await bench.stored()

    async def change_and_fail() -> None:
        async with bench.database.transaction() as rows:
            await rows.media.update(media.advanced(COMPLETED, NOON), revision=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_and_fail()

    assert await bench.database.outbox.find(failed_only=False, limit=9) == []


async def test_any_statement_that_changes_a_row_is_told_of(
    bench: Bench, database_url: str, receiver: Receiver
) -> None:
    media = await bench.stored()
    connection = await asyncpg.connect(
        database_url, server_settings={"mediad.webhook_urls": receiver.url}
    )
    await connection.execute("update media set status = 'completed' where id = $1", media.id)
    await connection.close()

    [waiting] = await bench.database.outbox.find(failed_only=False, limit=9)
    assert waiting.type == "media.completed"


async def test_nothing_is_kept_where_nobody_is_told(database_url: str) -> None:
    async with opened(database_url) as bench:
        media = await bench.stored()
        await bench.change(media.advanced(COMPLETED, NOON))

        assert await bench.database.outbox.find(failed_only=False, limit=9) == []


# How it is signed


def signature(received: Any, secret: bytes) -> str:
    """As the specification says, by hand."""
    signed = f"{received.id}.{received.headers['webhook-timestamp']}.".encode() + received.body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


async def test_every_secret_signs(bench: Bench, receiver: Receiver) -> None:
    await bench.stored(status=COMPLETED)

    async with bench.delivering():
        [received] = await receiver.until(1)

    signatures = received.headers["webhook-signature"].split(" ")
    assert signatures == [signature(received, NEW), signature(received, OLD)]
    assert received.headers["content-type"] == "application/json"


async def test_the_verification_in_the_documentation_takes_ours_and_nothing_else(
    bench: Bench, receiver: Receiver
) -> None:
    block = r"^```python\n(import base64.*?)^```"
    [source] = re.findall(block, CLIENTS.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    await bench.stored(status=COMPLETED)
    async with bench.delivering():
        [received] = await receiver.until(1)
    verify, headers, body = names["verified"], received.headers, received.body

    assert verify(headers, body, [NEW])["type"] == "media.completed"
    assert verify(headers, body, [b"another", OLD])["type"] == "media.completed"

    earlier = str(int(headers["webhook-timestamp"]) - 600)
    replayed = dataclasses.replace(received, headers={**headers, "webhook-timestamp": earlier})
    replayed.headers["webhook-signature"] = signature(replayed, NEW)
    for wrong in (
        (headers, body, [b"another"]),
        (headers, body + b" ", [NEW]),
        ({**headers, "webhook-id": str(uuid.uuid4())}, body, [NEW]),
        (replayed.headers, body, [NEW]),
    ):
        with pytest.raises(ValueError):
            verify(*wrong)


# What goes wrong


async def test_what_a_receiver_refuses_is_sent_again_under_the_same_id(
    bench: Bench, receiver: Receiver
) -> None:
    receiver.script.extend([500, 404, 302])
    media = await bench.stored()
    await bench.change(media.advanced(PROCESSING, NOON))
    await bench.change(media.advanced(COMPLETED, NOON))

    async with bench.delivering():
        await receiver.until(5)
        await bench.until_empty()

    assert receiver.types == ["media.processing"] * 4 + ["media.completed"]
    assert len({each.id for each in receiver.received[:4]}) == 1


async def test_what_is_down_for_a_while_is_told_when_it_is_up(
    bench: Bench, receiver: Receiver
) -> None:
    await receiver.stop()
    async with bench.delivering():
        media = await bench.stored(status=COMPLETED)
        async with asyncio.timeout(10):
            while not (found := await bench.database.outbox.find(failed_only=False, limit=9)) or (
                found[0].attempts < 3
            ):
                await asyncio.sleep(0.02)
        assert "Connect" in found[0].failure
        await receiver.start()
        [received] = await receiver.until(1)

    assert received.event["data"]["media_id"] == media.id


class Explained:
    """Asks how a statement would be run, instead of running it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plan = ""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        rows = await self._connection.fetch(f"explain {query}", *args)
        self.plan = "\n".join(row[0] for row in rows)
        return []


async def test_what_is_put_off_is_not_read_to_find_what_is_due(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
    explained: Any = Explained(connection)

    await PostgresOutbox(explained).take("http://a", limit=8, lease=timedelta(seconds=20))

    bounds = re.findall(r"Index Cond: (.*)", explained.plan)
    assert any("due_at <=" in bound for bound in bounds)
    await connection.close()


async def test_redirects_are_not_followed(bench: Bench, receiver: Receiver) -> None:
    async with open_receiver() as sink:
        receiver.redirect_to = sink.url
        receiver.script.extend([301, 302, 307, 308])
        await bench.stored(status=COMPLETED)

        async with bench.delivering():
            await receiver.until(5)

        assert sink.received == []


async def test_a_receiver_that_is_slow_or_talks_for_ever_holds_up_nobody(
    database_url: str, receiver: Receiver
) -> None:
    async with AsyncExitStack() as stack:
        hanging, endless = [await stack.enter_async_context(open_receiver()) for _ in range(2)]
        hanging.script.extend([HANG] * 99)
        endless.script.extend([ENDLESS] * 99)
        urls = (hanging.url, endless.url, receiver.url)
        bench = await stack.enter_async_context(opened(database_url, *urls))
        async with bench.delivering(seconds=1):
            for _ in range(20):
                await bench.stored(status=COMPLETED)
            await receiver.until(20, seconds=5)
            await endless.until(20, seconds=5)
            await hanging.until(9)

        assert len({each.id for each in receiver.received}) == 20
        assert len({each.id for each in endless.received}) == 20
        waiting = await bench.database.outbox.find(failed_only=False, limit=99)
        assert {each.url for each in waiting} == {hanging.url}
        assert "no answer within" in waiting[0].failure


async def test_who_dies_between_sending_and_noting_has_it_sent_twice(
    bench: Bench, receiver: Receiver, database_url: str
) -> None:
    command = [sys.executable, deliver_process.__file__, database_url, receiver.url]
    deliverer = await asyncio.create_subprocess_exec(*command)
    receiver.script.append(HANG)
    receiver.on_request = deliverer.kill
    media = await bench.stored()
    await bench.change(media.advanced(COMPLETED, NOON))
    await receiver.until(1)
    await deliverer.wait()
    receiver.on_request = None

    async with bench.delivering():
        first, second = await receiver.until(2)
        await bench.until_empty()

    assert first.id == second.id
    assert first.body == second.body


async def test_two_processes_share_the_work(bench: Bench, receiver: Receiver) -> None:
    for _ in range(60):
        media = await bench.stored()
        await bench.change(media.advanced(PROCESSING, NOON))
        await bench.change(media.advanced(COMPLETED, NOON))

    async with bench.delivering(), bench.delivering():
        await receiver.until(120)
        await bench.until_empty()

    assert len({each.id for each in receiver.received}) == len(receiver.received) == 120
    seen: dict[str, list[str]] = {}
    for each in receiver.received:
        seen.setdefault(each.event["data"]["media_id"], []).append(each.event["type"])
    assert all(order == ["media.processing", "media.completed"] for order in seen.values())


async def test_what_waits_in_a_queue_is_told_without_a_pause(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_GATHER_SECONDS", 3600.0)
    for _ in range(3 * worker.AT_ONCE):
        await bench.stored(status=COMPLETED)

    async with bench.delivering():
        await receiver.until(3 * worker.AT_ONCE)


# What is erased


async def erased(bench: Bench, media: Media) -> None:
    await bench.change(media.deleted(NOON))
    await bench.database.latest.media.remove([media.id])


async def test_of_what_is_erased_only_its_deletion_is_told(
    bench: Bench, receiver: Receiver
) -> None:
    media, another = await bench.stored(), await bench.stored()
    await bench.change(media.advanced(PROCESSING, NOON))
    [given_up] = await bench.database.outbox.find(failed_only=False, limit=9)
    await bench.database.outbox.give_up(given_up, failure="HTTP 410")
    await bench.change(media.advanced(COMPLETED, NOON))
    await bench.change(another.advanced(COMPLETED, NOON))

    await erased(bench, media)

    waiting = await bench.database.outbox.find(failed_only=False, limit=9)
    assert [(each.media_id, each.type) for each in waiting] == [
        (another.id, "media.completed"),
        (media.id, "media.deleted"),
    ]
    async with bench.delivering():
        await receiver.until(2)
        await bench.until_empty()
    assert await bench.database.outbox.find(failed_only=False, limit=9) == []


async def test_a_deletion_waits_for_what_is_just_being_told(
    bench: Bench, receiver: Receiver
) -> None:
    media = await bench.stored()
    await bench.change(media.advanced(COMPLETED, NOON))
    lease = timedelta(minutes=1)
    [under_way] = await bench.database.outbox.take(receiver.url, limit=9, lease=lease)

    await erased(bench, media)

    [deletion] = await bench.database.outbox.find(failed_only=False, limit=9)
    assert (deletion.type, deletion.due_at) == ("media.deleted", under_way.due_at)
    assert await bench.database.outbox.take(receiver.url, limit=9, lease=lease) == []


async def test_what_is_not_deleted_keeps_its_events(bench: Bench) -> None:
    media = await bench.stored(status=COMPLETED)
    await bench.database.latest.media.remove([media.id])

    [waiting] = await bench.database.outbox.find(failed_only=False, limit=9)
    assert waiting.type == "media.completed"


# What is given up


async def test_what_is_gone_is_given_up_and_what_comes_after_it_is_told(
    bench: Bench, receiver: Receiver
) -> None:
    receiver.script.append(410)
    media = await bench.stored()
    await bench.change(media.advanced(PROCESSING, NOON))
    await bench.change(media.advanced(COMPLETED, NOON))

    async with bench.delivering() as notifying:
        await receiver.until(2)
        await bench.until_empty()

        [failed] = await notifying.find(failed_only=True, limit=9)
        assert (failed.type, failed.failure) == ("media.processing", "HTTP 410")
        assert (await notifying.counts()).failed == 1
        assert await notifying.retry([failed.id]) == 1
        await receiver.until(3)

    assert receiver.types == ["media.processing", "media.completed", "media.processing"]


async def test_what_is_refused_for_three_days_is_given_up_and_forgotten_a_week_later(
    bench: Bench, receiver: Receiver, database_url: str
) -> None:
    receiver.script.append(500)
    await bench.stored(status=COMPLETED)
    connection = await asyncpg.connect(database_url)
    await connection.execute("update webhook_deliveries set begun_at = now() - interval '3 days'")

    async with bench.delivering() as notifying:
        await receiver.until(1)
        await bench.until_empty()
        assert len(await notifying.find(failed_only=True, limit=9)) == 1
        assert await notifying.forget() == 0

        await connection.execute(
            "update webhook_deliveries set failed_at = now() - interval '8 days'"
        )
        assert await notifying.forget() == 1
    await connection.close()
