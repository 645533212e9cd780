"""The page, in a real browser, in front of the real services."""

from __future__ import annotations

import io
import re
import urllib.request
from pathlib import Path

import blurhash
import numpy as np
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Route, ViewportSize, expect

from tests.e2e.conftest import PHOTO
from tests.e2e.page.browser import DESKTOP, Visitor, chromium_path, painted, seen
from tests.e2e.page.conftest import Services

pytestmark = [
    pytest.mark.needs_postgres,
    pytest.mark.skipif(chromium_path() is None, reason="needs a browser: apt-get install chromium"),
]

PHONE: ViewportSize = {"width": 360, "height": 800}
STATIC = Path(__file__).parents[3] / "users" / "user_service" / "page"


# --- the main way -------------------------------------------------------------------------


def test_a_photograph_becomes_the_profile_picture(ada: Visitor) -> None:
    ada.sign_up()

    ada.picture.choose(PHOTO)

    ada.picture.expect_arrived()
    assert ada.picture.natural_width > 0
    assert ada.picture.hash_colours > 50
    expect(ada.picture.image).to_have_attribute("alt", "Your profile picture")
    expect(ada.picture.row).to_contain_text("1600 × 1200")
    ada.reload()
    ada.picture.expect_arrived()


def test_the_photograph_is_upright(ada: Visitor) -> None:
    ada.sign_up()
    ada.write(name="Ada Lovelace", bio="Poetical science, and evenings by the lake.")

    ada.cover.choose(PHOTO)
    ada.picture.choose(PHOTO)

    ada.cover.expect_arrived()
    ada.picture.expect_arrived()
    pixels = seen(ada.page, ".picture-zone")
    height, width, _ = pixels.shape
    top, left, right = (
        pixels[int(height * y), int(width * x)] for x, y in [(0.5, 0.1), (0.1, 0.5), (0.9, 0.45)]
    )
    assert np.argmax(top) == 2, "the blue of the sky is at the top"
    assert np.abs(left - right).max() < np.abs(left - top).max(), "the horizon lies"
    ada.screenshot("profile")


def test_the_blurhash_is_seen_until_the_picture_is_there(ada: Visitor, services: Services) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    ada.page.route(f"{services.media.base_url}/**", hold)
    ada.sign_up()

    ada.picture.choose(PHOTO)

    expect(ada.picture.hash).to_be_visible()
    expect(ada.picture.preview).to_be_hidden()
    expect(ada.picture.arrived).to_have_count(0)
    ada.screenshot("blurhash")
    for route in held:
        route.continue_()
    ada.page.unroute(f"{services.media.base_url}/**")
    ada.picture.expect_arrived()


def test_the_page_decodes_a_blurhash_as_others_do(ada: Visitor) -> None:
    letters = "LGA9?Ls.s,kC?Ij[azfk0%R-R-ax"
    ada.arrive()

    decoded = ada.page.evaluate(
        """async (letters) => {
          const { decode } = await import("/page/blurhash.js");
          return [...decode(letters, 32, 24)];
        }""",
        letters,
    )

    ours = np.array(decoded).reshape(24, 32, 4)
    theirs = np.asarray(blurhash.decode(letters, 32, 24))[..., :3].astype(int)
    assert np.abs(ours[..., :3] - theirs).max() <= 1
    assert (ours[..., 3] == 255).all()


def test_what_is_no_blurhash_paints_nothing(ada: Visitor) -> None:
    ada.arrive()

    painted = ada.page.evaluate(
        """async (hashes) => {
          const { paint } = await import("/page/blurhash.js");
          return hashes.map((letters) => paint(document.createElement("canvas"), letters));
        }""",
        ["", "LGA9", "LGA9?Ls.s,kC?Ij[azfk0%R-R-a", "L\"'" * 10],
    )

    assert painted == [False] * 4


