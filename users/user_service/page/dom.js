// The few things every view does with the document.

export const one = (selector, root = document) => root.querySelector(selector);

/** Say something to people who don't see the change. */
export function announce(text) {
  const region = one("#announcements");
  region.textContent = "";
  // The same words twice are news only if there was nothing in between.
  setTimeout(() => {
    region.textContent = text;
  }, 60);
}

/** Hide an element; when the focus was in it, the focus moves on instead of getting lost. */
export function hide(element, nextFocus) {
  const hadFocus = element.contains(document.activeElement);
  element.hidden = true;
  if (hadFocus) nextFocus?.focus();
}

let copies = 0;

/** A copy of what a template holds; labels get the progress bar after them. */
export function copyOf(selector) {
  const copy = one(selector).content.firstElementChild.cloneNode(true);
  for (const label of copy.querySelectorAll("label")) {
    copies += 1;
    label.htmlFor = `bar-${copies}`;
    label.nextElementSibling.id = label.htmlFor;
  }
  return copy;
}

/** Ask before a deletion; resolves to whether to go on. */
export function confirmDeletion(name) {
  const dialog = one("#confirm");
  one(".what", dialog).textContent = name;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), {
      once: true,
    });
  });
}
