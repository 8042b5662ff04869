// The machine, its daemon, and the user of the page.

import { el, facts, name, reconcile } from "./dom.js";
import { bytes, verb } from "./words.js";

export async function show(root, _, { get, live, signal }) {
  const machine = await get("machine");
  const { daemon: info, caller } = machine;
  const missing = Object.entries(info.features).filter(([, there]) => !there);
  root.append(
    el("h1", null, "Machine"),
    facts([
      ["Daemon", `bpfmand ${info.version}`], ["Socket", machine.socket], ["Kernel", info.kernel_release], ["Runtime folder", info.runtime_dir],
      ["State folder", info.state_dir],
    ]),
    ...(machine.detached ? [el("p", { class: "bad" }, `Nothing of bpfman is attached: ${machine.detached}`)] : []),
    el("h2", null, "You"),
    facts([
      ["User", caller.uid], ["Unit", caller.unit], ["Pod", caller.pod], [caller.uid === 0 ? "Root may do" : "Without a grant", caller.uid === 0 ? "everything" : caller.everybody.join(", ")],
      ...caller.grants.map((grant) => [`Grant ${grant.name}`, [`${grant.allow.join(", ")} `, grant.restrictions.map((line) => [el("br"), el("code", null, line)])].flat(2)]),
    ]),
    el("h2", null, "Journal"),
    info.journal
      ? facts([["Entries", `${info.journal.first} to ${info.journal.last}`], ["On disk", `${bytes(info.journal.bytes)} of at most ${bytes(info.journal.most_bytes)}`],
        ["Not written", info.journal.lost || null], ["Refusals without entries", info.journal.suppressed || null], ["Failure", info.journal.failure]])
      : el("p", null, "This daemon keeps none."),
    el("h2", null, "What the kernel lacks"),
    missing.length
      ? facts(missing.map(([feature]) => [feature, (info.lacking[feature] || "missing").replace(/ \(os error \d+\)/g, "")]))
      : el("p", null, "Nothing that the daemon would use."),
  );
  const refused = el("ul");
  root.append(el("h2", null, "Refused calls since the daemon started"), refused);
  reconcile(refused, info.refused_calls, (one) => `${one.verb} ${one.reason}`, (one) => el("li", null, name(`${verb(one.verb)}: ${one.reason}, ${one.count === 1 ? "once" : `${one.count} times`}`)));
  if (!info.refused_calls.length) refused.replaceWith(el("p", null, "None."));
  live.addEventListener("returned", async () => {
    root.replaceChildren();
    await show(root, _, { get, live, signal: AbortSignal.abort() });
  }, { signal, once: true });
}
