// The profile: its words and its two pictures.
import { ApiError, call } from "./api.js";
import { announce, one } from "./dom.js";
import { KINDS } from "./kinds.js";
import { explain } from "./messages.js";
import { SessionEnded, authorized } from "./session.js";
import { Slot } from "./slot.js";

const PATH = "/api/v1/profile";
const fetchProfile = () => authorized((token) => call("GET", PATH, { token }));

export class Profile {
  constructor({ onSessionEnd }) {
    this.root = one("#profile");
    this.form = one("#words");
    this.problem = one(".problem", this.form);
    this.editButton = one("#edit");
    this.onSessionEnd = onSessionEnd;
    this.visit = 0;
    const handlers = { onDoubt: () => this.lookAgain(), onSessionEnd };
    this.slots = Object.keys(KINDS).map((name) => new Slot(name, handlers));
    this.listen();
  }

  listen() {
    this.editButton.addEventListener("click", () => this.edit());
    one(".cancel", this.form).addEventListener("click", () => this.endEdit());
    this.form.addEventListener("keydown", ({ key }) => key === "Escape" && this.endEdit());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    addEventListener("beforeunload", (event) => {
      if (this.isBusy) event.preventDefault(); // an upload would be lost
    });
  }

  get isBusy() {
    return this.slots.some((slot) => slot.isBusy);
  }

  /** Fetch the profile and show it; what fails is the caller's to tell. */
  async open() {
    const visit = this.visit;
    const profile = await fetchProfile();
    if (visit !== this.visit) return; // signed out meanwhile
    this.showWords(profile);
    this.root.hidden = false;
    one("#name").focus();
    announce(`Signed in as ${profile.username}.`);
    this.showPictures(profile);
  }

  close() {
    this.visit += 1;
    this.root.hidden = true;
    this.endEdit();
    for (const slot of this.slots) slot.reset();
  }

  showWords(profile) {
    this.words = profile;
    const name = profile.display_name || profile.username;
    document.title = name;
    one("#name").textContent = name;
    one("#handle").textContent = `@${profile.username}`;
    one("#bio").textContent = profile.bio ?? "";
    one(".initial").textContent = [...name][0]?.toUpperCase() ?? "";
  }

  showPictures(profile) {
    for (const slot of this.slots) slot.follow(profile[slot.kind.field]);
  }

  /** After an upload with an unknown end: show what the server holds, if it can be told. */
  async lookAgain() {
    if (this.root.hidden) return; // the end came by signing out
    const visit = this.visit;
    try {
      const profile = await fetchProfile();
      if (visit === this.visit) this.showPictures(profile);
    } catch (error) {
      if (error instanceof SessionEnded) this.onSessionEnd();
      else if (!(error instanceof ApiError)) throw error;
    }
  }

  edit() {
    one("#display-name").value = this.words.display_name ?? "";
    one("#bio-words").value = this.words.bio ?? "";
    this.form.hidden = false;
    this.editButton.hidden = true;
    one("#display-name").focus();
  }

  endEdit() {
    const wasOpen = !this.form.hidden;
    this.form.hidden = true;
    this.complain("");
    this.editButton.hidden = false;
    if (wasOpen) this.editButton.focus();
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  async save() {
    const { display_name: name, bio } = this.form.elements;
    const body = { display_name: name.value.trim(), bio: bio.value.trim() };
    try {
      const changed = await authorized((token) => call("PATCH", PATH, { token, body }));
      this.showWords({ ...this.words, ...body, ...changed });
    } catch (error) {
      if (error instanceof SessionEnded) this.onSessionEnd();
      else if (error instanceof ApiError) this.complain(explain(error));
      else throw error;
      return;
    }
    this.endEdit();
    announce("Saved.");
  }
}
