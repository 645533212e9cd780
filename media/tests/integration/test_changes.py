from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from fakes.postgres_server import restart
from fakes.relay import Relay, open_relay
from fakes.samples import NOON, a_blob, a_media
from media_service.core.media import Media, MediaId, ProcessingStatus
from media_service.infra.postgres.changes import follow_changes
from media_service.infra.postgres.database import PostgresDatabase, open_database

pytestmark = pytest.mark.needs_postgres


class Follower:
    """Notes what it is told, and lets tests wait for it."""

    def __init__(self) -> None:
        self.told: list[MediaId | bool] = []
        self._told_more = asyncio.Event()

    def on_change(self, media_id: MediaId) -> None:
        self._note(media_id)

    def on_gap(self, is_gap: bool) -> None:
        self._note(is_gap)

    def _note(self, what: MediaId | bool) -> None:
        self.told.append(what)
        self._told_more.set()

    async def until(self, what: MediaId | bool) -> None:
        """Return when this was told last."""
        async with asyncio.timeout(10):
            while self.told[-1:] != [what]:
                self._told_more.clear()
                await self._told_more.wait()


@asynccontextmanager
async def _following(url: str) -> AsyncIterator[Follower]:
    follower = Follower()
    async with follow_changes(url, on_change=follower.on_change, on_gap=follower.on_gap):
        await follower.until(False)
        yield follower


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[PostgresDatabase]:
    async with open_database(database_url, max_connections=3) as database:
        yield database


@pytest.fixture
async def media(database: PostgresDatabase) -> Media:
    await database.latest.blobs.keep(a_blob())
    media = a_media()
    await database.latest.media.insert(media)
    return media


async def _advance(database: PostgresDatabase, media: Media) -> None:
    processing = media.advanced(ProcessingStatus.PROCESSING, NOON)
    assert await database.latest.media.update(processing, revision=1)


async def test_a_gap_is_told_until_changes_are_heard(database_url: str) -> None:
    async with _following(database_url) as follower:
        assert follower.told == [True, False]


async def test_an_update_is_heard(
    database: PostgresDatabase, database_url: str, media: Media
) -> None:
    async with _following(database_url) as follower:
        await _advance(database, media)

        await follower.until(media.id)


async def test_every_follower_hears(
    database: PostgresDatabase, database_url: str, media: Media
) -> None:
    async with _following(database_url) as one, _following(database_url) as other:
        await _advance(database, media)

        await one.until(media.id)
        await other.until(media.id)


async def test_an_update_is_heard_at_commit_and_not_before(
    database: PostgresDatabase, database_url: str, media: Media
) -> None:
    other = a_media()
    await database.latest.media.insert(other)
    async with _following(database_url) as follower:
        async with database.transaction() as rows:
            await rows.media.update(media.deleted(NOON), revision=1)
            await _advance(database, other)
            await follower.until(other.id)

        await follower.until(media.id)
        assert follower.told == [True, False, other.id, media.id]


async def test_an_update_that_changes_nothing_is_not_heard(
    database: PostgresDatabase, database_url: str, media: Media
) -> None:
    other = a_media()
    await database.latest.media.insert(other)
    async with _following(database_url) as follower:
        assert not await database.latest.media.update(media, revision=7)
        await _advance(database, other)

        await follower.until(other.id)
        assert follower.told == [True, False, other.id]


async def test_a_broken_connection_is_a_gap_that_ends(
    database: PostgresDatabase, database_url: str, media: Media
) -> None:
    async with _following(database_url) as follower:
        await _terminate_listeners(database_url)
        await follower.until(True)
        await follower.until(False)

        await _advance(database, media)

        await follower.until(media.id)
        assert follower.told == [True, False, True, False, media.id]


async def _terminate_listeners(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and query like 'LISTEN%'"
    )
    await connection.close()


@asynccontextmanager
async def _relayed(url: str) -> AsyncIterator[tuple[Relay, str]]:
    [host] = parse_qs(urlsplit(url).query)["host"]
    with TemporaryDirectory() as folder:
        async with open_relay(Path(folder), target=Path(host) / ".s.PGSQL.5432") as relay:
            yield relay, url.replace(host, folder)


async def test_a_gap_is_told_at_once_and_lasts_as_long_as_the_outage(database_url: str) -> None:
    async with _relayed(database_url) as (relay, url), _following(url) as follower:
        await relay.cut()
        for _ in range(100):  # turns of the loop, which are over long before the first retry
            await asyncio.sleep(0)
        assert follower.told[-1] is True
        for _ in range(2):
            follower.told.clear()
            await follower.until(True)

        await relay.mend()

        await follower.until(False)


async def test_a_restart_of_the_server_is_a_gap_that_ends(
    database: PostgresDatabase, database_url: str, media: Media
) -> None:
    async with _following(database_url) as follower:
        await restart(database_url)
        await follower.until(False)

        await _advance(database, media)

        await follower.until(media.id)
        assert True in follower.told[2:]


async def test_a_follower_that_never_reached_the_server_ends_quietly(tmp_path: Path) -> None:
    follower = Follower()
    url = f"postgresql://mediad@/mediad?host={tmp_path}&port=5432"
    async with follow_changes(url, on_change=follower.on_change, on_gap=follower.on_gap):
        await follower.until(True)

    assert False not in follower.told
