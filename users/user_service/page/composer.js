// Writes a post: words, and files that are sent while the words are being found.
import { Attachment } from "./attachment.js";
import { ACCEPT, MOST, RULES } from "./attachments.js";
import { announce, one } from "./dom.js";
import { takeFiles } from "./dropping.js";

const AT_ONCE = 3;

export class Composer {
  constructor({ onPost, onSessionEnd }) {
    this.root = one("#composer");
    this.words = one("textarea", this.root);
    this.list = one(".attachments", this.root);
    this.problem = one("form > .problem", this.root);
    this.submit = one("[type=submit]", this.root);
    this.onPost = onPost;
    this.onSessionEnd = onSessionEnd;
    this.attachments = [];
    one("#attachment-rules").textContent = RULES;
    one("input[type=file]", this.root).accept = ACCEPT;
    this.listen();
    this.mark();
  }

  listen() {
    takeFiles(this.root, { onFiles: (files) => this.take(files), mayTake: () => true });
    this.root.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (!files.length) return;
      event.preventDefault();
      this.take(files);
    });
    one("form", this.root).addEventListener("submit", (event) => {
      event.preventDefault();
      this.post();
    });
    this.words.addEventListener("input", () => this.mark());
    addEventListener("beforeunload", (event) => {
      if (this.attachments.length) event.preventDefault(); // they would be lost
    });
  }

  open() {
    this.root.hidden = false;
  }

  close() {
    this.root.hidden = true;
    for (const attachment of [...this.attachments]) {
      attachment.media = null; // signed out, nothing can be deleted
      attachment.remove();
    }
    this.words.value = "";
    this.complain("");
    this.mark();
  }

  take(files) {
    const room = MOST - this.attachments.length;
    this.complain(files.length > room ? `A post has up to ${MOST} attachments.` : "");
    for (const file of files.slice(0, Math.max(0, room))) this.add(file);
    this.goOn();
  }

  add(file) {
    const attachment = new Attachment(file, {
      onChange: () => this.goOn(),
      onRefused: (refused) => {
        refused.remove();
        one(".choose", this.root).click();
      },
      onRemoved: (removed) => this.drop(removed),
      onSessionEnd: this.onSessionEnd,
    });
    this.attachments.push(attachment);
    this.list.append(attachment.element);
  }

  drop(removed) {
    const hadFocus = removed.element.contains(document.activeElement);
    this.attachments = this.attachments.filter((attachment) => attachment !== removed);
    removed.element.remove();
    if (hadFocus) one(".choose", this.root).focus();
    this.goOn();
  }

  /** A few are sent at a time, the others wait for their turn. */
  goOn() {
    const count = this.attachments.filter(({ state }) => state === "sending").length;
    const waiting = this.attachments.filter(({ state }) => state === "waiting");
    for (const attachment of waiting.slice(0, Math.max(0, AT_ONCE - count))) attachment.send();
    this.mark();
  }

  /** Why there is nothing to post yet, or nothing. */
  get hindrance() {
    if (this.attachments.some(({ isOnItsWay }) => isOnItsWay)) return "Still uploading: a moment.";
    if (this.attachments.some(({ state }) => state === "refused")) {
      return "Remove what can't be posted first.";
    }
    return this.attachments.length || this.words.value.trim() ? "" : "Write something, or attach a file.";
  }

  mark() {
    this.submit.setAttribute("aria-disabled", String(Boolean(this.hindrance)));
    if (!this.hindrance) this.complain("");
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  post() {
    this.complain(this.hindrance);
    if (this.hindrance) return;
    this.onPost({ words: this.words.value.trim(), views: this.attachments.map(({ view }) => view) });
    this.attachments = [];
    this.list.replaceChildren();
    this.words.value = "";
    this.mark();
    this.words.focus();
    announce("Posted.");
  }
}
