// The machine at a glance: health, packets and drops a second, CPU, the newest changes, third parties.

import { el, name, prose, setText } from "./dom.js";
import { about, who } from "./journal.js";
import { refreshed } from "./refreshed.js";
import { drops, rate, short, time, tone, verb } from "./words.js";

const NEWEST = 5;

function card(title, view) {
  const parts = { figure: el("p", { class: "figure" }), more: el("div") };
  return { ...parts, element: el("section", { class: "card" }, el("h2", null, view ? el("a", { href: `#/${view}` }, title) : title), parts.figure, parts.more) };
}

const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const list = (rows) => el("ul", null, rows.map((row) => el("li", null, row)));

function write(one, text, tone, ...more) {
  setText(one.figure, text);
  one.figure.className = `figure ${tone}`;
  one.more.replaceChildren(...more);
}

// Fetches the data of one card. A refusal is shown in the card; the other cards are not affected.
async function asked(page, path, one) {
  try {
    return await page.get(path);
  } catch (error) {
    if (error.reason === "unreachable") throw error;
    write(one, "–", "", el("p", { class: "soft" }, prose(error.message)));
    return null;
  }
}

export async function show(root, _, page) {
  const [health, packets, dropped, cpu, programs, strangers] = [["Health"], ["Packets", "hooks"], ["Drops", "hooks"], ["CPU", "programs"], ["Programs", "programs"], ["Third parties", "radar"]].map((one) => card(...one));
  const changes = card("Newest changes", "journal");
  changes.figure.hidden = true;
  changes.element.classList.add("wide");
  root.append(el("h1", null, "Overview"), el("div", { class: "cards" }, [health, packets, dropped, cpu, programs, strangers, changes].map((one) => one.element)));
  const measure = () => {
    const { figures } = page.live;
    if (!figures) return;
    const counted = figures.chains.filter((chain) => chain.counters);
    const other = figures.chains.find((chain) => !chain.counters);
    const sum = (of) => (counted.length ? counted.reduce((all, chain) => all + (of(chain) ?? 0), 0) : null);
    const hint = () => (other ? [el("p", { class: "soft" }, prose(`${other.hook} is not counted: \`bpfman chain counters ${other.hook} on\``))]
      : counted.length ? [] : [el("p", { class: "soft" }, prose("No program runs for packets. Attach one: `bpfman attach PROGRAM xdp:INTERFACE`"))]);
    write(packets, rate(sum((chain) => page.live.chainRate(chain))) || "–", "", el("p", { class: "soft" }, `at ${plural(figures.chains.length, "hook")}`), ...hint());
    const drop = sum((chain) => chainDrops(page.live, chain));
    write(dropped, rate(drop) || "–", drop ? "bad" : "", el("p", { class: "soft" }, "by programs of bpfman, where verdicts are counted"));
    const spent = figures.programs.reduce((all, one) => all + one.nanoseconds + one.nanoseconds_in_chains, 0);
    const before = page.live.before?.programs.reduce((all, one) => all + one.nanoseconds + one.nanoseconds_in_chains, 0);
    const share = figures.runs_timed ? page.live.rate(spent, before) : null;
    write(cpu, share === null ? "–" : `${(share / 1e7).toFixed(2)} %`, "", figures.runs_timed ? el("p", { class: "soft" }, "of one CPU, by all programs of bpfman")
      : el("p", null, el("button", { type: "button", click: () => page.live.time(true) }, "Measure while this page is open")));
  };
  const newest = () => {
    const entries = page.live.entries.filter((event) => event.event === "entry" && event.daemon !== "radar").slice(-NEWEST).reverse();
    changes.more.replaceChildren(entries.length ? list(entries.map((row) => [el("span", { class: "soft" }, `${time(row.time)} `), name(`${who(row)}: ${verb(row.verb)} ${short(about(row))} `),
      el("span", { class: tone(row.result) }, row.result)])) : el("p", { class: "soft" }, "Nothing has happened that concerns you."));
  };
  const draw = async () => {
    const [state, loaded, attached, survey] = await Promise.all([asked(page, "health", health), asked(page, "programs", programs), asked(page, "links", programs), asked(page, "radar", strangers)]);
    if (loaded && attached) {
      const wrong = [...loaded.programs, ...attached.links].filter((one) => one.standing !== "running" && one.standing !== "changing");
      write(programs, String(loaded.programs.length), "", el("p", { class: "soft" }, `${plural(attached.links.length, "attachment")}; ${types(loaded.programs)}`),
        ...(wrong.length ? [list(wrong.map((one) => el("span", { class: tone(one.state) }, name(`${one.link_id ? `link ${one.link_id}` : `program ${one.program_id}`}: ${one.state}`))))] : []),
        ...(loaded.programs.length ? [] : [el("p", null, prose("Load one: `bpfman load file FILE.o --programs xdp:NAME`"))]));
    }
    if (state) write(health, state.findings.length ? plural(state.findings.length, "finding") : "OK", state.findings.length ? "bad" : "good",
      ...(state.findings.length ? [list(state.findings.map((one) => [name(`${one.subject}: `), prose(one.what), " ", prose(`\`${one.fix}\``)]))] : [el("p", { class: "soft" }, "The daemon finds nothing wrong with itself.")]));
    if (survey) write(strangers, String(survey.programs.length), survey.radar.touched.length ? "bad" : "", el("p", { class: "soft" }, `${plural(survey.programs.length, "program")} and ${plural(survey.links.length, "link")} of other tools`),
      ...(survey.radar.touched.length ? [list(survey.radar.touched.map((what) => name(what)))] : []));
    newest();
    measure();
  };
  await refreshed(page, draw, 2000);
  page.live.addEventListener("figures", measure, { signal: page.signal });
  page.live.addEventListener("journal", newest, { signal: page.signal });
}

// Returns the drops per second of all members except shadows.
function chainDrops(live, chain) {
  const before = new Map((live.chainBefore(chain.hook)?.members ?? []).map((member) => [member.link_id, member]));
  return chain.members.filter((member) => !member.shadow).flatMap((member) => member.ended.filter((one) => drops(one.verdict)).map((one) => {
    const was = before.get(member.link_id)?.ended.find((old) => old.verdict === one.verdict);
    return live.rate(one.packets, was?.packets ?? 0) ?? 0;
  })).reduce((all, one) => all + one, 0);
}

function types(programs) {
  const counts = new Map();
  for (const { type } of programs) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts].map(([type, number]) => `${number} ${type}`).join(", ") || "none is loaded";
}
