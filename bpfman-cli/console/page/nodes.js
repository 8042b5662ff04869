// Nodes, and details of one: desired programs, running programs, and reasons for differences.

import { el, facts, name } from "./dom.js";
import { fullName } from "./fleet.js";
import { polled } from "./polled.js";
import { DataTable } from "./table.js";

export async function show(root, [node], page) {
  await (node ? one(root, node, page) : all(root, page));
}

async function all(root, page) {
  const table = new DataTable({
    label: "Nodes", key: (row) => row.name, empty: "There are none that you may see.",
    columns: [
      { title: "Node", value: (row) => row.name, link: (row) => `#/nodes/${encodeURIComponent(row.name)}` },
      { title: "Kernel", value: (row) => row.kernel },
      { title: "Ready", value: (row) => row.ready, tone: (row) => (row.ready === "ready" ? "good" : "bad") },
      { title: "Failed", value: (row) => row.failed, long: true, tone: () => "bad" },
    ],
  });
  root.append(el("h1", null, "Nodes"), table.element);
  await polled(page, ({ nodes, applications }) => table.set(nodes ? nodes.names.map((node, index) => ({
    name: node, kernel: nodes.kernels[nodes.kernel_of[index]], ready: nodes.ready[index] === "1" ? "ready" : "not ready",
    failed: applications.filter((each) => each.cells?.[index] === "4").map(fullName).join(", "),
  })) : []));
}

async function one(root, node, page) {
  const about = el("div");
  root.append(el("h1", null, name(node)), about);
  await polled(page, async () => {
    const node_facts = await page.get("node", { name: node });
    about.replaceChildren(
      facts([["Kernel", node_facts.kernel], ["Ready", node_facts.ready ? "yes" : "no"], ["Agent", node_facts.agent_ready ? "ready" : "not ready, or not a pod of this cluster"],
        ["Pods", node_facts.tainted ? "kept away until its programs are back" : "let in"]]),
      ...(node_facts.applications.length ? node_facts.applications.map((one) => el("section", { class: "card" },
        el("h2", null, name(one.name), " ", el("span", { class: `mark ${one.outcome === "success" ? "good" : one.outcome === "error" ? "bad" : "warn"}` }, one.outcome)),
        facts([["Wanted", one.wanted], ["Runs", one.runs ?? "nothing yet"], ["Digest", one.digest], ["Not as wanted", one.as_wanted || one.outcome !== "success" ? null : "it runs something else for now"],
          ["Failed", one.failure && [one.failure[0], one.failure[1] && `of ${one.failure[1]}`].filter(Boolean).join(" ")], ["Why", one.failure?.[2]], ["Selectors that mean nothing here", one.unmatched.join(", ")],
          ["Preflight", one.preflight && `${one.preflight.revision}: ${one.preflight.verdict} ${one.preflight.message ?? ""}`], ["Gates", one.gates && `${one.gates.revision}: ${one.gates.within ? "kept" : "broken"} ${one.gates.message ?? ""}`]])))
        : [el("p", null, "No application that you may see is for this node.")]));
  });
}
