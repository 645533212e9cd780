"""Posts on the page: pictures, films and sounds on their way in, and played."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, ViewportSize, expect

from tests.e2e.page.browser import DESKTOP, WAIT_MS, Visitor, chromium_path, painted
from tests.e2e.page.composing import MADE_MS, Composer, is_played, long_movie, movie, tone
from tests.e2e.page.conftest import Services
from tests.e2e.page.test_page import PHONE, STATIC, throttle

pytestmark = [
    pytest.mark.needs_postgres,
    pytest.mark.skipif(chromium_path() is None, reason="needs a browser: apt-get install chromium"),
]

HLS_JS = {  # version 1.7.4 of the package hls.js, as it was published
    "hls.light.min.mjs": "3d82a88cf9ae0d9aaab3cbe9ff6ecbb64bb89c54a399c34ae9bf8b559baeb20f",
}


@pytest.fixture
def composer(ada: Visitor) -> Composer:
    """Somebody who is about to write."""
    ada.sign_up()
    return Composer(ada.page)


# --- pictures -----------------------------------------------------------------------------


def test_a_picture_is_posted_with_words(ada: Visitor, composer: Composer) -> None:
    composer.attach(painted("teal", size=(900, 600)))
    view = composer.expect_stored("teal.png")
    expect(view.locator("img.arrived")).to_be_visible(timeout=WAIT_MS)

    post = composer.post("Good morning.\n<b>All</b> of you.")

    expect(post).to_contain_text("<b>All</b> of you.")
    picture = post.get_by_role("img", name="teal.png")
    expect(picture).to_have_js_property("naturalWidth", 900, timeout=WAIT_MS)
    expect(post.get_by_role("link")).to_have_attribute("href", re.compile("/full"))
    expect(composer.root.get_by_label("What is new?").and_(ada.focused)).to_have_count(1)
    assert len(ada.page.get_by_role("status").inner_text()) > 0


def test_its_blurhash_is_seen_first(ada: Visitor, composer: Composer, services: Services) -> None:
    ada.page.route(f"{services.media.base_url}/**", lambda _: None)

    composer.attach(painted())

    view = composer.expect_stored("seagreen.png")
    expect(view.locator("canvas")).to_be_visible()
    colours = view.locator("canvas").evaluate(
        "(c) => new Set(new Uint32Array("
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )
    assert colours > 20
    ada.page.unroute_all(behavior="ignoreErrors")


def test_several_are_sent_at_once_each_with_its_progress(ada: Visitor, composer: Composer) -> None:
    throttle(ada.page, bytes_per_second=200_000)
    colours = ["teal", "indigo", "maroon", "olive"]
    files = [
        FilePayload(
            name=f"{c}.png", mimeType="image/png", buffer=painted(c)["buffer"] + bytes(250_000)
        )
        for c in colours
    ]

    composer.attach(*files)

    for colour in colours[:3]:
        bar = composer.card(f"{colour}.png").get_by_role("progressbar")
        expect(bar).to_have_attribute("value", re.compile("^[1-9][0-9]?$"), timeout=WAIT_MS)
    expect(composer.card("olive.png")).to_contain_text("waiting")
    expect(composer.submit).to_have_attribute("aria-disabled", "true")
    composer.submit.click(force=True)  # it is `aria-disabled`, which Playwright would wait for
    expect(composer.root.get_by_role("alert")).to_have_text("Still uploading: a moment.")
    ada.screenshot("composing")
    throttle(ada.page, bytes_per_second=-1)
    for colour in colours:
        composer.expect_stored(f"{colour}.png")
    post = composer.post()
    expect(post.locator("img.arrived")).to_have_count(4, timeout=WAIT_MS)


def test_one_that_is_on_its_way_can_be_cancelled(ada: Visitor, composer: Composer) -> None:
    throttle(ada.page, bytes_per_second=60_000)
    slow = FilePayload(name="slow.mov", mimeType="video/quicktime", buffer=bytes(10**6))
    composer.attach(slow)
    card = composer.card("slow.mov")
    expect(card.get_by_role("progressbar")).to_have_attribute(
        "value", re.compile("^[1-9]"), timeout=WAIT_MS
    )

    card.get_by_role("button", name="Cancel the upload of slow.mov").click()

    expect(card).to_have_count(0)
    expect(ada.page.get_by_role("status")).to_have_text("Upload cancelled.")
    expect(ada.focused).to_have_text(re.compile("Attach files"))


def test_what_is_removed_is_deleted(ada: Visitor, composer: Composer, services: Services) -> None:
    composer.attach(painted())
    view = composer.expect_stored("seagreen.png")
    url = view.get_by_role("link").get_attribute("href") or ""
    assert url.startswith(services.media.base_url)

    with ada.page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        composer.card("seagreen.png").get_by_role("button", name="Remove").click()

    assert deleted.value.status == 200
    assert ada.page.request.get(url).status == 404


def test_dropped_and_pasted_files_are_taken(ada: Visitor, composer: Composer) -> None:
    script = """([kind, zone]) => {
      const transfer = new DataTransfer();
      const canvas = document.createElement("canvas");
      canvas.toBlob((blob) => {
        transfer.items.add(new File([blob], `${kind}.png`, { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        const event = kind === "paste"
          ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
          : new DragEvent(kind, { ...options, dataTransfer: transfer });
        document.querySelector(zone).dispatchEvent(event);
      });
    }"""
    for kind in ("drop", "paste"):
        ada.page.evaluate(script, [kind, "#post-words"])
        composer.expect_stored(f"{kind}.png")


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "words", "status"),
    [
        (("notes.txt", "text/plain", b"text"), "no picture, film or sound", 0),
        (("empty.mov", "video/quicktime", b""), "empty", 0),
        (("cat.mp4", "video/mp4", b"<html><script>1</script>"), "no picture, film or sound", 415),
        (("half.png", "image/png", painted()["buffer"][:900]), "damaged or incomplete", 422),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_refusal_says_why(
    ada: Visitor, composer: Composer, file: tuple[str, str, bytes], words: str, status: int
) -> None:
    name, kind, content = file
    composer.attach(FilePayload(name=name, mimeType=kind, buffer=content), painted())

    expect(composer.card(name).get_by_role("alert")).to_contain_text(words, timeout=WAIT_MS)
    composer.expect_stored("seagreen.png")
    composer.submit.click(force=True)
    expect(composer.root.locator("form > .problem")).to_contain_text("Remove what can't be posted")
    with ada.page.expect_file_chooser():
        composer.card(name).get_by_role("button", name="Choose another").click()
    expect(composer.card(name)).to_have_count(0)
    composer.post()
    if status:
        ada.was_refused(status)


def test_an_outage_is_told_and_the_same_can_be_tried_again(
    ada: Visitor, composer: Composer
) -> None:
    keys: list[str] = []

    def refuse_once(route: object) -> None:
        keys.append(route.request.headers["idempotency-key"])  # type: ignore[attr-defined]
        if len(keys) > 1:
            route.continue_()  # type: ignore[attr-defined]
            return
        error = {"code": "media_unavailable", "message": "Away."}
        route.fulfill(status=503, json={"success": False, "error": error})  # type: ignore[attr-defined]

    ada.page.route("**/api/v1/media/attachments", refuse_once)
    composer.attach(painted())
    card = composer.card("seagreen.png")
    expect(card.get_by_role("alert")).to_contain_text("away for a moment")

    card.get_by_role("button", name="Try again").click()

    composer.expect_stored("seagreen.png")
    assert len(set(keys)) == 1, "the same upload"
    ada.was_refused(503)


# --- films and sounds ---------------------------------------------------------------------


def test_of_a_film_the_poster_is_seen_first_then_it_plays_upright(
    ada: Visitor, composer: Composer
) -> None:
    composer.attach(long_movie())

    view = composer.expect_stored("IMG_0042.MOV")
    poster, video = view.locator("img.poster"), view.locator("video")
    expect(poster).to_be_visible(timeout=WAIT_MS)
    assert poster.evaluate("(image) => image.naturalHeight > image.naturalWidth"), "upright"
    ada.screenshot("poster")
    expect(video).to_be_visible(timeout=MADE_MS)
    told = is_played(view, "video")
    assert told["currentTime"] > 0.2
    assert told["videoWidth"] < told["videoHeight"]
    expect(video).to_have_attribute("poster", re.compile("^http"))
    ada.screenshot("film")


def test_a_film_streams(ada: Visitor, composer: Composer) -> None:
    composer.attach(movie("stream.MOV"))
    view = composer.expect_stored("stream.MOV")
    expect(view).to_have_attribute("data-status", "completed", timeout=MADE_MS)

    post = composer.post("A stream.")

    film = post.locator("figure")
    video = film.locator("video")
    expect(video).to_have_attribute("data-plays", "stream", timeout=WAIT_MS)
    expect(video).to_have_js_property("networkState", 1)  # idle: nothing spins over the poster
    assert not [r for r in ada.requests if "/hls" in r.url and "/page/" not in r.url]
    told = is_played(film, "video")
    assert told["currentSrc"].startswith("blob:"), "hls.js feeds it"
    assert told["videoWidth"] < told["videoHeight"]
    asked = [r.url for r in ada.requests if "/page/" not in r.url]
    assert [url for url in asked if "hls-" in url and "segments" in url]


def test_a_film_whose_stream_is_away_plays_from_its_file(ada: Visitor, composer: Composer) -> None:
    composer.attach(movie("stream.MOV"))
    view = composer.expect_stored("stream.MOV")
    expect(view).to_have_attribute("data-status", "completed", timeout=MADE_MS)
    film = composer.post("No stream.").locator("figure")
    expect(film.locator("video")).to_have_attribute("data-plays", "stream", timeout=WAIT_MS)
    ada.page.route("**/hls?*", lambda route: route.fulfill(status=404))

    told = is_played(film, "video")

    assert "/full?" in told["currentSrc"]
    ada.was_refused(404)


def test_a_sound_plays_along_its_wave(ada: Visitor, composer: Composer) -> None:
    composer.attach(tone())
    view = composer.expect_stored("memo.wav")
    wave = view.get_by_role("slider", name="Position in memo.wav")
    play = view.get_by_role("button", name="Play memo.wav")
    expect(wave.locator(".played path")).to_have_attribute(
        "d", re.compile("^M0.5 "), timeout=MADE_MS
    )
    expect(play).to_have_attribute("aria-disabled", "false", timeout=MADE_MS)
    expect(view).to_contain_text("0:02")

    play.click()

    expect(wave).to_have_attribute("aria-valuetext", "0:01 of 0:02", timeout=WAIT_MS)
    expect(view.get_by_role("button", name="Play memo.wav")).to_be_visible(timeout=WAIT_MS)
    wave.press("Home")
    expect(wave).to_have_attribute("aria-valuetext", "0:00 of 0:02")
    box = wave.bounding_box() or {"width": 0, "height": 0}
    wave.click(position={"x": box["width"] * 0.75, "y": box["height"] / 2})
    expect(wave).to_have_attribute("aria-valuetext", "0:01 of 0:02")
    ada.screenshot("sound")


def test_a_film_a_sound_and_a_picture_make_one_post(ada: Visitor, composer: Composer) -> None:
    composer.attach(movie("clip.MOV"), tone("note.wav"), painted())
    for name in ("clip.MOV", "note.wav", "seagreen.png"):
        composer.expect_stored(name)

    post = composer.post("All of it.")

    expect(post.locator("figure")).to_have_count(3)
    expect(post.locator("video")).to_be_visible(timeout=MADE_MS)
    is_played(post.locator("video"), "video")
    expect(post.get_by_role("button", name="Play note.wav")).to_have_attribute(
        "aria-disabled", "false", timeout=MADE_MS
    )
    ada.screenshot("posts")
    ada.page.get_by_role("button", name="Sign out").click()
    expect(ada.page.locator("#feed")).to_be_hidden()


# --- for everybody ------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_posts_can_be_read_on_any_screen(
    browser: Browser, services: Services, scheme: str, viewport: ViewportSize
) -> None:
    is_dark = scheme == "dark"
    with browser.new_context(
        viewport=viewport, color_scheme="dark" if is_dark else "light"
    ) as context:
        ada = Visitor(context.new_page(), services.users.base_url)
        ada.sign_up()
        composer = Composer(ada.page)
        composer.attach(painted("indigo"))
        expect(composer.expect_stored("indigo.png").locator("img.arrived")).to_be_visible()
        composer.post("What a colour.")
        composer.attach(FilePayload(name="n.txt", mimeType="text/plain", buffer=b"x"), painted())
        composer.expect_stored("seagreen.png")
        assert ada.faint_texts == []
        assert ada.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        ada.screenshot(f"posts-{viewport['width']}-{scheme}")
        assert ada.complaints == []


def test_the_keyboard_is_enough_for_a_post(ada: Visitor, composer: Composer) -> None:
    composer.attach(painted())
    composer.expect_stored("seagreen.png")
    composer.root.get_by_label("What is new?").focus()
    ada.page.keyboard.type("Typed.")
    ada.press_until("Attach files")
    ada.press_until("Post")

    ada.page.keyboard.press("Enter")

    expect(composer.posts.first).to_contain_text("Typed.")


@pytest.mark.parametrize("name", HLS_JS)
def test_what_others_wrote_is_as_they_published_it(name: str) -> None:
    folder = Path(STATIC, "hls")

    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == HLS_JS[name]
    assert "Apache License" in (folder / "LICENSE").read_text()
