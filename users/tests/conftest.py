"""What tests of several folders need: a real PostgreSQL, one new database per test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from user_fakes.postgres_server import EMPTY, new_database, running_postgres


@pytest.fixture(scope="session")
def users_postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server; the URL is that of the template, which tests leave alone."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture
async def database_url(users_postgres_url: str) -> AsyncIterator[str]:
    """A database of the test's own, its schema up to date and its tables empty."""
    async with new_database(users_postgres_url) as url:
        yield url


@pytest.fixture
async def empty_database_url(users_postgres_url: str) -> AsyncIterator[str]:
    """A database of the test's own with nothing in it."""
    async with new_database(users_postgres_url, template=EMPTY) as url:
        yield url
