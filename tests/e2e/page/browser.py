"""A person with a browser: Debian's Chromium, headless, driven through Playwright.

Whatever the browser complains about (errors, refused by the content security policy) is kept,
and a visit in which it complained about something unexpected fails.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from playwright.sync_api import (
    Browser,
    FilePayload,
    Locator,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

ARTEFACTS = Path(__file__).parents[1] / "artefacts"
PASSWORD = "ripe apricots at dawn"
WAIT_MS = 20_000
DESKTOP: ViewportSize = {"width": 1100, "height": 800}

_numbers = itertools.count(1)

_DROP = """([zone, files]) => {
  const transfer = new DataTransfer();
  for (const { name, mimeType, text } of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: mimeType }));
  }
  const target = document.querySelector(zone);
  window.drag = (type) => target.dispatchEvent(
    new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""

_FAINT_TEXTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => colour.slice(0, 3)
    .map((byte) => byte / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const colour = numbers(getComputedStyle(element).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
    return element.parentElement ? behind(element.parentElement) : [255, 255, 255];
  };
  const ratio = (element) => {
    const pair = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const isRead = (element) => element.checkVisibility() && element.innerText?.trim();
  return [...document.querySelectorAll("h1, h2, h3, p, label, main button, main a")]
    .filter((element) => isRead(element) && !element.closest(".zone, [aria-disabled=true]"))
    .filter((element) => ratio(element) < 4.5)
    .map((element) => `${element.innerText}: ${ratio(element).toFixed(2)}`);
}"""


def chromium_path() -> str | None:
    """Where the system's Chromium is, if there is one. None is ever downloaded."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A browser, as long as this lasts."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none to offer
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=sandbox)
        try:
            yield browser
        finally:
            browser.close()


class Slot:
    """One of the two pictures on the page: where it is, and what is said about it."""

    def __init__(self, page: Page, kind: str) -> None:
        self._page = page
        self._zone = f".zone[data-kind={kind}]"
        self.zone = page.locator(self._zone)
        self.row = page.locator(f".row[data-kind={kind}]")
        self.image = self.zone.locator("img.picture")
        self.arrived = self.zone.locator("img.picture.arrived")
        self.preview = self.zone.locator("img.preview")
        self.hash = self.zone.locator("canvas")
        self.button = self.zone.get_by_role("button")
        self.progress = self.row.get_by_role("progressbar")
        self.alert = self.row.get_by_role("alert")
        self.full = self.row.get_by_role("link", name="Full size")
        self.delete = self.row.get_by_role("button", name="Delete", exact=False)

    def choose(self, file: FilePayload | Path) -> None:
        """Press the zone, and choose a file in the window that opens."""
        with self._page.expect_file_chooser() as chooser:
            self.button.click()
        chooser.value.set_files(file)

    def drag_over(self, *files: FilePayload) -> None:
        """Hold files over the zone."""
        told = [
            {**file, "buffer": None, "text": base64.b64encode(file["buffer"]).decode()}
            for file in files
        ]
        self._page.evaluate(_DROP, [self._zone, told])
        self._page.evaluate("['dragenter', 'dragover'].forEach((type) => window.drag(type))")

    def let_go(self) -> None:
        """Drop what is held over the zone."""
        self._page.evaluate("window.drag('drop')")

    def press(self, name: str) -> None:
        """Press a button of the row."""
        self.row.get_by_role("button", name=name).click()

    def expect_arrived(self) -> None:
        """Wait until the picture is there and nothing is going on any more."""
        expect(self.row.locator(".progress")).to_be_hidden(timeout=WAIT_MS)
        expect(self.arrived).to_be_visible(timeout=WAIT_MS)

    def expect_trouble(self, words: str) -> None:
        """Wait until this is said to be wrong."""
        expect(self.alert).to_contain_text(words, timeout=WAIT_MS)

    @property
    def address(self) -> str:
        """The URL of the picture itself."""
        return self.full.get_attribute("href") or ""

    @property
    def natural_width(self) -> int:
        """How wide the picture is that the browser decoded; 0 if it could not."""
        return int(self.image.evaluate("(image) => image.naturalWidth"))

    @property
    def hash_colours(self) -> int:
        """How many colours the painted BlurHash has."""
        colours = self.hash.evaluate(
            """(canvas) => {
              const { data } = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height);
              return new Set(new Uint32Array(data.buffer)).size;
            }"""
        )
        return int(colours)


class Visitor:
    """Somebody on the page."""

    def __init__(self, page: Page, base_url: str) -> None:
        self.page = page
        self.base_url = base_url
        self.name = f"ada{next(_numbers)}"
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self.picture = Slot(page, "picture")
        self.cover = Slot(page, "cover")
        # Playwright asks for file choosers only while somebody listens, and too late for the first.
        page.on("filechooser", lambda _: None)
        page.on("console", lambda told: self._note(told.type, told.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._sent)

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def _sent(self, request: Request) -> None:
        self.requests.append(request)

    def was_refused(self, *statuses: int) -> None:
        """These refusals, which the browser logs as errors, were asked for."""
        for status in statuses:
            logged = re.compile(rf"Failed to load resource.*status of {status} ")
            assert any(logged.match(text) for text in self.complaints), self.complaints
            self.complaints = [text for text in self.complaints if not logged.match(text)]

    def arrive(self) -> None:
        """Open the page, signed in or not."""
        self.page.goto(self.base_url)
        expect(self.page.locator("#waiting")).to_be_hidden(timeout=WAIT_MS)

    def fill_in(self, password: str = PASSWORD) -> None:
        """Name and password."""
        self.page.get_by_label("Username").fill(self.name)
        self.page.get_by_label("Password", exact=True).fill(password)

    def sign_up(self) -> None:
        """Open the page and make an account."""
        self.arrive()
        self.page.get_by_role("button", name="Create an account").click()
        self.fill_in()
        self.page.get_by_role("button", name="Create account").click()
        expect(self.heading).to_have_text(self.name, timeout=WAIT_MS)

    def write(self, *, name: str, bio: str) -> None:
        """Change the words of the profile."""
        self.page.get_by_role("button", name="Edit profile").click()
        self.page.get_by_label("Display name").fill(name)
        self.page.get_by_label("Bio").fill(bio)
        self.page.get_by_role("button", name="Save").click()
        expect(self.heading).to_have_text(name)

    def reload(self) -> None:
        """Come again with the same tab."""
        self.page.reload()
        expect(self.page.locator("#waiting")).to_be_hidden(timeout=WAIT_MS)

    @property
    def heading(self) -> Locator:
        """What the page in sight is called."""
        return self.page.get_by_role("heading", level=1)

    @property
    def focused(self) -> Locator:
        """Where the keyboard is."""
        return self.page.locator(":focus")

    @property
    def faint_texts(self) -> list[str]:
        """What is written with less contrast than WCAG's AA asks for."""
        return list(self.page.evaluate(_FAINT_TEXTS))

    def press_until(self, name: str, *, key: str = "Tab") -> None:
        """Go on with the keyboard until something of this name has the focus, and shows it."""
        target = self.page.get_by_label(name).or_(self.page.get_by_role("button", name=name))
        for _ in range(25):
            self.page.keyboard.press(key)
            if target.and_(self.focused).count():
                break
        expect(target.and_(self.page.locator(":focus-visible"))).to_have_count(1)
        assert self.focused.evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"

    def screenshot(self, name: str) -> Path:
        """Keep what is seen, for people to look at."""
        path = ARTEFACTS / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path


def painted(colour: str = "seagreen", *, size: tuple[int, int] = (640, 480)) -> FilePayload:
    """A small picture of one colour with a stripe."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).rectangle((0, 0, size[0], size[1] // 4), fill="gold")
    stored = io.BytesIO()
    image.save(stored, "PNG")
    return FilePayload(name=f"{colour}.png", mimeType="image/png", buffer=stored.getvalue())


def seen(page: Page, selector: str) -> np.ndarray:
    """The pixels on the screen."""
    shot = page.locator(selector).screenshot(animations="disabled")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=float)
