// Files come by the button (mouse, finger, keyboard) or are dropped on the zone around it.
import { one } from "./dom.js";

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

/** Call `onFiles` with what is chosen or dropped; `mayTake` says whether that is welcome now. */
export function takeFiles(zone, { onFiles, mayTake }) {
  const input = one("input[type=file]", zone);
  one(".choose", zone).addEventListener("click", () => {
    if (mayTake()) input.click();
  });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be chosen again
    if (files.length) onFiles(files);
  });
  takeDrops(zone, { onFiles, mayTake });
}

function takeDrops(zone, { onFiles, mayTake }) {
  const isOver = (over) => zone.classList.toggle("over", over);
  zone.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    isOver(true);
  });
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget)) isOver(false);
  });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    isOver(false);
    if (mayTake() && event.dataTransfer.files.length) onFiles([...event.dataTransfer.files]);
  });
}

/** Mark the page while files are dragged over it, and never let it navigate to one of them. */
export function guardPage() {
  let depth = 0; // enter and leave fire for every element on the way
  const mark = (change) => {
    depth = Math.max(0, change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  addEventListener("dragenter", (event) => carriesFiles(event) && mark(depth + 1));
  addEventListener("dragleave", (event) => carriesFiles(event) && mark(depth - 1));
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event) || event.defaultPrevented) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(0);
  });
}
