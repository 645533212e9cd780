// One picture of the profile as it is seen: its BlurHash at once, itself fading in over it, and
// the preview of a file that is on its way above both.
import { paint } from "./blurhash.js";
import { one } from "./dom.js";

// Crops in every size the service made. Sizes that come twice (small originals are never blown
// up) are told once, as a `srcset` wants it.
function sourceSet(thumbnails = []) {
  const byWidth = new Map(thumbnails.map(({ url, width }) => [width, url]));
  return [...byWidth].map(([width, url]) => `${url} ${width}w`).join(", ");
}

export class Picture {
  constructor(zone, sizes) {
    this.zone = zone;
    this.sizes = sizes;
    this.canvas = one(".blur", zone);
    this.image = one(".picture", zone);
    this.over = one(".preview", zone);
  }

  /** Show a medium; resolves to whether it could be loaded. */
  async show(media, alt) {
    this.canvas.hidden = !paint(this.canvas, media.blurhash ?? "", media);
    const image = this.freshImage(alt);
    image.sizes = this.sizes;
    image.srcset = sourceSet(media.thumbnails);
    image.src = media.thumbnail_url || media.url;
    const loaded = await image.decode().then(
      () => true,
      () => false,
    );
    if (image !== this.image) return true; // another picture has come meanwhile
    image.classList.toggle("arrived", loaded);
    return loaded;
  }

  // A new element for each picture: the old one's pixels must not linger while the new load.
  freshImage(alt) {
    const image = this.image.cloneNode();
    for (const name of ["src", "srcset", "sizes"]) image.removeAttribute(name);
    image.classList.remove("arrived");
    image.alt = alt;
    image.hidden = false;
    this.image.replaceWith(image);
    this.image = image;
    return image;
  }

  clear() {
    this.freshImage("").hidden = true;
    this.canvas.hidden = true;
  }

  /** Show a file that is not uploaded yet, as far as this browser can read it. */
  preview(file) {
    this.endPreview();
    const url = URL.createObjectURL(file);
    const image = this.over;
    image.onload = () => {
      image.hidden = false;
    };
    image.onerror = () => {
      image.hidden = true; // HEIC in most browsers: the progress has to do
    };
    image.src = url;
    this.previewUrl = url;
  }

  endPreview() {
    if (!this.previewUrl) return;
    URL.revokeObjectURL(this.previewUrl);
    this.previewUrl = null;
    this.over.hidden = true;
    this.over.onload = null;
    this.over.onerror = null;
    this.over.removeAttribute("src");
  }
}
