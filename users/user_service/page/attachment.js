// One file on its way into a post: waiting, being sent, there, or refused.
import { ApiError, call, upload } from "./api.js";
import { PATH, complaint, explainAttachment } from "./attachments.js";
import { announce, copyOf, one } from "./dom.js";
import { isPassing } from "./messages.js";
import { Notice } from "./notice.js";
import { SessionEnded, authorized } from "./session.js";
import { View } from "./view.js";

// Not `crypto.randomUUID`: that one is missing where the page came without TLS.
function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function inWords(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)}\u00a0KB` : `${(bytes / 1e6).toFixed(1)}\u00a0MB`;
}

export class Attachment {
  /** `onChange`: it has got further; `onRefused`: another may do; `onRemoved`: it is gone. */
  constructor(file, { onChange, onRefused, onRemoved, onSessionEnd }) {
    this.file = file;
    this.key = freshKey();
    this.onChange = onChange;
    this.onRefused = onRefused;
    this.onRemoved = onRemoved;
    this.onSessionEnd = onSessionEnd;
    this.element = copyOf("#attachment");
    this.button = one(".remove", this.element);
    this.notice = new Notice(this.element, {
      resting: () => this.button,
      onCancel: () => this.remove(),
    });
    this.describe();
    this.become("waiting");
    this.check();
  }

  describe() {
    const { name } = this.file;
    one(".name", this.element).textContent = name;
    this.button.setAttribute("aria-label", `Remove ${name}`);
    one(".cancel", this.element).setAttribute("aria-label", `Cancel the upload of ${name}`);
    this.button.addEventListener("click", () => this.remove());
  }

  check() {
    const code = complaint(this.file);
    if (code) this.refused(new ApiError({ code }));
  }

  get isOnItsWay() {
    return this.state === "waiting" || this.state === "sending";
  }

  async send() {
    this.become("sending");
    this.underWay = new AbortController();
    this.notice.start(this.file.name);
    try {
      this.store(await this.transmit(this.underWay.signal));
    } catch (error) {
      this.fail(error);
    }
    this.onChange();
  }

  become(state) {
    this.state = state;
    const size = inWords(this.file.size);
    one(".rules", this.element).textContent = state === "waiting" ? `${size}, waiting` : size;
  }

  transmit(signal) {
    const onProgress = (share) => this.notice.advance(share);
    const { file, key } = this;
    return authorized((token) => upload(PATH, file, { token, signal, onProgress, key }));
  }

  store(media) {
    if (this.state === "removed") return;
    this.become("stored");
    this.media = media;
    this.notice.clear();
    this.view = new View(this.file.name, { onSessionEnd: this.onSessionEnd });
    this.element.prepend(this.view.element);
    this.view.follow(media);
    announce(`${this.file.name} is uploaded.`);
  }

  fail(error) {
    if (error instanceof SessionEnded) this.onSessionEnd();
    else if (error.name === "AbortError") announce("Upload cancelled.");
    else if (error instanceof ApiError) this.refused(error);
    else throw error;
  }

  refused(error) {
    this.become("refused");
    const again = { onAccept: () => this.again(), seconds: error.retryAfterSeconds };
    const another = { offer: "Choose another", onAccept: () => this.onRefused(this) };
    this.notice.complain(explainAttachment(error), isPassing(error) ? again : another);
  }

  again() {
    this.become("waiting");
    this.onChange();
  }

  /** Take it out of the post; what is stored already is deleted. */
  async remove() {
    this.become("removed");
    this.underWay?.abort();
    this.view?.close();
    this.onRemoved(this);
    if (this.media) await this.erase();
  }

  async erase() {
    const path = `/api/v1/media/${encodeURIComponent(this.media.media_id)}`;
    try {
      await authorized((token) => call("DELETE", path, { token }));
    } catch (error) {
      if (error instanceof SessionEnded) this.onSessionEnd();
      else if (!(error instanceof ApiError)) throw error; // it stays, and nobody sees it
    }
  }
}
