from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from user_fakes.postgres_server import new_database
from user_fakes.running import Running, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_database_url(users_postgres_url: str) -> AsyncIterator[str]:
    """The database of the service that the tests of a module share."""
    async with new_database(users_postgres_url) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    shared_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """A service that the tests of a module share, each with people of its own."""
    folder = tmp_path_factory.mktemp("userd")
    limits = {"registrations_per_address": 10_000, "logins_per_address": 100_000}
    async with running(shared_database_url, folder, media_upload_seconds=8, **limits) as started:
        yield started


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> None:
    """No test's faults reach the next."""
    if "service" in request.fixturenames:
        request.getfixturevalue("service").media.faults.clear()
