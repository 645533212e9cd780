// Signing in and signing up: one form, two ways.
import { ApiError } from "./api.js";
import { paint } from "./blurhash.js";
import { one } from "./dom.js";
import { explain } from "./messages.js";
import { login, register } from "./session.js";

const SIGN_IN = {
  title: "Sign in",
  verb: "Sign in",
  doing: "Signing in…",
  autocomplete: "current-password",
  question: "New here?",
  other: "Create an account",
  send: login,
};
const SIGN_UP = {
  title: "Create your account",
  verb: "Create account",
  doing: "Creating your account…",
  autocomplete: "new-password",
  question: "Been here before?",
  other: "Sign in",
  send: register,
};
const LEAD = "A name, a face, a view: your profile in a minute.";

export class Entry {
  constructor({ onEntered }) {
    this.root = one("#entry");
    this.form = one("form", this.root);
    this.username = one("#username");
    this.password = one("#password");
    this.problem = one("#entry-problem");
    this.submit = one("[type=submit]", this.form);
    this.onEntered = onEntered;
    this.turn(SIGN_IN);
    this.listen();
    const band = one(".dusk", this.root);
    paint(band, band.dataset.blurhash, { width: 4, height: 3 });
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault(); // CSP or not, passwords never travel in a URL
      this.tryToEnter();
    });
    one("#other-way").addEventListener("click", () => {
      this.turn(this.way === SIGN_IN ? SIGN_UP : SIGN_IN);
      this.username.focus();
    });
    one("#reveal").addEventListener("change", ({ target }) => {
      this.password.type = target.checked ? "text" : "password";
    });
  }

  turn(way) {
    this.way = way;
    this.complain("");
    one("#entry-title").textContent = way.title;
    this.submit.textContent = way.verb;
    this.password.autocomplete = way.autocomplete;
    for (const rules of this.root.querySelectorAll(".rules")) rules.hidden = way !== SIGN_UP;
    one(".other span", this.root).textContent = way.question;
    one("#other-way").textContent = way.other;
  }

  /** Show the form, with a note on why when there is a reason. */
  show(note = LEAD) {
    document.title = "Sign in";
    one("#entry-note").textContent = note;
    this.root.hidden = false;
    (this.username.value ? this.password : this.username).focus();
  }

  complain(text, field = null) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
    for (const input of [this.username, this.password]) {
      input.setAttribute("aria-invalid", String(input === field));
    }
    field?.focus();
  }

  missing() {
    if (!this.username.value.trim()) return [this.username, "Enter your username."];
    if (!this.password.value) return [this.password, "Enter your password."];
    return null;
  }

  async tryToEnter() {
    if (this.isBusy) return;
    const missing = this.missing();
    if (missing) {
      this.complain(missing[1], missing[0]);
      return;
    }
    this.setBusy(true);
    try {
      await this.way.send(this.username.value.trim(), this.password.value);
    } catch (error) {
      this.refused(error);
      return;
    } finally {
      this.setBusy(false);
    }
    this.leave();
  }

  setBusy(isBusy) {
    this.isBusy = isBusy;
    this.submit.setAttribute("aria-disabled", String(isBusy));
    this.submit.textContent = isBusy ? this.way.doing : this.way.verb;
  }

  refused(error) {
    if (!(error instanceof ApiError)) throw error;
    const isAboutName = error.status === 409 || error.code.includes("username");
    const isAboutFields = error.status >= 400 && error.status < 429;
    const field = isAboutName ? this.username : this.password;
    this.complain(explain(error), isAboutFields ? field : null);
  }

  leave() {
    this.password.value = "";
    this.password.type = "password";
    one("#reveal").checked = false;
    this.root.hidden = true;
    this.turn(SIGN_IN);
    this.onEntered();
  }
}
