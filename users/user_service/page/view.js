// One medium as it is seen: its BlurHash at once, its poster, then what plays, as they are made.
import { ApiError } from "./api.js";
import { explainAttachment } from "./attachments.js";
import { paint } from "./blurhash.js";
import { announce, copyOf, one } from "./dom.js";
import { changes, isOver } from "./events.js";
import { Film } from "./film.js";
import { SessionEnded } from "./session.js";
import { Sound } from "./sound.js";
import { Still } from "./still.js";

const SHOWN = { image: Still, video: Film, audio: Sound };
const NARROWEST = 3 / 4; // what is higher gets bars at its sides

export class View {
  constructor(name, { onSessionEnd }) {
    this.name = name;
    this.onSessionEnd = onSessionEnd;
    this.element = copyOf("#view");
    this.element.setAttribute("aria-label", name);
    this.frame = one(".frame", this.element);
    this.caption = one(".making", this.element);
    this.problem = one(".problem", this.element);
    this.leaving = new AbortController();
  }

  /** Show a medium, and what becomes of it. */
  async follow(media) {
    this.show(media);
    if (isOver(media)) return;
    try {
      for await (const changed of changes(media.media_id, this.leaving.signal)) this.show(changed);
      if (!this.leaving.signal.aborted && !this.problem.textContent) announce(`${this.name} is ready.`);
    } catch (error) {
      this.fail(error);
    }
  }

  show(media) {
    this.content ??= this.begin(media);
    this.element.dataset.status = media.status;
    this.content.update(media);
    this.measure(media);
    if (media.status === "failed") this.complain({ code: media.failure_code, message: "" });
  }

  begin(media) {
    this.element.dataset.type = media.media_type;
    const isSeen = media.width > 0 && media.height > 0 && media.media_type !== "audio";
    if (isSeen) {
      const canvas = one(".blur", this.frame);
      canvas.hidden = !paint(canvas, media.blurhash ?? "", media);
      this.frame.style.aspectRatio = String(Math.max(media.width / media.height, NARROWEST));
    }
    return new SHOWN[media.media_type](this.frame, this.name);
  }

  measure(media) {
    this.caption.hidden = isOver(media);
    const percent = media.progress_percent;
    one("label", this.caption).textContent = `Making ${this.name} ready: ${percent}\u00a0%`;
    one("progress", this.caption).value = percent;
  }

  complain(error) {
    this.caption.hidden = true;
    this.problem.hidden = false;
    this.problem.textContent = explainAttachment(error);
  }

  fail(error) {
    if (error.name === "AbortError") return;
    if (error instanceof SessionEnded) this.onSessionEnd();
    else if (error instanceof ApiError) this.complain(error);
    else throw error;
  }

  close() {
    this.leaving.abort();
    this.content?.close();
    this.element.remove();
  }
}
