// The daemon's journal, live: changes and refusals, with their actors.

import { el } from "./dom.js";
import { refusal } from "./refusal.js";
import { DataTable } from "./table.js";
import { short, time, verb } from "./words.js";

export const who = (row) => (row.uid !== null ? `${row.uid === 0 ? "root" : `user ${row.uid}`}${row.unit ? ` (${row.unit})` : ""}${row.pod ? ` (pod ${row.pod})` : ""}` : `daemon: ${row.daemon ?? ""}`);
export const about = (row) => [row.object, row.made && `made ${row.made}`, row.before && `was ${row.before}`, row.digest, row.rule, row.message].filter(Boolean).join("; ");
const TONES = { done: "good", failed: "bad", denied: "bad" };

export const entryColumns = [
  { title: "Number", value: (row) => row.number, number: true },
  { title: "Time", value: (row) => row.time, text: (row) => time(row.time), brief: true },
  { title: "Who", value: who },
  { title: "Action", value: (row) => verb(row.verb) },
  { title: "Result", value: (row) => row.result, tone: (row) => TONES[row.result] ?? "warn" },
  { title: "Grant", value: (row) => row.grant },
  { title: "About", value: about, text: (row) => short(about(row)), copy: (row) => row.digest, long: true },
];

export async function show(root, _, page) {
  const table = new DataTable({ label: "Journal", columns: entryColumns, key: (row) => row.number, descending: true, most: 400, empty: "Nothing has happened that concerns you." });
  const gaps = el("p", { class: "warn", role: "status" });
  const refused = el("div");
  root.append(el("h1", null, "Journal"), refused, gaps, table.element);
  const draw = () => {
    table.set(page.live.entries.filter((event) => event.event === "entry"));
    const missed = page.live.entries.filter((event) => event.event === "missed").reduce((sum, gap) => sum + gap.entries, 0);
    const damaged = page.live.entries.filter((event) => event.event === "damaged").reduce((sum, one) => sum + one.lines, 0);
    gaps.textContent = [missed && `${missed} entries are missing here: the journal has them no more.`, damaged && `${damaged} lines of the journal are damaged.`].filter(Boolean).join(" ");
  };
  const told = () => {
    const no = page.live.refusals.get("journal");
    refused.replaceChildren(...(no ? [refusal(no)] : []));
  };
  draw();
  told();
  page.live.addEventListener("journal", draw, { signal: page.signal });
  page.live.addEventListener("refused", told, { signal: page.signal });
}