@pytest.mark.parametrize(("density", "name"), [(1, "small"), (2, "medium")])
def test_the_smallest_sharp_thumbnail_is_fetched(
    browser: Browser, services: Services, density: int, name: str
) -> None:
    with browser.new_context(viewport=DESKTOP, device_scale_factor=density) as context:
        ada = Visitor(context.new_page(), services.users.base_url)
        ada.sign_up()

        ada.picture.choose(PHOTO)

        ada.picture.expect_arrived()
        source = ada.picture.image.evaluate("(image) => image.currentSrc")
        assert f"/{name}?" in source
        widths = re.findall(r" (\d+)w", ada.picture.image.get_attribute("srcset") or "")
        assert widths == ["150", "300", "600"]


def test_another_picture_replaces_the_first(ada: Visitor) -> None:
    ada.sign_up()
    ada.cover.choose(PHOTO)
    ada.cover.expect_arrived()
    first = ada.cover.address

    ada.cover.choose(painted())

    ada.cover.expect_arrived()
    expect(ada.cover.row).to_contain_text("640 × 480")
    assert ada.cover.address != first
    assert np.argmax(seen(ada.page, ".cover")[200, 600]) == 1, "it is green now"


def test_a_deletion_asks_first(ada: Visitor) -> None:
    ada.sign_up()
    ada.picture.choose(PHOTO)
    ada.picture.expect_arrived()

    ada.picture.delete.click()
    expect(ada.page.get_by_role("dialog")).to_contain_text("Delete your profile picture?")
    expect(ada.focused).to_have_text("Keep it")
    ada.screenshot("confirm")
    ada.page.keyboard.press("Escape")
    expect(ada.picture.arrived).to_be_visible()
    ada.picture.delete.click()
    ada.page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(ada.picture.image).to_be_hidden()
    expect(ada.picture.hash).to_be_hidden()
    expect(ada.picture.button.and_(ada.focused)).to_have_accessible_name("Add a profile picture")
    ada.reload()
    expect(ada.picture.delete).to_be_hidden()
    expect(ada.picture.image).to_be_hidden()


def test_a_dropped_file_is_taken(ada: Visitor) -> None:
    ada.sign_up()

    ada.cover.drag_over(painted())
    expect(ada.cover.zone).to_have_class(re.compile(r"\bover\b"))
    ada.screenshot("dragging")
    ada.cover.let_go()

    ada.cover.expect_arrived()
    expect(ada.cover.zone).not_to_have_class(re.compile(r"\bover\b"))


def test_a_picture_that_the_browser_can_not_show_is_taken_too(ada: Visitor) -> None:
    stored = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (640, 480), "seagreen")).save(stored)
    ada.sign_up()

    ada.cover.choose(FilePayload(name="phone.HEIC", mimeType="", buffer=stored.getvalue()))

    ada.cover.expect_arrived()


def test_an_upload_is_previewed_measured_and_can_be_cancelled(ada: Visitor) -> None:
    ada.sign_up()
    ada.picture.choose(painted("teal"))
    ada.picture.expect_arrived()
    throttle(ada.page, bytes_per_second=60_000)

    ada.picture.choose(PHOTO)

    expect(ada.picture.preview).to_be_visible()
    expect(ada.picture.progress).to_have_attribute("value", re.compile("^[1-9][0-9]?$"))
    ada.screenshot("uploading")
    ada.picture.press("Cancel")
    expect(ada.picture.preview).to_be_hidden()
    expect(ada.picture.row).to_contain_text("640 × 480")
    expect(ada.picture.button.and_(ada.focused)).to_have_count(1)


def throttle(page: Page, *, bytes_per_second: int) -> None:
    """Make what the page sends take its time, as a phone on a train."""
    conditions = {
        "offline": False,
        "latency": 0,
        "downloadThroughput": -1,
        "uploadThroughput": bytes_per_second,
    }
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)


def test_the_words_can_be_changed(ada: Visitor) -> None:
    ada.sign_up()

    ada.write(name="Ada <b>Lovelace</b>", bio="Poetical science.\nAnd numbers.")

    expect(ada.focused).to_have_text("Edit profile")
    ada.reload()
    expect(ada.heading).to_have_text("Ada <b>Lovelace</b>")
    expect(ada.page.locator("#bio")).to_have_text("Poetical science.\nAnd numbers.")


