"""One running media service for all tests that don't break it, and pictures to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import Mediad, Stub, stub

PHOTO = Path(__file__).parents[2] / "docs" / "samples" / "photo.jpg"


@pytest.fixture(scope="session")
def mediad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    """A media service on embedded defaults."""
    with Mediad(tmp_path_factory.mktemp("mediad")).running() as running:
        yield running


@pytest.fixture
async def media(mediad: Mediad) -> AsyncIterator[Stub]:
    """A caller of it."""
    async with mediad.channel() as channel:
        yield stub(channel)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A reader of URLs."""
    async with httpx.AsyncClient(timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """The sample: on its side, with a position and a serial number."""
    return PHOTO.read_bytes()
