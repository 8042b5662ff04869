// Programs, and details of one: source, verification, attach points and history.

import { copied, el, facts, name, setText } from "./dom.js";
import { entryColumns } from "./journal.js";
import { refreshed } from "./refreshed.js";
import { DataTable } from "./table.js";
import { bytes, count, digest, nanoseconds, rate, short, time, tone } from "./words.js";

export async function show(root, [id], page) {
  await (id ? one(root, id, page) : all(root, page));
}

const image = (program) => program.bytecode?.image_url ?? program.bytecode?.path ?? "";

async function all(root, page) {
  const figures = (row) => page.live.program(row.program_id);
  const runs = (row) => figures(row).now?.runs ?? null;
  const perSecond = (row) => page.live.rate(figures(row).now?.runs, figures(row).before?.runs);
  const each = (row) => {
    const { now, before } = figures(row);
    const ran = page.live.rate(now?.runs, before?.runs);
    const spent = page.live.rate(now?.nanoseconds, before?.nanoseconds);
    return ran && spent ? spent / ran : null;
  };
  const table = new DataTable({
    label: "Programs", key: (row) => row.program_id, empty: "No program is loaded. Load one: `bpfman load file FILE.o --programs xdp:NAME`; the examples of bpfman have objects to begin with.",
    columns: [
      { title: "ID", value: (row) => row.program_id, number: true, link: (row) => (row.managed ? `#/programs/${row.program_id}` : null) },
      { title: "Name", value: (row) => row.name, link: (row) => (row.managed ? `#/programs/${row.program_id}` : null) },
      { title: "State", value: (row) => row.state, text: (row) => (row.managed ? row.state : ""), tone: (row) => (row.managed ? tone(row.state) : "") },
      { title: "Type", value: (row) => row.type },
      { title: "Owner", value: (row) => row.owner ?? (row.managed ? "" : "another tool") },
      { title: "Application", value: (row) => row.application },
      { title: "From", value: image, long: true },
      { title: "Runs", number: true, value: runs, text: (row) => count(runs(row)) },
      { title: "Runs/s", number: true, value: perSecond, text: (row) => rate(perSecond(row)) },
      { title: "Time a run", number: true, value: each, text: (row) => nanoseconds(each(row)) },
    ],
  });
  const others = el("input", { type: "checkbox", id: "others" });
  const timed = el("input", { type: "checkbox", id: "timed", checked: page.live.timed, change: () => page.live.time(timed.checked) });
  const refused = el("p", { class: "warn", role: "status" });
  const told = () => setText(refused, (page.live.refusals.get("timing") ?? page.live.refusals.get("figures"))?.message ?? "");
  root.append(el("h1", null, "Programs"), el("p", { class: "tools" },
    el("span", null, others, " ", el("label", { for: "others" }, "Show other tools' programs")),
    el("span", null, timed, " ", el("label", { for: "timed" }, "Measure runs while this page is open (some tens of ns a run)"))), refused, table.element);
  told();
  page.live.addEventListener("refused", told, { signal: page.signal });
  const draw = async () => table.set((await page.get("programs", { all: others.checked ? "yes" : "" })).programs);
  others.addEventListener("change", () => draw().catch((error) => page.live.say("refused", { what: "programs", message: error.message })));
  await refreshed(page, draw);
  page.live.addEventListener("figures", () => table.draw(), { signal: page.signal });
}

async function one(root, id, page) {
  const about = el("div");
  const measured = el("div");
  const history = new DataTable({ label: "History", columns: entryColumns, key: (row) => row.number, descending: true, empty: "The journal has nothing of it." });
  root.append(el("h1", null, `Program ${id}`), about, el("h2", null, "Runs"), measured, el("h2", null, "History"), history.element);
  const measure = () => {
    const { now, before } = page.live.program(Number(id));
    const ran = page.live.rate(now?.runs, before?.runs);
    measured.replaceChildren(now ? facts([
      ["Runs", now.runs === null ? "not counted by its chain (bpfman chain counters)" : `${count(now.runs)}${ran === null ? "" : `, ${rate(ran)}`}`], ["Time", now.nanoseconds && now.runs ? `${nanoseconds(now.nanoseconds / Math.max(now.runs, 1))} a run since it was loaded` : null],
      ["Missed", now.missed || null],
    ]) : el("p", { class: "soft" }, "No figures."));
  };
  const draw = async () => {
    const program = await page.get(`programs/${id}`);
    root.querySelector("h1").replaceChildren(name(program.name), el("span", { class: "soft" }, ` program ${program.program_id}`));
    about.replaceChildren(
      facts([
        ["State", el("span", { class: `mark ${tone(program.state)}` }, program.state)], ["Type", program.type + (program.attach_target ? ` for ${program.attach_target}` : "")],
        ["Owner", program.owner], ["Application", program.application], ["Licence", program.license], ["Loaded at", time(program.kernel?.loaded_at)],
        ["Loaded by", program.loaded_by_uid === null ? null : `user ${program.loaded_by_uid}`], ["CPU limit", program.cpu_limit && `${program.cpu_limit}, over it: ${program.over_cpu}`],
        ["CPU excess", program.cpu_excess], ["Unloaded in", program.ttl_left === null ? null : `${program.ttl_left} s`],
      ]),
      el("h2", null, "Provenance"),
      facts([
        ["Image", program.bytecode?.image_url], ["File", program.bytecode?.path], ["Image digest", copied(digest(program.bytecode?.image_digest), program.bytecode?.image_digest)],
        ["Rule and signer", short(program.bytecode?.verified_by) || (program.bytecode?.image_url ? "no rule asked for a signature" : "none: a file")],
        ["SHA-256 of the object", copied(digest(program.bytecode?.sha256), program.bytecode?.sha256)], ["Tag", program.kernel?.tag],
      ]),
      el("h2", null, "Where it runs"),
      program.links?.length ? el("ul", null, program.links.map((link) => el("li", null,
        link.hook ? el("a", { href: `#/hooks/${encodeURIComponent(link.hook)}` }, name(link.hook)) : name(link.attachment),
        name(` link ${link.link_id}, ${link.attachment}, `), el("span", { class: tone(link.state) }, link.state)))) : el("p", null, "It is attached nowhere."),
      el("h2", null, "Maps"),
      program.maps?.length ? el("ul", null, program.maps.map((map) => el("li", null, name(`${map.name} (${map.id}), ${bytes(map.memory_bytes)}, at most ${map.max_entries} entries`)))) : el("p", null, "It has none."),
      el("h2", null, "In the kernel"),
      facts([["Instructions verified", program.kernel?.verified_instructions], ["Compiled size", bytes(program.kernel?.jited_bytes)], ["Memory", bytes(program.kernel?.memory_bytes)], ["Pinned at", program.pin_path]]),
      ...(Object.keys(program.metadata).length ? [el("h2", null, "Metadata"), facts(Object.entries(program.metadata))] : []),
    );
    measure();
    try {
      history.set((await page.get("history", { id })).entries);
    } catch (error) {
      history.element.replaceChildren(el("p", { class: "soft" }, error.message));
    }
  };
  await refreshed(page, draw);
  page.live.addEventListener("figures", measure, { signal: page.signal });
}
