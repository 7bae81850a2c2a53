// Making elements. All text goes in as text nodes; nothing here makes markup of a string.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false),
  );
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

// What would hide in a text, or turn its direction around, is shown by its number.
function visible(text) {
  return String(text).replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (hidden) => "\\u{" + hidden.codePointAt(0).toString(16) + "}",
  );
}

// A text from the journal, kept apart from the direction of the text around it.
function said(text, attributes) {
  return el("bdi", attributes, visible(text));
}

// A link within the page: what is to be shown, as its fragment.
function link(target) {
  return "#" + new URLSearchParams(target).toString();
}

function shorten(text, most) {
  const letters = Array.from(visible(text));
  return letters.length <= most ? letters.join("") : letters.slice(0, most - 1).join("") + "…";
}

function counted(number, noun) {
  return number.toLocaleString("en") + " " + noun + (number === 1 ? "" : "s");
}

function facts(pairs) {
  const shown = pairs.filter(
    ([, value]) => value !== undefined && value !== null && value !== false && value !== "",
  );
  return el(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

// One of the items of a list is reached with Tab, the others with the arrow keys.
function rove(list, selector) {
  const items = () => Array.from(list.querySelectorAll(selector));
  const give = (chosen) =>
    items().forEach((item) => item.setAttribute("tabindex", item === chosen ? "0" : "-1"));
  list.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) give(item);
  });
  list.addEventListener("keydown", (event) => {
    const item = event.target.closest(selector);
    if (!item || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = items();
    const place = all.indexOf(item);
    const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || !all[next]) return;
    event.preventDefault();
    all[next].focus();
  });
  return () => give(items()[0]);
}
