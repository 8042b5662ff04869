// Hooks, and a drawing of one hook's chain: programs in the order that packets meet them, with live counts.

import { el, facts, name, prose, reconcile, setText, svg } from "./dom.js";
import { refreshed } from "./refreshed.js";
import { DataTable } from "./table.js";
import { count, digest, drops, nanoseconds, rate, tone } from "./words.js";

export async function show(root, [hook], page) {
  await (hook ? one(root, hook, page) : all(root, page));
}

function spark() {
  return svg("svg", { class: "spark", viewBox: "0 0 59 20", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("polyline", { points: "" }));
}

function drawSpark(chart, points) {
  const known = points.map((point) => point ?? 0);
  const most = Math.max(...known, 1);
  const begin = 60 - known.length;
  chart.firstElementChild.setAttribute("points", known.map((value, index) => `${begin + index},${(19 - (18 * value) / most).toFixed(1)}`).join(" "));
}

async function all(root, page) {
  const list = el("ul", { class: "cards" });
  const empty = el("p", { hidden: true }, prose("No hook has a chain: nothing of bpfman is attached to XDP or TC. Attach a program: `bpfman attach PROGRAM xdp:INTERFACE`."));
  const others = new DataTable({
    label: "Other attachments", key: (row) => row.link_id, empty: "Nothing else is attached.",
    columns: [
      { title: "Link", value: (row) => row.link_id, number: true },
      { title: "Program", value: (row) => row.program_name, link: (row) => `#/programs/${row.program_id}` },
      { title: "Type", value: (row) => row.type },
      { title: "Attached to", value: (row) => row.attachment, long: true },
      { title: "Owner", value: (row) => row.owner },
      { title: "State", value: (row) => row.state, tone: (row) => tone(row.state) },
    ],
  });
  root.append(el("h1", null, "Hooks"), empty, list, el("h2", null, "Other attachments"), others.element);
  const make = (hook) => el("li", { class: "card" },
    el("h2", null, el("a", { href: `#/hooks/${encodeURIComponent(hook.hook)}` }, name(hook.hook))),
    el("p", { class: "soft what" }), el("p", null, el("span", { class: "mark state" })), spark(), el("p", { class: "soft traffic" }));
  const draw = (hooks) => {
    empty.hidden = hooks.length > 0;
    reconcile(list, hooks, (hook) => hook.hook, make, (card, hook) => {
      setText(card.querySelector(".what"), `${hook.member_count} ${hook.member_count === 1 ? "program" : "programs"}, ${hook.strategy}, ${hook.mode}`);
      const state = card.querySelector(".state");
      setText(state, hook.state);
      state.className = `mark state ${tone(hook.state)}`;
    });
    measured();
  };
  const measured = () => {
    for (const card of list.children) {
      const chain = page.live.figures?.chains.find((one) => one.hook === card.dataset.key);
      if (!chain) continue;
      drawSpark(card.querySelector("svg"), page.live.points.get(chain.hook) ?? []);
      const now = page.live.chainRate(chain);
      setText(card.querySelector(".traffic"), !chain.counters ? "verdicts are not counted" : `${rate(now) || "measuring"} · ${count(chain.packets)} packets`);
    }
  };
  await refreshed(page, async () => {
    const [{ hooks }, { links }] = await Promise.all([page.get("hooks"), page.get("links")]);
    draw(hooks);
    const shown = new Set(hooks.map((hook) => hook.hook));
    others.set(links.filter((link) => !shown.has(link.hook)));
  });
  page.live.addEventListener("figures", measured, { signal: page.signal });
}

async function one(root, hook, page) {
  const state = el("div");
  const total = el("p", { class: "soft total" });
  const uncounted = el("p", { hidden: true }, prose(`Count them: \`bpfman chain counters ${hook} on\``));
  const chart = spark();
  const drawing = el("ol", { class: "chain", "aria-label": "What packets meet, in order" });
  const others = el("div");
  const findings = el("div");
  root.append(el("h1", null, name(hook)), state, chart, total, uncounted, drawing, others, findings);
  let chain = null;
  const draw = async () => {
    chain = await page.get("chain", { hook });
    state.replaceChildren(facts([
      ["Strategy", chain.reason?.startsWith(chain.strategy) ? chain.reason : `${chain.strategy}: ${chain.reason}`], ["Attached by", chain.mode],
      ["Program", chain.program_id ? `${chain.program_id} ${chain.program_name ?? ""}` : null], ["Verified instructions", chain.verified_instructions || null],
      ["Switches", [["counters", chain.counters], ["timing", chain.timing], ["kept attached", chain.keep_attached], ["subprograms", chain.as_subprograms]]
        .filter(([, on]) => on).map(([word]) => word).join(", ") || "none is on"],
      ["Held", chain.held ? `by ${chain.held_by ?? "somebody"}: changes are refused` : null], ["Fallbacks", chain.fallbacks || null],
    ]));
    const ends = { key: "end", last: true };
    reconcile(drawing, [...chain.members, ends], (member) => (member.last ? "end" : member.link_id), make, fill);
    const strangers = chain.entries.filter((entry) => !entry.ours);
    others.replaceChildren(...(strangers.length ? [el("h2", null, "Third-party programs beside it"),
      el("ul", null, strangers.map((entry) => el("li", null, name(`${entry.program_name ?? "program"} ${entry.program_id ?? ""} by ${entry.via} ${entry.detail ?? ""} ${entry.held_by.join(", ")}`))))] : []));
    measured();
    await explain(findings, hook, page);
  };
  const measured = () => {
    const figures = page.live.figures?.chains.find((one) => one.hook === hook);
    if (!figures || !chain) return;
    const before = page.live.chainBefore(hook);
    drawSpark(chart, page.live.points.get(hook) ?? []);
    setText(total, figures.counters ? `${count(figures.packets)} packets · ${rate(page.live.chainRate(figures)) || "measuring"}`
      : "Verdicts are not counted here.");
    uncounted.hidden = figures.counters;
    const slowest = Math.max(...figures.members.map((member) => member.nanoseconds_per_run ?? 0));
    for (const member of figures.members) {
      const box = [...drawing.children].find((child) => child.dataset.key === String(member.link_id));
      if (box) measure(page.live, figures, box, member, before?.members.find((one) => one.link_id === member.link_id), slowest);
    }
    const end = drawing.querySelector(".end .runs");
    if (end && figures.counters) setText(end, `${count(figures.all_proceeded)} packets · ${rate(page.live.rate(figures.all_proceeded, before?.all_proceeded)) || "measuring"}${figures.failed ? ` · ${count(figures.failed)} lost by a failed tail call` : ""}`);
  };
  await refreshed(page, draw);
  page.live.addEventListener("figures", measured, { signal: page.signal });
}

function make(member) {
  if (member.last) return el("li", { class: "end" }, el("div", { class: "member" }, el("h3", null, "Passed to the kernel: every program proceeded"), el("span", { class: "runs number" })));
  return el("li", null,
    el("div", { class: "member" }, el("h3", null, el("a", { href: `#/programs/${member.program_id}` }, name(member.program_name))),
      el("span", { class: "number" }, el("span", { class: "runs" }), " ", el("span", { class: "spent" }))),
    el("ul", { class: "about", "aria-label": "About it" }), el("ul", { class: "verdicts", "aria-label": "Verdicts that ended packets here" }));
}

function fill(box, member) {
  if (member.last) return;
  const link = box.querySelector("h3 a");
  const wanted = `#/programs/${member.program_id}`;
  if (link.getAttribute("href") !== wanted) link.setAttribute("href", wanted);
  const parts = [`position ${member.position}`, `priority ${member.priority}`, `link ${member.link_id}`, `program ${member.program_id}`,
    member.role ? `role ${member.role}` : null, member.image_digest ? digest(member.image_digest) : null, member.way ? `runs ${member.way}` : null,
    member.proceed_on.length ? `continues after ${member.proceed_on.join(", ")}` : "never continues", member.shadow ? "a shadow: its verdicts are ignored" : null,
    member.order_reason === `priority ${member.priority}` ? null : member.order_reason];
  reconcile(box.querySelector(".about"), parts.filter(Boolean), (part) => part, (part) => el("li", { class: "chip" }, name(part)));
}

function measure(live, chain, box, member, before, slowest) {
  setText(box.querySelector(".runs"), member.runs === null || member.runs === undefined ? "" : `${count(member.runs)} runs · ${rate(live.rate(member.runs, before?.runs)) || "measuring"}`);
  const each = member.nanoseconds_per_run ?? null;
  setText(box.querySelector(".spent"), [each === null ? null : `${nanoseconds(each)} a run`, member.owner].filter(Boolean).map((part) => `· ${part}`).join(" "));
  box.classList.toggle("slow", each !== null && chain.members.length > 1 && each === slowest && each > 500);
  const was = new Map((before?.ended ?? []).map((one) => [one.verdict, one.packets]));
  reconcile(box.querySelector(".verdicts"), member.ended, (one) => one.verdict,
    // A meter is red where a low value is the best.
    (one) => el("li", { class: drops(one.verdict) ? "bad" : undefined }, name(one.verdict), el("span", { class: "number" }),
      el("meter", { min: 0, max: 1, "aria-label": `Share of ${one.verdict}`, ...(drops(one.verdict) ? { low: 1e-9, high: 2e-9, optimum: 0 } : {}) })),
    (row, one) => {
      const share = chain.packets ? one.packets / chain.packets : 0;
      setText(row.querySelector(".number"), `${count(one.packets)} · ${(100 * share).toFixed(share < 0.1 ? 1 : 0)} % · ${rate(live.rate(one.packets, was.get(one.verdict))) || "measuring"}`);
      row.querySelector("meter").value = share;
    });
}

async function explain(findings, hook, page) {
  try {
    const explained = await page.get("explain", { hook });
    findings.replaceChildren(el("h2", null, "Explained"), explained.findings.length
      ? el("ul", null, explained.findings.map((finding) => el("li", null, prose(finding)))) : el("p", null, "Nothing stands out."));
  } catch (error) {
    findings.replaceChildren(el("h2", null, "Explained"), el("p", { class: "soft" }, error.message));
  }
}
