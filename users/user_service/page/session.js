// Who is signed in. The access token lives in memory only; the refresh token also in
// sessionStorage, so that reloading the page does not sign out and closing the tab does.
import { ApiError, call } from "./api.js";

const STORED = "mediad.refresh_token";
const SPARE_MS = 30_000; // renewed this long before it ends, so that it holds for the whole call

let access = null;
let renewing = null;

/** The session is over: the page must ask for the password again. */
export class SessionEnded extends Error {}

function keep({ access_token: token, refresh_token: refreshToken, expires_in: seconds }) {
  access = { token, endsAt: Date.now() + seconds * 1000 };
  sessionStorage.setItem(STORED, refreshToken);
}

function forget() {
  access = null;
  sessionStorage.removeItem(STORED);
}

export async function register(username, password) {
  keep(await call("POST", "/api/v1/auth/register", { body: { username, password } }));
}

export async function login(username, password) {
  keep(await call("POST", "/api/v1/auth/login", { body: { username, password } }));
}

/** Sign out here in any case, and at the server if it answers. */
export async function logout() {
  const refreshToken = sessionStorage.getItem(STORED);
  const token = access?.token;
  forget();
  if (!refreshToken) return;
  await call("POST", "/api/v1/auth/logout", {
    token,
    body: { refresh_token: refreshToken },
  }).catch(() => {});
}

export function canBeRestored() {
  return sessionStorage.getItem(STORED) !== null;
}

async function renew() {
  const refreshToken = sessionStorage.getItem(STORED);
  if (!refreshToken) throw new SessionEnded();
  const body = { refresh_token: refreshToken };
  try {
    const renewed = await call("POST", "/api/v1/auth/refresh", { body });
    // Signed out, or in as someone else, while this was on its way: that stands.
    if (sessionStorage.getItem(STORED) !== refreshToken) throw new SessionEnded();
    keep(renewed);
  } catch (error) {
    if (!isRefusal(error)) throw error; // the server is away: the session may still be good
    forget();
    throw new SessionEnded();
  }
}

function isRefusal(error) {
  return error instanceof ApiError && [400, 401, 403].includes(error.status);
}

// A refresh token works once; two renewals at a time would look like a stolen one.
function renewOnce() {
  renewing ??= renew().finally(() => {
    renewing = null;
  });
  return renewing;
}

async function goodToken() {
  if (!access || access.endsAt - SPARE_MS < Date.now()) await renewOnce();
  return access.token;
}

function isUnauthenticated(error) {
  return error instanceof ApiError && error.status === 401;
}

/** Run `send(token)`; once more with a new token when the first is refused. */
export async function authorized(send) {
  const token = await goodToken();
  try {
    return await send(token);
  } catch (error) {
    if (!isUnauthenticated(error)) throw error;
  }
  if (access?.token === token) await renewOnce();
  try {
    return await send(await goodToken());
  } catch (error) {
    if (!isUnauthenticated(error)) throw error;
    forget();
    throw new SessionEnded();
  }
}
