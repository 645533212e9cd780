"""Both services, and somebody new who visits them with a browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.e2e.page.browser import DESKTOP, Visitor, launched
from tests.e2e.processes import Mediad
from tests.e2e.userd_process import Userd


@dataclasses.dataclass(frozen=True)
class Services:
    """Both services, which these tests may break."""

    media: Mediad
    users: Userd


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    media = Mediad(tmp_path_factory.mktemp("page-media"))
    with media.running():
        users = Userd(tmp_path_factory.mktemp("page-users"), media=media)
        with users.running():
            yield Services(media, users)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport=DESKTOP, color_scheme="light") as context:
        yield context


@pytest.fixture
def ada(context: BrowserContext, services: Services) -> Iterator[Visitor]:
    """Somebody new, with a desktop. Nothing may go wrong that the test did not ask for."""
    visitor = Visitor(context.new_page(), services.users.base_url)
    yield visitor
    assert visitor.complaints == []
