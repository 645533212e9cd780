// Joins the views: waiting, signing in, the profile with its posts. One is seen at a time.
import { ApiError } from "./api.js";
import { Composer } from "./composer.js";
import { one } from "./dom.js";
import { guardPage } from "./dropping.js";
import { Entry } from "./entry.js";
import { Feed } from "./feed.js";
import { explain } from "./messages.js";
import { Profile } from "./profile.js";
import { SessionEnded, canBeRestored, logout } from "./session.js";

const ENDED = "Your session has ended. Sign in to go on where you were.";

const waiting = one("#waiting");
const signOut = one("#sign-out");
const profile = new Profile({ onSessionEnd: () => leave(ENDED) });
const feed = new Feed();
const composer = new Composer({
  onPost: (post) => feed.add(post),
  onSessionEnd: () => leave(ENDED),
});
const entry = new Entry({ onEntered: () => enter() });

function wait(problem = "") {
  waiting.hidden = false;
  one(".doing", waiting).hidden = Boolean(problem);
  for (const part of [".problem", ".again"]) one(part, waiting).hidden = !problem;
  one(".problem", waiting).textContent = problem;
}

async function enter() {
  wait();
  signOut.hidden = false;
  try {
    await profile.open();
    waiting.hidden = true;
    if (!profile.root.hidden) composer.open();
  } catch (error) {
    if (error instanceof SessionEnded) leave(ENDED);
    else if (error instanceof ApiError) wait(explain(error));
    else throw error;
  }
}

function leave(note) {
  waiting.hidden = true;
  signOut.hidden = true;
  profile.close();
  composer.close();
  feed.close();
  entry.show(note);
}

guardPage();
one(".again", waiting).addEventListener("click", enter);
signOut.addEventListener("click", () => {
  logout();
  leave();
});
if (canBeRestored()) enter();
else leave();
