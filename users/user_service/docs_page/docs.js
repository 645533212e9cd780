// Shows openapi.json, and sends what is typed in. No library, so no outside address.

const main = document.getElementById("main");
const VERBS = ["get", "post", "patch", "delete"];
let token = "";

/** An element: attributes that are functions are listeners, children are nodes or text. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The schema itself, where another one is only named. */
function resolve(api, schema = {}) {
  if (schema.$ref) return resolve(api, api.components.schemas[schema.$ref.split("/").pop()]);
  const real = schema.anyOf?.find((each) => each.type !== "null");
  return real ? resolve(api, real) : schema;
}

/** What an answer or a body of this schema looks like. */
function example(api, schema, depth = 0) {
  const { type, properties = {}, items, examples, const: fixed, format } = resolve(api, schema);
  if (fixed !== undefined) return fixed;
  if (examples) return examples[0];
  if (type === "array") return depth > 6 ? [] : [example(api, items, depth + 1)];
  if (type === "integer" || type === "number") return 0;
  if (type === "boolean") return true;
  if (type === "string") return format ? `<${format}>` : "…";
  const entries = Object.entries(properties);
  return Object.fromEntries(entries.map(([key, value]) => [key, example(api, value, depth + 1)]));
}

function asText(value) {
  return JSON.stringify(value, null, 2);
}

function bodyOf(operation) {
  return Object.entries(operation.requestBody?.content ?? {})[0] ?? [null, null];
}

function curl(api, { verb, path, operation }) {
  const [type, content] = bodyOf(operation);
  const words = ["curl"];
  if (verb !== "get") words.push(`-X ${verb.toUpperCase()}`);
  if (operation.security) words.push('-H "Authorization: Bearer $TOKEN"');
  if (type === "multipart/form-data") words.push("-F file=@photo.jpg");
  else if (type) {
    const body = JSON.stringify(example(api, content.schema));
    words.push("-H 'Content-Type: application/json'", `-d '${body}'`);
  }
  return [...words, `${location.origin}${path}`].join(" ");
}

function answers(api, operation) {
  const rows = Object.entries(operation.responses).map(([status, { description, content }]) => {
    const schema = content?.["application/json"]?.schema;
    const shown = schema && status < 300 ? el("pre", {}, asText(example(api, schema))) : null;
    return el("tr", {}, el("td", {}, el("code", {}, status)), el("td", {}, description, shown ?? ""));
  });
  return el("table", {}, el("tbody", {}, ...rows));
}

/** A form that sends the request and shows what came back. */
function trial(api, { verb, path, operation }) {
  const output = el("pre", { "aria-live": "polite", hidden: "" });
  const [type, content] = bodyOf(operation);
  const inPath = (operation.parameters ?? []).filter((each) => each.in === "path");
  const fields = inPath.map(({ name }) => el("input", { name, required: "" }));
  const labels = fields.map((input) => el("label", {}, input.name, input));
  let body = null;
  if (type === "multipart/form-data") body = el("input", { type: "file", required: "" });
  else if (type) body = el("textarea", { spellcheck: "false" }, asText(example(api, content.schema)));
  if (body) labels.push(el("label", {}, type, body));
  const submit = async (event) => {
    event.preventDefault();
    const url = fields.reduce(
      (so, { name, value }) => so.replace(`{${name}}`, encodeURIComponent(value)),
      path,
    );
    output.hidden = false;
    output.textContent = await send({ verb, url, type, body, secured: Boolean(operation.security) });
  };
  return el("form", { submit }, ...labels, el("button", {}, "Send"), el("p", {}), output);
}

async function send({ verb, url, type, body, secured }) {
  const options = { method: verb.toUpperCase(), headers: {} };
  if (secured && token) options.headers.Authorization = `Bearer ${token}`;
  if (type === "multipart/form-data") {
    options.body = new FormData();
    options.body.append("file", body.files[0]);
  } else if (type) {
    options.headers["Content-Type"] = type;
    options.body = body.value;
  }
  try {
    const response = await fetch(url, options);
    const answer = await response.json();
    token = answer.data?.access_token ?? token;
    return `${response.status} ${response.statusText}\n${asText(answer)}`;
  } catch (error) {
    return String(error);
  }
}

function operationView(api, place) {
  const { verb, path, operation } = place;
  const summary = el(
    "summary",
    {},
    el("span", { class: `verb ${verb}` }, verb.toUpperCase()),
    el("code", {}, path),
    el("span", { class: "faint" }, operation.security ? "needs a token" : ""),
  );
  const inside = el(
    "div",
    { class: "inside" },
    el("p", {}, operation.description ?? operation.summary),
    el("pre", {}, curl(api, place)),
    el("h3", {}, "Answers"),
    answers(api, operation),
    el("h3", {}, "Try it"),
    trial(api, place),
  );
  return el("details", {}, summary, inside);
}

function operationsOf(api) {
  return Object.entries(api.paths).flatMap(([path, verbs]) =>
    VERBS.filter((verb) => verbs[verb]).map((verb) => ({ verb, path, operation: verbs[verb] })),
  );
}

function show(api) {
  const groups = Map.groupBy?.(operationsOf(api), ({ operation }) => operation.tags[0]);
  const sections = [...(groups ?? new Map([["all", operationsOf(api)]]))].map(([tag, places]) =>
    el("section", {}, el("h2", {}, tag), ...places.map((place) => operationView(api, place))),
  );
  main.replaceChildren(
    el("h1", {}, `${api.info.title} ${api.info.version}`),
    el("p", { class: "faint" }, api.info.summary),
    ...api.info.description.split("\n\n").map((paragraph) => el("p", {}, paragraph)),
    el("p", {}, el("a", { href: "/openapi.json" }, "openapi.json"), " · log in below, and the token is sent along"),
    ...sections,
  );
  main.removeAttribute("aria-busy");
}

fetch("/openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch((error) => main.replaceChildren(el("p", {}, `openapi.json could not be read: ${error}`)));
