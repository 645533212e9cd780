"""What the page says and does when something goes wrong, and when a session ends."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Route, expect

from tests.e2e.conftest import PHOTO
from tests.e2e.page.browser import Visitor, chromium_path, painted
from tests.e2e.page.conftest import Services

pytestmark = [
    pytest.mark.needs_postgres,
    pytest.mark.skipif(chromium_path() is None, reason="needs a browser: apt-get install chromium"),
]


# --- what goes wrong ----------------------------------------------------------------------


def test_a_file_that_is_too_large_is_not_even_sent(ada: Visitor, tmp_path: Path) -> None:
    big = tmp_path / "big.jpg"
    big.write_bytes(bytes(10 * 2**20 + 1))
    ada.sign_up()

    ada.picture.choose(big)

    ada.picture.expect_trouble("too large: a profile picture can have up to 10\N{NO-BREAK SPACE}MB")
    assert not [r for r in ada.requests if r.url.endswith("/profile-picture")]


def test_what_is_no_picture_is_not_even_sent(ada: Visitor) -> None:
    ada.sign_up()

    for name, kind, words in [
        ("notes.txt", "text/plain", "not a picture"),
        ("empty.png", "image/png", "empty"),
        ("drawing.svg", "image/svg+xml", "not a picture"),
    ]:
        content = b"" if words == "empty" else b"text"
        ada.picture.choose(FilePayload(name=name, mimeType=kind, buffer=content))
        ada.picture.expect_trouble(words)

    assert not [r for r in ada.requests if r.url.endswith("/profile-picture")]


def test_a_page_that_is_called_a_picture_is_refused(ada: Visitor) -> None:
    ada.sign_up()

    html = FilePayload(name="cat.jpg", mimeType="image/jpeg", buffer=b"<html><script>1</script>")
    ada.picture.choose(html)

    ada.picture.expect_trouble("not a picture")
    expect(ada.picture.image).to_be_hidden()
    ada.was_refused(415)


def test_a_large_file_that_is_no_picture_is_refused_in_words(ada: Visitor) -> None:
    ada.sign_up()

    ada.cover.choose(FilePayload(name="c.jpg", mimeType="image/jpeg", buffer=b"text" * 2_000_000))

    ada.cover.expect_trouble("not a picture")
    ada.was_refused(415)


def test_a_damaged_picture_is_refused_and_another_can_be_chosen(ada: Visitor) -> None:
    ada.sign_up()
    ada.picture.choose(painted())
    ada.picture.expect_arrived()

    half = PHOTO.read_bytes()[:80_000]
    ada.picture.choose(FilePayload(name="half.jpg", mimeType="image/jpeg", buffer=half))

    ada.picture.expect_trouble("damaged or incomplete")
    expect(ada.picture.row).to_contain_text("640 × 480")
    ada.screenshot("damaged")
    with ada.page.expect_file_chooser() as chooser:
        ada.picture.press("Choose another")
    chooser.value.set_files(PHOTO)
    ada.picture.expect_arrived()
    ada.was_refused(422)


def test_two_files_at_a_time_are_one_too_many(ada: Visitor) -> None:
    ada.sign_up()

    ada.picture.drag_over(painted(), painted("teal"))
    ada.picture.let_go()

    ada.picture.expect_trouble("One picture at a time")


def test_a_wrong_password_and_a_name_that_is_taken_are_said(ada: Visitor) -> None:
    ada.sign_up()
    ada.page.get_by_role("button", name="Sign out").click()

    ada.fill_in("not it, not it")
    ada.page.get_by_role("button", name="Sign in").click()
    expect(ada.page.get_by_role("alert")).to_contain_text("password is wrong")
    expect(ada.focused).to_have_attribute("id", "password")
    ada.screenshot("wrong-password")
    ada.page.get_by_role("button", name="Create an account").click()
    ada.fill_in()
    ada.page.get_by_role("button", name="Create account").click()

    expect(ada.page.get_by_role("alert")).to_contain_text("Somebody has this username")
    expect(ada.focused).to_have_attribute("id", "username")
    ada.was_refused(401, 409)


def test_while_the_media_service_is_away_the_old_picture_stays(
    ada: Visitor, services: Services
) -> None:
    ada.sign_up()
    ada.picture.choose(painted())
    ada.picture.expect_arrived()
    old = ada.picture.address

    services.media.kill()
    try:
        ada.picture.choose(PHOTO)
        ada.picture.expect_trouble("away for a moment. Your profile picture has not changed.")
        ada.screenshot("service-away")
        expect(ada.picture.arrived).to_be_visible()
        assert ada.picture.natural_width > 0
        assert ada.picture.address == old
    finally:
        services.media.start()

    try_again_until_taken(ada)
    expect(ada.picture.row).to_contain_text("1600 × 1200")
    assert ada.picture.address != old
    ada.was_refused(503)


def try_again_until_taken(ada: Visitor) -> None:
    """Press the button whenever it is offered: a channel takes its time to find back."""
    offered = ada.picture.row.get_by_role("button", name=re.compile("^Try again$"))
    deadline = time.monotonic() + 25
    while not ada.picture.row.get_by_text("1600 × 1200").count():
        assert time.monotonic() < deadline, ada.picture.row.inner_text()
        if offered.is_visible():
            offered.click()
        ada.page.wait_for_timeout(200)


# --- sessions -----------------------------------------------------------------------------


def test_an_upload_whose_answer_is_lost_is_found_out(ada: Visitor) -> None:
    def lose(route: Route) -> None:
        token = {"Authorization": route.request.headers["authorization"]}
        ada.page.request.post(route.request.url, headers=token, multipart={"file": painted()})
        route.fulfill(status=502, body="Bad gateway")

    ada.sign_up()
    ada.page.route("**/api/v1/media/profile-picture", lose)

    ada.picture.choose(PHOTO)

    ada.picture.expect_arrived()
    expect(ada.picture.alert).to_be_hidden()
    ada.was_refused(502)


def test_an_access_token_that_ends_is_renewed_unseen(ada: Visitor) -> None:
    ada.sign_up()
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        error = {"code": "unauthenticated", "message": "Send a valid access token."}
        route.fulfill(status=401, json={"success": False, "error": error})

    ada.page.route("**/api/v1/media/profile-picture", refuse_once)

    ada.picture.choose(PHOTO)

    ada.picture.expect_arrived()
    renewals = [r for r in ada.requests if r.url.endswith("/auth/refresh")]
    assert len(renewals) == 1
    ada.was_refused(401)


def test_an_access_token_is_renewed_before_it_ends(ada: Visitor) -> None:
    ada.page.clock.install()
    ada.sign_up()
    ada.page.clock.fast_forward("14:45")

    ada.write(name="Ada Lovelace", bio="")

    assert [r for r in ada.requests if r.url.endswith("/auth/refresh")]


def test_while_the_service_is_away_the_page_waits(ada: Visitor) -> None:
    def away(route: Route) -> None:
        error = {"code": "database_unavailable", "message": "Try again in a moment."}
        route.fulfill(status=503, json={"success": False, "error": error})

    ada.sign_up()
    ada.page.route("**/api/v1/auth/refresh", away)

    ada.page.reload()

    expect(ada.page.get_by_role("alert")).to_contain_text("away for a moment")
    ada.screenshot("waiting")
    ada.page.unroute("**/api/v1/auth/refresh")
    ada.page.get_by_role("button", name="Try again").click()
    expect(ada.heading).to_have_text(ada.name)
    ada.was_refused(503)


def test_a_session_that_was_ended_asks_for_the_password(ada: Visitor) -> None:
    ada.sign_up()
    ada.page.evaluate(
        """async () => {
          const body = JSON.stringify({ refresh_token: Object.values(sessionStorage)[0] });
          const headers = { "Content-Type": "application/json" };
          await fetch("/api/v1/auth/logout", { method: "POST", headers, body });
        }"""
    )

    ada.reload()

    expect(ada.heading).to_have_text("Sign in")
    expect(ada.page.get_by_text("Your session has ended.")).to_be_visible()
    ada.fill_in()
    ada.page.keyboard.press("Enter")
    expect(ada.heading).to_have_text(ada.name)
    ada.was_refused(401)


def test_signing_out_leaves_nothing_behind(ada: Visitor) -> None:
    ada.sign_up()
    ada.picture.choose(painted())
    ada.picture.expect_arrived()

    ada.page.get_by_role("button", name="Sign out").click()

    expect(ada.heading).to_have_text("Sign in")
    assert ada.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert ada.page.evaluate("document.cookie") == ""
    ada.reload()
    expect(ada.heading).to_have_text("Sign in")