# --- for everybody ------------------------------------------------------------------------


def test_the_keyboard_is_enough(ada: Visitor) -> None:
    ada.arrive()
    ada.press_until("Create an account")
    ada.page.keyboard.press("Enter")
    ada.page.keyboard.type(ada.name)
    ada.press_until("Password")
    ada.page.keyboard.type("ripe apricots at dawn")
    ada.page.keyboard.press("Enter")
    expect(ada.heading).to_have_text(ada.name)

    ada.press_until("Add a profile picture")
    with ada.page.expect_file_chooser() as chooser:
        ada.page.keyboard.press("Enter")
    chooser.value.set_files(PHOTO)
    ada.picture.expect_arrived()
    ada.press_until("Delete profile picture")
    ada.screenshot("keyboard")
    ada.page.keyboard.press("Space")
    ada.page.keyboard.press("Tab")
    ada.page.keyboard.press("Enter")

    expect(ada.picture.image).to_be_hidden()
    ada.press_until("Sign out", key="Shift+Tab")
    ada.page.keyboard.press("Enter")
    expect(ada.heading).to_have_text("Sign in")


def test_what_happens_is_announced(ada: Visitor) -> None:
    ada.sign_up()

    ada.picture.choose(PHOTO)

    expect(ada.page.get_by_role("status")).to_have_text("Your profile picture is set.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_can_be_read_on_any_screen(
    browser: Browser, services: Services, scheme: str, viewport: ViewportSize
) -> None:
    is_dark = scheme == "dark"
    with browser.new_context(
        viewport=viewport, color_scheme="dark" if is_dark else "light"
    ) as context:
        ada = Visitor(context.new_page(), services.users.base_url)
        ada.arrive()
        assert ada.faint_texts == []
        ada.screenshot(f"sign-in-{viewport['width']}-{scheme}")
        ada.sign_up()
        ada.cover.choose(painted("indigo"))
        ada.cover.expect_arrived()
        ada.picture.choose(FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"text"))

        ada.picture.expect_trouble("not a picture")
        assert ada.faint_texts == []
        assert (seen(ada.page, "#profile")[-30, 60].mean() < 80) == is_dark
        assert ada.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        ada.screenshot(f"profile-{viewport['width']}-{scheme}")
        assert ada.complaints == []


def test_nothing_moves_for_who_wants_no_motion(browser: Browser, services: Services) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        ada = Visitor(context.new_page(), services.users.base_url)
        ada.sign_up()
        ada.picture.choose(painted())
        ada.picture.expect_arrived()

        fading = ada.picture.image.evaluate("(e) => getComputedStyle(e).transitionDuration")

        assert float(fading.removesuffix("s")) < 0.001


# --- what it may load ---------------------------------------------------------------------


def test_the_browser_is_told_to_run_nothing_else(services: Services) -> None:
    with urllib.request.urlopen(services.users.base_url) as answer:
        policy = answer.headers["Content-Security-Policy"]

    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";") if rule.strip())
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == f"'self' {services.media.base_url}"
    assert rules["media-src"] == f"blob: {services.media.base_url}"
    assert "worker-src" not in rules, "as default-src says"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert services.media.base_url in rules["img-src"].split()


@pytest.mark.parametrize(
    "path", sorted(path for path in STATIC.iterdir() if path.is_file()), ids=lambda path: path.name
)
def test_a_file_of_the_page_needs_nothing_from_outside(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address

    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", text)
    if path.suffix == ".html":
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", text)
        assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    if path.suffix == ".js":
        assert len(text.splitlines()) <= 200
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_only_the_two_services_are_asked(ada: Visitor, services: Services) -> None:
    ada.sign_up()
    ada.cover.choose(PHOTO)
    ada.cover.expect_arrived()
    ada.reload()

    asked = {re.sub(r"^(\w+://[^/]+).*", r"\1", r.url) for r in ada.requests}
    assert {a for a in asked if a.startswith("http")} <= {
        services.users.base_url,
        services.media.base_url,
    }
