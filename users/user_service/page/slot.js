// One of the profile's two pictures, with all that can happen to it.
import { ApiError, call, upload } from "./api.js";
import { announce, confirmDeletion, one } from "./dom.js";
import { takeFiles } from "./dropping.js";
import { KINDS, complaint, rules } from "./kinds.js";
import { explainPicture, isCertain, isPassing } from "./messages.js";
import { Notice } from "./notice.js";
import { Picture } from "./picture.js";
import { SessionEnded, authorized } from "./session.js";

const ACCEPT = "image/jpeg,image/png,image/webp,image/gif,image/avif,image/heic,image/heif";

export class Slot {
  /** `onDoubt`: what the server holds is not known; `onSessionEnd`: it wants a password. */
  constructor(kindName, { onDoubt, onSessionEnd }) {
    this.kind = KINDS[kindName];
    this.zone = one(`.zone[data-kind=${kindName}]`);
    this.row = one(`.row[data-kind=${kindName}]`);
    this.button = one(".choose", this.zone);
    this.onDoubt = onDoubt;
    this.onSessionEnd = onSessionEnd;
    this.mediaId = null;
    this.underWay = null;
    this.picture = new Picture(this.zone, this.kind.sizes);
    this.notice = new Notice(this.row, {
      resting: () => this.button,
      onCancel: () => this.underWay?.abort(),
    });
    this.listen();
  }

  listen() {
    one(".rules", this.row).textContent = rules(this.kind);
    one("input[type=file]", this.zone).accept = ACCEPT;
    one(".delete", this.row).addEventListener("click", () => this.askAndDelete());
    takeFiles(this.zone, {
      onFiles: (files) => this.take(files),
      mayTake: () => this.mayTake(),
    });
  }

  get isBusy() {
    return this.underWay !== null;
  }

  mayTake() {
    if (this.isBusy) announce("One upload at a time: this one is still under way.");
    return !this.isBusy;
  }

  /** Forget everything that belonged to who was signed in. */
  reset() {
    this.underWay?.abort();
    this.notice.clear();
    this.picture.endPreview();
    this.show(null);
  }

  /** Show what the server holds, where that is something else than what is seen. */
  follow(media) {
    if (this.isBusy || (media?.media_id ?? null) === this.mediaId) return;
    this.notice.clear();
    this.show(media);
  }

  /** Show a medium, or that there is none. */
  async show(media) {
    this.mediaId = media?.media_id ?? null;
    this.describe(media);
    if (!media) {
      this.picture.clear();
      return;
    }
    const loaded = await this.picture.show(media, `Your ${this.kind.name}`);
    if (loaded) return;
    const onAccept = () => this.show(media);
    this.notice.complain(`Your ${this.kind.name} can't be shown right now.`, { onAccept });
  }

  describe(media) {
    const verb = media ? "Change" : "Add a";
    one(".label", this.zone).textContent = `${verb} ${this.kind.name}`;
    const full = one(".full", this.row);
    full.hidden = !media;
    if (media) full.href = media.url;
    full.setAttribute("aria-label", `Full size of your ${this.kind.name}, in a new tab`);
    one(".delete", this.row).hidden = !media;
    const isMeasured = media?.width && media?.height;
    one(".facts", this.row).textContent = isMeasured ? `${media.width} × ${media.height}` : "";
  }

  take(files) {
    const [file] = files;
    const code = files.length > 1 ? "too_many_files" : complaint(file, this.kind);
    if (code) this.refused(new ApiError({ code }));
    else this.send(file);
  }

  async send(file) {
    this.mark(new AbortController());
    this.picture.preview(file);
    this.notice.start(file.name);
    try {
      this.settle(await this.transmit(file, this.underWay.signal));
    } catch (error) {
      this.fail(error, () => this.send(file));
    } finally {
      this.mark(null);
      this.picture.endPreview();
    }
  }

  mark(underWay) {
    this.underWay = underWay;
    this.zone.classList.toggle("busy", this.isBusy);
    one(".delete", this.row).setAttribute("aria-disabled", String(this.isBusy));
  }

  transmit(file, signal) {
    const onProgress = (share) => {
      this.zone.style.setProperty("--share", share);
      this.notice.advance(share);
    };
    return authorized((token) => upload(this.kind.path, file, { token, signal, onProgress }));
  }

  settle(media) {
    this.notice.clear();
    this.show(media);
    announce(`Your ${this.kind.name} is set.`);
  }

  async askAndDelete() {
    if (this.mayTake() && (await confirmDeletion(this.kind.name))) await this.remove();
  }

  async remove() {
    try {
      await this.erase();
    } catch (error) {
      this.fail(error, () => this.remove());
      return;
    }
    this.notice.clear();
    this.show(null);
    this.button.focus();
    announce(`Your ${this.kind.name} is deleted.`);
  }

  async erase() {
    const path = `/api/v1/media/${encodeURIComponent(this.mediaId)}`;
    const button = one(".delete", this.row);
    button.textContent = "Deleting…";
    try {
      await authorized((token) => call("DELETE", path, { token }));
    } catch (error) {
      if (error.status !== 404) throw error; // gone already is as good
    } finally {
      button.textContent = "Delete";
    }
  }

  fail(error, again) {
    if (error instanceof SessionEnded) this.onSessionEnd();
    else if (error.name === "AbortError") this.cancelled();
    else if (error instanceof ApiError) this.refused(error, again);
    else throw error;
  }

  cancelled() {
    this.notice.clear();
    announce("Upload cancelled.");
    this.onDoubt();
  }

  refused(error, again) {
    const chooseAnother = { offer: "Choose another", onAccept: () => this.button.click() };
    const tryAgain = { onAccept: again, seconds: error.retryAfterSeconds };
    const wayOut = isPassing(error) ? tryAgain : chooseAnother;
    this.notice.complain(explainPicture(error, this.kind), wayOut);
    if (!isCertain(error)) this.onDoubt();
  }
}
