"""What tests of several folders need: real servers, one new database per test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from embedded_servers.seaweedfs import SeaweedFS
from fakes.postgres_server import EMPTY, Databases, make_database, running_postgres
from fakes.s3_server import make_bucket, running_seaweedfs
from hypothesis import settings

settings.register_profile("quick", max_examples=50, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server; the URL is that of the template, which tests leave alone."""
    with TemporaryDirectory() as folder, running_postgres(Path(folder)) as url:
        yield url


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Databases:
    """Where to borrow databases from, for tests that need more than `database_url`."""
    return Databases(postgres_url)


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A database of the test's own, its schema up to date and its tables empty."""
    async with databases.borrow() as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> str:
    """A database of the test's own with nothing in it."""
    return await make_database(postgres_url, template=EMPTY)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """An S3 server; tests make buckets of their own in it, or use `s3_bucket`."""
    with TemporaryDirectory() as folder, running_seaweedfs(Path(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def s3_bucket(seaweedfs: SeaweedFS) -> str:
    """A bucket in it, for tests that keep to a prefix of their own."""
    return make_bucket(seaweedfs, "shared")
