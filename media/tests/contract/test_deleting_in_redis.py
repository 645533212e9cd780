"""What is deleted is gone from the Redis that processes share, and from all of them at once."""

from __future__ import annotations

import pytest
from fakes.samples import ALICE
from fakes.service import FakeService, fake_service
from media_service.core.errors import MediaNotFound
from media_service.core.media import Media
from media_service.infra.redis.cache import RedisCache
from redis.asyncio import Redis

pytestmark = pytest.mark.needs_redis
CANARY = b"canary-3f1c9a77e2d84b06-in-here"


@pytest.fixture
def here(near: RedisCache) -> FakeService:
    return fake_service(cache=near)


@pytest.fixture
def there(here: FakeService, far: RedisCache) -> FakeService:
    """Another process on the same database, store and Redis."""
    return fake_service(beside=here, cache=far)


async def _remembered_by_both(here: FakeService, there: FakeService) -> Media:
    media = await here.upload_done(filename=CANARY.decode())
    for process in (here, there):
        await process.service.reading.get(media.id)
    return media


async def _is_gone(redis: Redis, media: Media, *processes: FakeService) -> None:
    dumps = [await redis.dump(key) or b"" for key in await redis.keys()]
    assert not any(CANARY in dump for dump in dumps)
    version = media.renditions[0].recipe.version
    for process in processes:
        with pytest.raises(MediaNotFound):
            await process.service.reading.get(media.id)
        with pytest.raises(MediaNotFound):
            await process.service.delivering.find(media.id, "full", version=version, signature=None)


async def test_what_is_deleted_here_is_gone_there_at_once(
    here: FakeService, there: FakeService, redis: Redis
) -> None:
    media = await _remembered_by_both(here, there)

    await here.service.deleting.delete(media.id, user=ALICE)

    await _is_gone(redis, media, there, here)


async def test_who_is_erased_here_is_gone_there_at_once(
    here: FakeService, there: FakeService, redis: Redis
) -> None:
    media = await _remembered_by_both(here, there)

    assert [e.left async for e in here.service.erasing.erase(ALICE)] == [()]

    await _is_gone(redis, media, there, here)
