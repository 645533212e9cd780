// Speaks to the user service: one envelope, one class of error.

/** A refusal, in the words of the answer's envelope; status 0 when there was no answer. */
export class ApiError extends Error {
  constructor({ status, code, message, retryAfterSeconds = 0 }) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export function noAnswer() {
  return new ApiError({ status: 0, code: "no_answer", message: "There was no answer." });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy's page, or an answer cut short
  }
}

/** The data of an answer, or its error thrown. */
export function open({ status, text, retryAfter }) {
  const envelope = parse(text);
  if (status >= 200 && status < 300 && envelope?.success) return envelope.data ?? {};
  if (status === 204) return {};
  const { code = "unknown", message = `The answer was ${status}.` } = envelope?.error ?? {};
  throw new ApiError({ status, code, message, retryAfterSeconds: Number(retryAfter) || 0 });
}

async function fetchText(path, options) {
  try {
    const response = await fetch(path, options);
    const text = await response.text();
    return { status: response.status, text, retryAfter: response.headers.get("Retry-After") };
  } catch {
    throw noAnswer();
  }
}

/** Call an endpoint with JSON; resolves to the envelope's data. */
export async function call(method, path, { token, body } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store" };
  return open(await fetchText(path, options));
}

// `fetch` can't tell how much of a body has left, so uploads go through XMLHttpRequest.
/** Send a file as the field `file`; resolves to the envelope's data. `key` makes a retry safe. */
export function upload(path, file, { token, onProgress, signal, key = "" }) {
  const form = new FormData();
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    if (key) request.setRequestHeader("Idempotency-Key", key);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onload = () => settle(request, resolve, reject);
    request.onerror = () => reject(noAnswer());
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

function settle(request, resolve, reject) {
  const retryAfter = request.getResponseHeader("Retry-After");
  try {
    resolve(open({ status: request.status, text: request.responseText, retryAfter }));
  } catch (error) {
    reject(error);
  }
}
