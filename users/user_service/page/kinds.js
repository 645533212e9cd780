// The two pictures a profile has, and what each may be.
const MB = 1_048_576;

export const KINDS = {
  picture: {
    name: "profile picture",
    path: "/api/v1/media/profile-picture",
    field: "profile_picture",
    maxBytes: 10 * MB,
    sizes: "(min-width: 40rem) 144px, 96px", // as wide as style.css draws it
  },
  cover: {
    name: "cover photo",
    path: "/api/v1/media/cover-photo",
    field: "cover_photo",
    maxBytes: 20 * MB,
    sizes: "(min-width: 48rem) 44rem, 100vw",
  },
};

const FORMATS = "JPEG, PNG, WebP, GIF, AVIF or HEIC";
const TYPES = /^image\/(jpeg|pjpeg|png|webp|gif|avif|heic|heif)(-sequence)?$/;
const ENDINGS = /\.(jpe?g|png|webp|gif|avif|heic|heif)$/i;

/** A size as people say it, never broken over two lines. */
export function inMegabytes(bytes) {
  return `${bytes / MB}\u00a0MB`;
}

/** What a kind takes, as one sentence. */
export function rules({ maxBytes }) {
  return `${FORMATS}, up to ${inMegabytes(maxBytes)}.`;
}

// Some systems give HEIC files no type at all: then the ending has to do. The server looks at
// the bytes in any case; this only spares people the wait.
function looksLikePicture({ type, name }) {
  return type ? TYPES.test(type) : ENDINGS.test(name);
}

/** The code of what is wrong with a file before it is sent, or null. */
export function complaint(file, kind) {
  if (!looksLikePicture(file)) return "unsupported_type";
  if (file.size === 0) return "empty_file";
  return file.size > kind.maxBytes ? "file_too_large" : null;
}

export { FORMATS };
