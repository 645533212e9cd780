// What the page says when something is refused, by the error's code, else by its status.
import { FORMATS, inMegabytes } from "./kinds.js";

const AWAY = "The picture service is away for a moment.";

const BY_CODE = {
  file_too_large: ({ kind }) =>
    `This file is too large: a ${kind.name} can have up to ${inMegabytes(kind.maxBytes)}.`,
  unsupported_type: () => `This is not a picture that works here. Choose a ${FORMATS} file.`,
  type_mismatch: () => `This file is not the picture its name promises. Choose a ${FORMATS} file.`,
  empty_file: () => "This file is empty.",
  broken_file: () => "This picture is damaged or incomplete. Try another copy of it.",
  too_many_pixels: () =>
    "This picture has too many pixels: up to 50 megapixels work, or 16 in each frame of a moving one.",
  too_complex: () => "This picture takes too long to read. Save it anew, or choose another.",
  metadata_too_large: () => "This picture carries too much hidden data. Save it anew without it.",
  too_many_files: () => "One picture at a time, please.",
  busy: () => "Too many are uploading at this moment.",
  upload_gave_way: () => "Others were waiting, and this upload was slow.",
  no_answer: () => "There was no answer. Check your connection.",
};

const BY_STATUS = {
  408: () => "The upload stood still for too long.",
  413: BY_CODE.file_too_large,
  415: BY_CODE.unsupported_type,
  422: BY_CODE.broken_file,
  429: () => "That was too much at once. Wait a moment.",
  500: () => "Something went wrong here, not with you.",
  502: () => AWAY,
  503: () => AWAY,
  504: () => AWAY,
  507: () => "There is no room for more pictures right now.",
};

// Worth the same try again: nothing about the file has to change.
const PASSING = [0, 408, 429, 500, 502, 503, 504, 507];

export function isPassing(error) {
  return PASSING.includes(error.status);
}

// After these, the service may have done it all the same.
const UNCERTAIN = [0, 500, 502, 504];

export function isCertain(error) {
  return !UNCERTAIN.includes(error.status);
}

function lookUp(error) {
  return Object.hasOwn(BY_CODE, error.code) ? BY_CODE[error.code] : BY_STATUS[error.status];
}

/** The sentence for a failed upload or deletion of one kind of picture. */
export function explainPicture(error, kind) {
  const sentence = lookUp(error)?.({ kind }) ?? error.message;
  return isPassing(error) && isCertain(error) ? `${sentence} Your ${kind.name} has not changed.` : sentence;
}

const PLAIN = { ...BY_STATUS, 503: () => "The service is away for a moment. Try again soon." };

/** The sentence for anything that has no file. */
export function explain(error) {
  if (error.status === 0) return BY_CODE.no_answer();
  if (error.status === 429 && error.retryAfterSeconds) {
    return `Too many attempts. Try again in ${inWords(error.retryAfterSeconds)}.`;
  }
  return error.status >= 500 ? (PLAIN[error.status] ?? PLAIN[500])() : error.message;
}

function inWords(seconds) {
  if (seconds < 90) return seconds === 1 ? "1 second" : `${seconds} seconds`;
  return `${Math.ceil(seconds / 60)} minutes`;
}
