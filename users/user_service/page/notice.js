// What goes on with one picture, in words: how far its upload is, or what went wrong.
import { announce, hide, one } from "./dom.js";

const TRY_AGAIN = "Try again";
const SPOKEN_STEP = 25; // percent; every percent would drown everything else

export class Notice {
  constructor(row, { resting, onCancel }) {
    this.resting = resting; // where the focus goes when its button goes away
    this.progress = one(".progress", row);
    this.label = one("label", this.progress);
    this.bar = one("progress", this.progress);
    this.cancel = one(".cancel", this.progress);
    this.trouble = one(".trouble", row);
    this.words = one("[role=alert]", this.trouble);
    this.wayOut = one(".way-out", this.trouble);
    this.cancel.addEventListener("click", onCancel);
    this.wayOut.addEventListener("click", () => this.accept());
    one(".dismiss", this.trouble).addEventListener("click", () => this.clear());
  }

  start(name) {
    this.clear();
    this.name = name;
    this.spoken = 0;
    this.cancel.hidden = false;
    this.progress.hidden = false;
    this.advance(0);
  }

  advance(share) {
    const percent = Math.floor(share * 100);
    this.bar.value = percent;
    this.label.textContent = `Uploading ${this.name}: ${percent} %`;
    if (share >= 1) this.finishing();
    else if (percent >= this.spoken + SPOKEN_STEP) {
      this.spoken = percent;
      announce(`${percent} % uploaded`);
    }
  }

  // All bytes are there and being looked at: from here on, cancelling would be a lie.
  finishing() {
    this.bar.removeAttribute("value");
    this.label.textContent = `Making ${this.name} ready…`;
    hide(this.cancel, this.resting());
  }

  clear() {
    clearTimeout(this.waiting);
    hide(this.progress, this.resting());
    hide(this.trouble, this.resting());
    this.words.textContent = "";
  }

  /** Say what went wrong and offer a way out, which opens after `seconds`. */
  complain(text, { offer = TRY_AGAIN, onAccept, seconds = 0 }) {
    this.clear();
    this.onAccept = onAccept;
    this.trouble.hidden = false;
    this.words.textContent = text;
    this.countDown(offer, seconds);
  }

  // `aria-disabled`, not `disabled`: the focus may be on it, and must not fall off the page.
  countDown(offer, seconds) {
    this.wayOut.setAttribute("aria-disabled", String(seconds > 0));
    this.wayOut.textContent = seconds > 0 ? `${offer} in ${seconds} s` : offer;
    if (seconds > 0) this.waiting = setTimeout(() => this.countDown(offer, seconds - 1), 1000);
  }

  accept() {
    if (this.wayOut.getAttribute("aria-disabled") === "true") return;
    this.clear();
    this.onAccept();
  }
}
