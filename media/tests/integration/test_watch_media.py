"""WatchMedia over a real channel, with real rows."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
import pytest
from fakes.samples import NOON, a_blob, a_media
from media_proto import media_service_pb2 as pb
from media_proto import media_service_pb2_grpc as pb_grpc
from media_service.composition import Opened, open_media_service
from media_service.config import read_settings
from media_service.core.media import Media, ProcessingStatus, Visibility
from media_service.core.readiness import Readiness
from media_service.entrypoints.grpc_api import watchers
from media_service.entrypoints.grpc_api.server import GrpcSettings, serve_grpc
from media_service.infra.opentelemetry.calls import TracedCalls
from media_service.infra.postgres.database import PostgresDatabase, open_database

pytestmark = pytest.mark.needs_postgres

PROCESSING, COMPLETED = ProcessingStatus.PROCESSING, ProcessingStatus.COMPLETED
TOKEN = "a-token-of-the-tests"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A service that is watched, and rows that another process changes."""

    opened: Opened
    other: PostgresDatabase
    draining: asyncio.Event
    address: str

    @property
    def watching(self) -> int:
        return self.opened.service.watching.count

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.address, options) as channel:
            yield pb_grpc.MediaServiceStub(channel)

    async def stored(self, **changes: Any) -> Media:
        media = a_media(**changes)
        await self.other.latest.blobs.keep(a_blob())
        await self.other.latest.media.insert(media)
        return media

    async def change(self, media: Media) -> None:
        assert await self.other.latest.media.update(media, revision=media.revision)

    async def until_watching(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.watching != count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(database_url: str, folder: Path, **tokens: str) -> AsyncIterator[Bench]:
    settings = read_settings(data_dir=folder, database_url=database_url, max_connections=4)
    grpc_settings = GrpcSettings(
        host="127.0.0.1", port=0, tokens=tokens, tls=None, unary_budget_bytes=2**30, drain_seconds=1
    )
    draining = asyncio.Event()
    async with (
        open_media_service(settings, is_decoding=False) as opened,
        open_database(database_url, max_connections=2) as other,
        serve_grpc(
            opened.service,
            grpc_settings,
            readiness=Readiness(needed={}, helpful={}, draining=draining, report=lambda *_: None),
            interceptors=(TracedCalls(),),
        ) as port,
    ):
        yield Bench(opened=opened, other=other, draining=draining, address=f"127.0.0.1:{port}")


@pytest.fixture
async def bench(database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with serving(database_url, tmp_path) as bench:
        yield bench


@pytest.fixture
async def media_service(bench: Bench) -> AsyncIterator[Any]:
    async with bench.stub() as stub:
        yield stub


def watch(stub: Any, media_id: str, **how: Any) -> Any:
    return stub.WatchMedia(pb.WatchMediaRequest(media_id=media_id), timeout=30, **how)


async def rest(call: Any) -> list[pb.MediaResponse]:
    """What is told until the call ends."""
    told = []
    while (known := await call.read()) is not grpc.aio.EOF:
        told.append(known)
    return told


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """How the call ends: its status and our code."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest(call)
    trailing = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), str(trailing.get("grpc-status-details-bin", b""))


async def test_what_changes_is_told_as_it_changes(bench: Bench, media_service: Any) -> None:
    media = await bench.stored()
    call = watch(media_service, media.id, metadata=(("x-request-id", "req-7f3a"),))
    states = [await call.read()]
    for percent in (20, 60):
        state = media.advanced(PROCESSING, NOON)
        await bench.change(dataclasses.replace(state, stage_percent=percent))
        states.append(await call.read())
    await bench.change(media.advanced(COMPLETED, NOON))
    states += await rest(call)

    assert [each.status for each in states] == [pb.PENDING, *[pb.PROCESSING] * 2, pb.COMPLETED]
    assert states[-1] == await media_service.GetMedia(pb.GetMediaRequest(media_id=media.id))
    assert await call.code() is grpc.StatusCode.OK
    assert dict(await call.trailing_metadata())["x-request-id"] == "req-7f3a"
    await bench.until_watching(0)


async def test_a_deletion_meanwhile_is_cancelled_then_not_found(
    bench: Bench, media_service: Any
) -> None:
    media = await bench.stored(visibility=Visibility.PRIVATE)
    call = watch(media_service, media.id)
    assert "sig=" in (await call.read()).url

    request = pb.DeleteMediaRequest(media_id=media.id, user_id=media.owner)
    await media_service.DeleteMedia(request)

    last = await call.read()
    assert (last.status, last.filename) == (pb.CANCELLED, "")
    status, details = await refusal(call)
    assert status is grpc.StatusCode.NOT_FOUND
    assert "media_not_found" in details


@pytest.mark.parametrize(
    ("media_id", "status"),
    [
        ("nonsense", grpc.StatusCode.INVALID_ARGUMENT),
        ("0198c0de-0000-7000-8000-000000000000", grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_is_not_there_is_refused_at_once(
    media_service: Any, media_id: str, status: grpc.StatusCode
) -> None:
    assert (await refusal(watch(media_service, media_id)))[0] is status


async def test_who_has_no_token_watches_nothing(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path, users=TOKEN) as bench, bench.stub() as stub:
        media = await bench.stored(status=COMPLETED)
        authorized = (("authorization", f"Bearer {TOKEN}"),)

        assert (await refusal(watch(stub, media.id)))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert len(await rest(watch(stub, media.id, metadata=authorized))) == 1


async def test_changes_are_told_though_the_listening_connection_is_killed(
    bench: Bench, media_service: Any, database_url: str
) -> None:
    media = await bench.stored()
    call = watch(media_service, media.id)
    await call.read()

    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where datname = current_database() and query like 'LISTEN%'"
    )
    await connection.close()
    await bench.change(media.advanced(COMPLETED, NOON))

    async with asyncio.timeout(4):  # before anybody would look anyway
        states = await rest(call)
    assert states[-1].status == pb.COMPLETED


async def test_who_watches_is_sent_elsewhere_as_soon_as_the_service_is_to_stop(
    bench: Bench, media_service: Any
) -> None:
    media = await bench.stored()
    call = watch(media_service, media.id)
    await call.read()

    bench.draining.set()

    async with asyncio.timeout(10):
        status, details = await refusal(call)
    assert status is grpc.StatusCode.UNAVAILABLE
    assert "service_stopping" in details


async def test_who_leaves_or_runs_out_of_time_is_forgotten(
    bench: Bench, media_service: Any
) -> None:
    media = await bench.stored()
    leaving = watch(media_service, media.id)
    await leaving.read()
    late = media_service.WatchMedia(pb.WatchMediaRequest(media_id=media.id), timeout=0.3)

    leaving.cancel()

    assert (await refusal(late))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await bench.until_watching(0)


async def test_a_thousand_watchers_cost_little_and_are_told_at_once(bench: Bench) -> None:
    media = [await bench.stored() for _ in range(10)]
    process = psutil.Process()
    async with AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(bench.stub()) for _ in range(2)]
        calls = [watch(stub, each.id) for stub in stubs for each in media for _ in range(50)]
        before = process.memory_info().rss
        await asyncio.gather(*(call.read() for call in calls))
        grown = process.memory_info().rss - before
        await bench.until_watching(1000)
        assert await _listeners(bench) == 1

        for each in media:
            await bench.change(each.advanced(COMPLETED, NOON))
        async with asyncio.timeout(10):
            told = await asyncio.gather(*(call.read() for call in calls))

    assert {each.status for each in told} == {pb.COMPLETED}
    await bench.until_watching(0)
    print(f"{grown // 1000} bytes for a watcher, both ends of its call")
    assert grown < 100 * 1024 * 1024


async def _listeners(bench: Bench) -> int:
    query = "query like 'LISTEN%' and datname = current_database()"
    async with bench.other._connection() as connection:
        count: int = await connection.fetchval(
            f"select count(*) from pg_stat_activity where {query}"
        )
    return count


async def test_a_connection_that_watches_too_much_can_do_everything_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "MOST_OF_A_CONNECTION", 3)
    media = await bench.stored()
    async with bench.stub() as stub:
        calls = [watch(stub, media.id) for _ in range(3)]
        await asyncio.gather(*(call.read() for call in calls))

        status, details = await refusal(watch(stub, media.id))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "too_many_watchers" in details
        await stub.GetMedia(pb.GetMediaRequest(media_id=media.id))
        async with bench.stub() as other:
            assert await watch(other, media.id).read()
