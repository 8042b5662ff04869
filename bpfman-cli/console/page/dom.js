// Creates elements by DOM methods, never from markup: text of tenants stays text.

// Characters that are invisible, or change a line or its direction; they are shown as escapes.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

export function plain(text) {
  return String(text).replace(UNSEEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : document.createTextNode(plain(child)))));
  return element;
}

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// Shows a name that a third party chose; its direction does not affect the text around it.
export function name(text) {
  return el("bdi", null, text);
}

export function copyButton(text) {
  const button = el("button", { type: "button", class: "copy", click: async () => {
    await navigator.clipboard.writeText(text());
    setText(button, "copied");
    setTimeout(() => setText(button, "copy"), 2000);
  } }, "copy");
  return button;
}

// Shows the beginning of a long text, with a button that copies all of it.
export function copied(shown, text) {
  return text ? el("span", null, el("code", null, shown), " ", copyButton(() => text)) : null;
}

// Shows text between backticks as code; commands get a button to copy them.
export function prose(text) {
  const parts = String(text).split("`");
  if (parts.length % 2 === 0) return [name(text)];
  return parts.map((part, at) => (at % 2 ? el("span", null, el("code", null, part), part.includes(" ") ? [" ", copyButton(() => part)] : null) : part)).filter((part) => part !== "");
}

// Writes a text only if it changed: a screen reader's position, a selection and the layout stay.
export function setText(element, text) {
  const now = plain(text);
  if (element.textContent !== now) element.textContent = now;
}

// Updates the children of a parent to match the items; elements whose key remains are kept, with their focus.
export function reconcile(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const its = String(key(item));
    let child = old.get(its);
    if (child) old.delete(its);
    else {
      child = make(item);
      child.dataset.key = its;
    }
    update?.(child, item);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const gone of old.values()) gone.remove();
}

// Returns a description list of facts, without empty ones.
export function facts(rows) {
  const list = el("dl");
  for (const [term, value] of rows) {
    if (value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length)) continue;
    list.append(el("dt", null, term), el("dd", null, value instanceof Node || Array.isArray(value) ? value : name(value)));
  }
  return list;
}
