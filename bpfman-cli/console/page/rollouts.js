// Rollouts: the current wave, results of gates, and the actions that a user may take.

import { copied, el, facts, name, reconcile, setText } from "./dom.js";
import { fullName } from "./fleet.js";
import { polled } from "./polled.js";
import { post } from "./request.js";
import { digest, time } from "./words.js";

const TONES = { Idle: "good", Preflight: "warn", Progressing: "warn", Soaking: "warn", AwaitingPromotion: "warn", Paused: "warn", RollingBack: "bad", Failed: "bad" };

export async function show(root, _, page) {
  const list = el("div");
  const none = el("p", { hidden: true }, "No application has a rollout.");
  const said = el("p", { role: "status" });
  root.append(el("h1", null, "Rollouts"), said, none, list);
  await polled(page, (fleet) => {
    const rolling = fleet.applications.filter((one) => one.rollout);
    none.hidden = rolling.length > 0;
    reconcile(list, rolling, fullName, (one) => make(one, said), fill);
  });
}

function make(one, said) {
  const buttons = ["promote", "abort"].map((word) => {
    const button = el("button", { type: "button", click: () => act(button, word, one, said) }, word === "promote" ? "Promote" : "Abort");
    return button;
  });
  return el("section", { class: "card" }, el("h2", null, name(fullName(one)), " ", el("span", { class: "mark phase" })), el("p", { class: "said" }),
    el("ol", { class: "waves", "aria-label": "Waves" }), el("div", { class: "facts" }), el("p", { class: "tools" }, buttons));
}

function fill(section, one) {
  const rollout = one.rollout;
  const phase = section.querySelector(".phase");
  setText(phase, rollout.targetRevision ? `${rollout.phase}, wave ${rollout.wave} of ${rollout.waves}` : rollout.phase);
  phase.className = `mark phase ${TONES[rollout.phase] ?? ""}`;
  setText(section.querySelector(".said"), rollout.message ?? "");
  const waves = rollout.targetRevision ? Array.from({ length: rollout.waves }, (_, index) => index + 1) : [];
  reconcile(section.querySelector(".waves"), waves, (wave) => wave, () => el("li", { class: "mark" }), (item, wave) => {
    const state = wave < rollout.wave ? "done" : wave === rollout.wave ? "now" : "to come";
    setText(item, `${wave}: ${state}`);
    item.className = `mark ${state === "done" ? "good" : state === "now" ? "warn" : "soft"}`;
  });
  const gates = one.gates ? [one.gates.maxNanosecondsPerRun && `at most ${one.gates.maxNanosecondsPerRun} ns a run`, one.gates.maxErrors !== undefined && `at most ${one.gates.maxErrors} errors`,
    ...(one.gates.verdicts ?? []).map((gate) => `${gate.verdict}${gate.program ? ` of ${gate.program}` : ""} ${[gate.minPercent !== undefined && `at least ${gate.minPercent} %`, gate.maxPercent !== undefined && `at most ${gate.maxPercent} %`].filter(Boolean).join(", ")}`)].filter(Boolean) : [];
  const summary = one.summary;
  section.querySelector(".facts").replaceChildren(facts([
    ["Nodes", summary && `${summary.wanted} wanted, ${summary.updated} updated, ${summary.healthy} healthy, ${summary.failed} failed`],
    ["New version", rollout.targetRevision], ["Stable", rollout.stableRevision], ["Failed", rollout.failedRevision], ["Digest", copied(digest(rollout.digest), rollout.digest)], ["Since", time(rollout.since)],
    ["Gates", gates.length ? el("ul", null, gates.map((gate) => el("li", null, name(gate)))) : null],
    ["Gate results", one.gate_answers.length ? el("ul", null, one.gate_answers.map((answer) => el("li", { class: answer.within ? "" : "bad" },
      `${answer.nodes} ${answer.nodes === 1 ? "node" : "nodes"}${answer.within ? "" : ", broken"}: `, name(answer.message || "kept"), answer.example ? [", for example ", el("a", { href: `#/nodes/${encodeURIComponent(answer.example)}` }, name(answer.example))] : null))) : null],
    ["Preflight", rollout.preflight?.length ? el("ul", null, rollout.preflight.map((group) => el("li", { class: group.verdict === "Failed" ? "bad" : "" }, name(`${group.kernel}, ${group.nodes} nodes, on ${group.node}: ${group.verdict} ${group.message ?? ""}`)))) : null],
  ]));
  const going = Boolean(rollout.targetRevision);
  for (const button of section.querySelectorAll("button")) button.hidden = !(one.may_change && going);
  if (!one.may_change && going && !section.querySelector(".unable")) section.append(el("p", { class: "soft unable" }, "You may not change this application, so you can neither promote nor abort."));
}

// The first press asks for confirmation, and the second acts: a press by mistake changes nothing.
async function act(button, word, one, said) {
  const title = word === "promote" ? "Promote" : "Abort";
  if (button.dataset.asked !== "yes") {
    button.dataset.asked = "yes";
    setText(button, `${title}: press again`);
    setTimeout(() => {
      delete button.dataset.asked;
      setText(button, title);
    }, 6000);
    return;
  }
  delete button.dataset.asked;
  setText(button, title);
  try {
    const { message } = await post("rollout", { namespace: one.namespace, name: one.name, word });
    said.className = "good";
    setText(said, message);
  } catch (error) {
    said.className = "bad";
    setText(said, `${error.message} ${error.hint}`);
  }
}
