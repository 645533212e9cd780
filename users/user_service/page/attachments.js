// What may be attached to a post, and what is said of what may not.
import { FORMATS, inMegabytes } from "./kinds.js";
import { explain, isPassing } from "./messages.js";

const MB = 1_048_576;

const KINDS = {
  image: { maxBytes: 25 * MB, endings: /\.(jpe?g|png|webp|gif|avif|heic|heif)$/i },
  video: { maxBytes: 512 * MB, endings: /\.(mp4|m4v|mov|webm|mkv)$/i },
  audio: { maxBytes: 100 * MB, endings: /\.(mp3|m4a|aac|ogg|oga|opus|wav|flac|weba)$/i },
};

export const PATH = "/api/v1/media/attachments";
export const MOST = 10;
export const ACCEPT = "image/*,video/*,audio/*,.heic,.heif,.mkv,.mov,.flac,.opus";
export const RULES =
  `Up to ${MOST} pictures (${inMegabytes(KINDS.image.maxBytes)}), films ` +
  `(${inMegabytes(KINDS.video.maxBytes)}, 30\u00a0minutes) or sounds ` +
  `(${inMegabytes(KINDS.audio.maxBytes)}): choose, drop or paste them.`;

function kindOf({ type, name }) {
  const said = KINDS[type.split("/")[0]];
  return said ?? Object.values(KINDS).find(({ endings }) => endings.test(name));
}

/** The code of what is wrong with a file before it is sent, or null. The server looks closer. */
export function complaint(file) {
  const kind = kindOf(file);
  if (!kind) return "unsupported_type";
  if (file.size === 0) return "empty_file";
  return file.size > kind.maxBytes ? "file_too_large" : null;
}

const LIMITS = Object.values(KINDS).map(({ maxBytes }) => inMegabytes(maxBytes));

const BY_CODE = {
  file_too_large: `This file is too large: a picture can have ${LIMITS[0]}, a film ${LIMITS[1]}, a sound ${LIMITS[2]}.`,
  unsupported_type: `This is no picture, film or sound that works here. Pictures: ${FORMATS}; films: MP4, MOV, WebM or MKV; sounds: MP3, M4A, Ogg, WAV or FLAC.`,
  unsupported_codec: "This is written in a way that can't be read here. Save it as MP4, or choose another.",
  type_mismatch: "This file is not what its name promises.",
  empty_file: "This file is empty.",
  broken_file: "This file is damaged or incomplete. Try another copy of it.",
  too_long: "This plays for too long: up to 30 minutes work.",
  too_many_pixels: "This has too many pixels.",
  too_complex: "This takes too long to read. Save it anew, or choose another.",
  attachment_discarded: "This upload had been given up. Attach the file again.",
  upload_gave_way: "Others were waiting, and this came slowly or was one of several. Try again.",
  media_not_found: "This is not there any more.",
};

/** The sentence for an attachment that was refused, before or after it was sent. */
export function explainAttachment(error) {
  if (Object.hasOwn(BY_CODE, error.code)) return BY_CODE[error.code];
  return isPassing(error) ? explain(error) : error.message || BY_CODE.broken_file;
}
