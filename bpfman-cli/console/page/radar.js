// Third-party programs and links on this machine, third-party actions, and hooks of bpfman that they changed.

import { el, facts, name, prose } from "./dom.js";
import { entryColumns } from "./journal.js";
import { refreshed } from "./refreshed.js";
import { DataTable } from "./table.js";
import { time } from "./words.js";

// Pause between surveys, in milliseconds: each survey reads the open files of all processes.
const PAUSE = 2000;

const SOURCES = { off: "off: `bpfman radar start --file /usr/lib/bpfman/gallery/radar.o`, or [radar] in bpfman.toml, switches it on", polling: "lists of ids, read again and again" };
const holder = (one) => `${one.command} (${one.pid})${one.unit ? `, ${one.unit}` : ""}`;
const process = (one) => one && [one.command, one.pid && `(${one.pid})`, one.unit ?? one.pod ?? one.container, `user ${one.uid}`, one.gone && "gone"].filter(Boolean).join(" ");
const held = (row) => row.holders.map(holder).join("; ");

// Groups programs and links by session, or else by the processes that hold them or that created them.
function byProcess({ programs, links }) {
  const all = new Map();
  const add = (row, made, what) => {
    const owners = row.session ? [row.session] : row.holders.length ? row.holders.map(holder) : [process(made) || "no process: pinned or attached"];
    for (const owner of owners) {
      const one = all.get(owner) ?? { owner, programs: [], links: [] };
      one[what].push(what === "programs" ? `${row.name || row.type} (${row.id})` : `${row.hook ?? row.type} (${row.id})`);
      all.set(owner, one);
    }
  };
  programs.forEach((row) => add(row, row.loaded_by, "programs"));
  links.forEach((row) => add(row, row.made_by, "links"));
  return [...all.values()];
}

function standing(radar) {
  return [
    facts([
      ["Observes by", prose(SOURCES[radar.source] ?? radar.source)], ["Object", radar.object], ["Not better, because", radar.why], ["Since", time(radar.since)],
      ["Events", radar.since && `${radar.events}, ${radar.own_events} of bpfman itself, ${radar.aggregated} only counted`],
      ["Lost", radar.lost ? el("span", { class: "bad" }, radar.lost) : null],
      ["Cannot see", radar.unseen.length ? el("ul", null, radar.unseen.map((what) => el("li", null, name(what)))) : null],
    ]),
    el("h2", null, "Touched by others"),
    radar.touched.length ? el("ul", { class: "bad" }, radar.touched.map((what) => el("li", null, name(what)))) : el("p", null, "Nothing of bpfman's."),
  ];
}

export async function show(root, _, page) {
  const about = el("div");
  const processes = new DataTable({
    label: "Processes", key: (row) => row.owner, empty: "No other tool has eBPF objects here.",
    columns: [
      { title: "Process", value: (row) => row.owner, long: true },
      { title: "Programs", value: (row) => row.programs.join(", "), long: true },
      { title: "Links", value: (row) => row.links.join(", "), long: true },
    ],
  });
  const programs = new DataTable({
    label: "Programs of others", key: (row) => row.id, descending: true, empty: "There are none.",
    columns: [
      { title: "ID", value: (row) => row.id, number: true },
      { title: "Name", value: (row) => row.name },
      { title: "Type", value: (row) => row.type },
      { title: "Loaded at", value: (row) => row.loaded_at, text: (row) => time(row.loaded_at), brief: true },
      { title: "User", value: (row) => row.uid, number: true },
      { title: "Loaded by", value: (row) => row.session ?? process(row.loaded_by), long: true },
      { title: "Held by", value: held, long: true },
      { title: "Tag", value: (row) => row.tag },
    ],
  });
  const links = new DataTable({
    label: "Links of others", key: (row) => row.id, descending: true, empty: "There are none.",
    columns: [
      { title: "ID", value: (row) => row.id, number: true },
      { title: "Type", value: (row) => row.type },
      { title: "Program", value: (row) => row.program_id, number: true },
      { title: "Interface", value: (row) => row.hook ?? row.ifindex, long: true },
      { title: "Made by", value: (row) => row.session ?? process(row.made_by), long: true },
      { title: "Held by", value: held, long: true },
    ],
  });
  const done = new DataTable({ label: "What others did", columns: entryColumns, key: (row) => row.number, descending: true, most: 200, empty: "The journal has nothing of others yet." });
  root.append(el("h1", null, "Radar"), about, el("h2", null, "By process"), processes.element, el("h2", null, "Programs of others"), programs.element, el("h2", null, "Links of others"), links.element,
    el("h2", null, "What others did"), done.element);
  const entries = () => done.set(page.live.entries.filter((event) => event.event === "entry" && event.daemon === "radar"));
  const draw = async () => {
    const survey = await page.get("radar");
    about.replaceChildren(...standing(survey.radar));
    processes.set(byProcess(survey));
    programs.set(survey.programs);
    links.set(survey.links);
    entries();
  };
  page.live.addEventListener("journal", entries, { signal: page.signal });
  await refreshed(page, draw, PAUSE);
}
