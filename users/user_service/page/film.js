// A film: its poster first, then the file that plays everywhere, then the stream that adapts.
import { playerOf } from "./stream.js";

const named = (renditions, name) => renditions.find((rendition) => rendition.name === name)?.url;

export class Film {
  constructor(frame, name) {
    this.poster = document.createElement("img");
    this.poster.className = "poster";
    this.poster.alt = `First look at ${name}`;
    this.poster.hidden = true;
    this.video = document.createElement("video");
    Object.assign(this.video, { controls: true, playsInline: true, preload: "none", hidden: true });
    this.video.setAttribute("aria-label", name);
    this.video.addEventListener("play", () => this.start(), { once: true });
    frame.append(this.poster, this.video);
  }

  update({ renditions, thumbnail_url: thumbnail }) {
    this.showPoster(named(renditions, "poster") || thumbnail);
    this.offer(named(renditions, "full"));
    this.stream(named(renditions, "hls"));
  }

  showPoster(url) {
    if (!url || this.poster.src) return;
    this.poster.onload = () => {
      this.poster.hidden = !this.video.hidden;
      this.video.poster = url;
    };
    this.poster.src = url;
  }

  offer(url) {
    if (!url || this.file) return;
    this.file = url;
    this.video.src = url;
    this.video.hidden = false;
    this.poster.hidden = true;
  }

  // What is being watched goes on as it is: the stream is for whoever starts after it was made.
  // Until then the file stays where it is, or the browser would show that it waits for something.
  async stream(url) {
    if (!url || !this.file || this.isStarted || this.streaming) return;
    this.streaming = url;
    this.player = await playerOf(url);
    if (this.player) this.video.dataset.plays = "stream";
  }

  start() {
    this.isStarted = true;
    this.leave = this.player?.(this.video, { onTrouble: () => this.fallBack() });
  }

  fallBack() {
    const { currentTime, paused } = this.video;
    this.leave?.();
    this.leave = null;
    if (!this.file) return;
    this.video.src = this.file;
    this.video.currentTime = currentTime;
    if (!paused) this.video.play().catch(() => {}); // whoever wants to sees the button
  }

  close() {
    this.leave?.();
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }
}
