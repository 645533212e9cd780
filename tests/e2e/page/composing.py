"""The composer of the page and the posts below it, as somebody uses them."""

from __future__ import annotations

import functools
import io
import math
import struct
import wave
from typing import Any

from fakes.films import phone_film
from playwright.sync_api import FilePayload, Locator, Page, expect

MADE_MS = 100_000


class Composer:
    """Where posts are written."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.root = page.locator("#composer")
        self.cards = self.root.locator(".attachment")
        self.posts = page.locator("#feed .post")
        self.submit = self.root.get_by_role("button", name="Post", exact=True)

    def attach(self, *files: FilePayload) -> None:
        """Press the button, and choose files in the window that opens."""
        with self._page.expect_file_chooser() as chooser:
            self.root.get_by_role("button", name="Attach files").click()
        chooser.value.set_files(list(files))

    def card(self, name: str) -> Locator:
        """What is shown of one attachment."""
        return self.cards.filter(has=self._page.get_by_role("heading", name=name))

    def expect_stored(self, name: str) -> Locator:
        """Wait until a file is uploaded; what is shown of it."""
        view = self.card(name).locator(".view")
        expect(view).to_be_visible(timeout=MADE_MS)
        return view

    def post(self, words: str = "") -> Locator:
        """Publish; the post."""
        self.root.get_by_label("What is new?").fill(words)
        self.submit.click()
        expect(self.cards).to_have_count(0)
        return self.posts.first


def is_played(view: Locator, tag: str) -> dict[str, Any]:
    """Play a film or a sound for a moment; what its element says of itself then."""
    script = """async (element) => {
      const player = element.tagName === "FIGURE" ? element.querySelector("TAG") : element;
      player.muted = true;
      player.play().catch(() => {}); // a stream that takes the file's place begins anew
      await new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error(`stuck at ${player.currentTime}`)), 15000);
        player.addEventListener("timeupdate", () => player.currentTime > 0.2 && resolve());
      });
      const { currentTime, videoWidth, videoHeight, currentSrc } = player;
      player.pause();
      return { currentTime, videoWidth, videoHeight, currentSrc };
    }""".replace("TAG", tag)
    told: dict[str, Any] = view.evaluate(script)
    return told


@functools.cache
def movie(name: str = "IMG_0042.MOV", *, seconds: float = 2.0) -> FilePayload:
    """What a phone records when it is held upright."""
    return _quicktime(name, phone_film(seconds=seconds))


@functools.cache
def long_movie(name: str = "IMG_0042.MOV") -> FilePayload:
    """One that no browser plays as it is, and whose transcode takes some seconds."""
    return _quicktime(name, phone_film(codec="hevc", seconds=8.0, size=(720, 1280)))


def _quicktime(name: str, content: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="video/quicktime", buffer=content)


@functools.cache
def tone(name: str = "memo.wav", *, seconds: float = 2.0) -> FilePayload:
    """A voice message, if a dull one: it swells and fades."""
    rate, kept = 16_000, io.BytesIO()
    total = int(rate * seconds)
    samples = (
        int(20_000 * math.sin(math.pi * n / total) * math.sin(n * 2 * math.pi * 440 / rate))
        for n in range(total)
    )
    with wave.open(kept, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return FilePayload(name=name, mimeType="audio/wav", buffer=kept.getvalue())
