// A picture: its thumbnail first, itself as soon as it is there; pressed, in a tab of its own.
export class Still {
  constructor(frame, name) {
    this.link = document.createElement("a");
    this.link.target = "_blank";
    this.link.rel = "noopener";
    this.link.setAttribute("aria-label", `Full size of ${name}, in a new tab`);
    this.image = document.createElement("img");
    this.image.className = "picture";
    this.image.alt = name;
    this.link.append(this.image);
    frame.append(this.link);
  }

  update({ url, thumbnail_url: thumbnail }) {
    if (this.link.href) return;
    this.link.href = url;
    this.load(thumbnail || url, url);
  }

  async load(...urls) {
    for (const url of urls) {
      const loaded = new Image();
      loaded.src = url;
      const isThere = await loaded.decode().then(() => true, () => false);
      if (isThere) this.image.src = url;
      this.image.classList.toggle("arrived", Boolean(this.image.src));
    }
  }

  close() {
    this.image.removeAttribute("src");
  }
}
