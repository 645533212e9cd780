// A sound with its wave: pressed it plays from there; the keyboard moves through it, too.
import { copyOf, one } from "./dom.js";

const BARS = 100;
const STEP_SECONDS = 5;

const named = (renditions, name) => renditions.find((rendition) => rendition.name === name)?.url;

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** The wave as the path of a drawing of the loudest of each few peaks. */
export function outline(peaks) {
  const each = Math.max(1, Math.ceil(peaks.length / BARS));
  const bars = [];
  for (let at = 0; at < peaks.length; at += each) bars.push(Math.max(...peaks.slice(at, at + each)));
  const path = bars.map((peak, at) => {
    const half = Math.max(2, Math.min(1, peak) * 48);
    return `M${at + 0.5} ${50 - half}v${2 * half}`;
  });
  return { path: path.join(""), count: bars.length };
}

export class Sound {
  constructor(frame, name) {
    const element = copyOf("#sound");
    this.name = name;
    this.audio = one("audio", element);
    this.button = one(".play", element);
    this.wave = one(".wave", element);
    this.time = one(".time", element);
    this.wave.setAttribute("aria-label", `Position in ${name}`);
    frame.append(element);
    this.listen();
    this.mark();
  }

  listen() {
    this.button.addEventListener("click", () => this.toggle());
    this.wave.addEventListener("click", ({ clientX }) => {
      const { left, width } = this.wave.getBoundingClientRect();
      this.seek(((clientX - left) / width) * this.seconds);
    });
    this.wave.addEventListener("keydown", (event) => this.press(event));
    for (const type of ["play", "pause", "ended", "timeupdate", "seeked", "loadedmetadata"]) {
      this.audio.addEventListener(type, () => this.mark());
    }
  }

  get seconds() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : (this.told ?? 0);
  }

  update({ renditions, thumbnails, duration_ms: milliseconds }) {
    this.told = milliseconds / 1000;
    const file = named(renditions, "full");
    if (file && !this.audio.src) this.audio.src = file;
    this.picture(named(thumbnails, "wave"));
    this.draw(named(renditions, "waveform"));
    this.mark();
  }

  picture(url) {
    const image = one("img", this.wave);
    if (!url || image.src || this.isDrawn) return;
    image.onload = () => {
      image.hidden = this.isDrawn ?? false;
    };
    image.src = url;
  }

  async draw(url) {
    if (!url || this.asked) return;
    this.asked = true;
    const answer = await fetch(url).catch(() => null); // the picture of the wave has to do
    if (!answer?.ok) return;
    const { path, count } = outline((await answer.json()).peaks);
    for (const drawing of this.wave.querySelectorAll("svg")) {
      drawing.setAttribute("viewBox", `0 0 ${count} 100`);
      one("path", drawing).setAttribute("d", path);
    }
    this.isDrawn = true;
    one("img", this.wave).hidden = true;
  }

  toggle() {
    if (!this.audio.src) return;
    if (this.audio.paused) this.audio.play().catch(() => this.mark());
    else this.audio.pause();
  }

  seek(seconds) {
    if (!this.audio.src) return;
    this.audio.currentTime = Math.min(Math.max(0, seconds), this.seconds);
    this.mark();
  }

  press(event) {
    const at = this.audio.currentTime;
    const moves = {
      ArrowRight: at + STEP_SECONDS,
      ArrowUp: at + STEP_SECONDS,
      ArrowLeft: at - STEP_SECONDS,
      ArrowDown: at - STEP_SECONDS,
      Home: 0,
      End: this.seconds,
    };
    if (event.key === " " || event.key === "Enter") this.toggle();
    else if (Object.hasOwn(moves, event.key)) this.seek(moves[event.key]);
    else return;
    event.preventDefault(); // the page would scroll
  }

  mark() {
    const { currentTime, paused } = this.audio;
    const said = `${clock(currentTime)} of ${clock(this.seconds)}`;
    this.wave.style.setProperty("--share", this.seconds ? currentTime / this.seconds : 0);
    this.wave.setAttribute("aria-valuemax", Math.round(this.seconds));
    this.wave.setAttribute("aria-valuenow", Math.round(currentTime));
    this.wave.setAttribute("aria-valuetext", said);
    this.time.textContent = clock(paused && !currentTime ? this.seconds : currentTime);
    this.button.setAttribute("aria-disabled", String(!this.audio.src));
    this.button.setAttribute("aria-label", `${paused ? "Play" : "Pause"} ${this.name}`);
    one("use", this.button).setAttribute("href", paused ? "#play" : "#pause");
  }

  close() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
  }
}
