// The posts of this visit, the newest first. They are nowhere else yet.
import { one } from "./dom.js";

export class Feed {
  constructor() {
    this.root = one("#feed");
    this.list = one("ol", this.root);
    this.views = [];
  }

  add({ words, views }) {
    const post = document.createElement("li");
    post.className = "post";
    const text = document.createElement("p");
    text.textContent = words;
    text.hidden = !words;
    const shown = document.createElement("div");
    shown.className = "views";
    shown.append(...views.map(({ element }) => element));
    post.append(text, shown);
    this.list.prepend(post);
    this.views.push(...views);
    this.root.hidden = false;
  }

  close() {
    for (const view of this.views) view.close();
    this.views = [];
    this.list.replaceChildren();
    this.root.hidden = true;
  }
}
