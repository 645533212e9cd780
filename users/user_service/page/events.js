// Listens to what becomes of a medium. EventSource can't say who asks, so this reads the stream of
// a fetch; when it ends too early it is asked for again.
import { ApiError, noAnswer, open } from "./api.js";
import { isPassing } from "./messages.js";
import { authorized } from "./session.js";

const AGAIN_SECONDS = 2;
const OVER = ["completed", "failed"];

/** Whether nothing more will become of a medium. */
export const isOver = ({ status }) => OVER.includes(status);

async function request(path, token, signal) {
  const options = { headers: { Authorization: `Bearer ${token}` }, signal, cache: "no-store" };
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : noAnswer();
  });
  if (response.ok) return response;
  const retryAfter = response.headers.get("Retry-After");
  return open({ status: response.status, text: await response.text(), retryAfter });
}

// One event is some lines, and an empty one.
async function* eventsIn(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) yield Object.fromEntries(fieldsIn(event));
  }
}

function fieldsIn(event) {
  return event.split("\n").map((line) => {
    const [name] = line.split(":", 1);
    return [name, line.slice(name.length + 2)];
  });
}

function opened({ event, data }) {
  const told = JSON.parse(data);
  if (event !== "error") return told;
  // What the service can't tell right now, it can a moment later; but what is gone is gone.
  throw new ApiError({ status: told.code === "media_not_found" ? 404 : 503, ...told });
}

async function* once(path, signal) {
  const response = await authorized((token) => request(path, token, signal));
  try {
    for await (const event of eventsIn(response.body)) if (event.data) yield opened(event);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // that is how a stream breaks off
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** A medium, now and whenever it has changed, until nothing more becomes of it. */
export async function* changes(mediaId, signal) {
  const path = `/api/v1/media/${encodeURIComponent(mediaId)}/events`;
  while (!signal.aborted) {
    let seconds = AGAIN_SECONDS;
    try {
      for await (const media of once(path, signal)) {
        yield media;
        if (isOver(media)) return;
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
      seconds = error.retryAfterSeconds || seconds;
    }
    await pause(seconds);
  }
}
