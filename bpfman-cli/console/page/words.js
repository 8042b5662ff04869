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

export function time(text) {
  return text ? text.slice(0, 19).replace("T", " ") : "";
}

// Which of the colours says a state. The state itself is always written, too.
export function tone(state) {
  return state === "ok" || state === "running" || state === "done" ? "good" : state === "waiting" ? "warn" : "bad";
}
