"""What tests of several files need: the double, the real service, a scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from media_client import MediaApi, MediaClient
from media_client.testing import FakeMediaClient
from scripted.service import ScriptedService

from tests.e2e.processes import Mediad


@pytest.fixture
async def double() -> AsyncIterator[FakeMediaClient]:
    async with FakeMediaClient() as media:
        yield media


@pytest.fixture(scope="session")
def mediad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    """A real `mediad serve`, shared by the tests of this folder."""
    with Mediad(tmp_path_factory.mktemp("mediad")).running() as running:
        yield running


@pytest.fixture(params=["double", "service"])
async def media(request: pytest.FixtureRequest) -> AsyncIterator[MediaApi]:
    """A client: of the double, and of the real service."""
    if request.param == "double":
        async with FakeMediaClient() as media:
            yield media
    else:
        mediad: Mediad = request.getfixturevalue("mediad")
        async with MediaClient(f"127.0.0.1:{mediad.grpc_port}") as media:
            yield media


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedService]:
    """A gRPC server that does what the test says."""
    async with ScriptedService().running() as service:
        yield service
