// Numbers and states in words.

const SCALES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

export function count(number) {
  if (number === null || number === undefined) return "";
  for (const [scale, letter] of SCALES) {
    if (number >= scale * 10) return `${(number / scale).toFixed(1)} ${letter}`;
  }
  return Number.isInteger(number) ? String(number) : number.toFixed(1);
}

export function rate(number) {
  return number === null || number === undefined ? "" : `${count(Math.round(number * 10) / 10)}/s`;
}

export function bytes(number) {
  if (number === null || number === undefined) return "";
  for (const [scale, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (number >= scale) return `${(number / scale).toFixed(1)} ${unit}`;
  }
  return `${number} B`;
}

export function nanoseconds(number) {
  return number === null || number === undefined ? "" : `${number < 100 ? number.toFixed(1) : Math.round(number)} ns`;
}

export function digest(text) {
  if (!text) return "";
  const [kind, digits] = text.includes(":") ? text.split(":", 2) : ["", text];
  return `${kind ? `${kind}:` : ""}${digits.slice(0, 12)}`;
}

// Shortens digests and keys inside a text to 12 digits.
export function short(text) {
  return text ? text.replace(/[0-9a-f]{32,}/g, (digits) => digits.slice(0, 12)) : "";
}

const LOCAL = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
export const ZONE = LOCAL.resolvedOptions().timeZone;

// Formats a time in the reader's time zone.
export function time(text) {
  const moment = Date.parse(text);
  return Number.isNaN(moment) ? text ?? "" : LOCAL.format(moment);
}

// `SetMapEntry` as "Set map entry".
export function verb(name) {
  return name.replace(/([a-z])([A-Z])/g, (_, end, begin) => `${end} ${begin.toLowerCase()}`);
}

const DROPS = new Set(["drop", "aborted", "shot", "block"]);

export function drops(verdict) {
  return DROPS.has(verdict);
}

// Returns the colour of a state. The state is always shown as text, too.
export function tone(state) {
  return state === "ok" || state === "running" || state === "done" ? "good" : state === "waiting" ? "warn" : "bad";
}
