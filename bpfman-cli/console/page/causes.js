// Causes of failures in the whole fleet: one row for each cause, with its nodes.

import { el } from "./dom.js";
import { fullName } from "./fleet.js";
import { polled } from "./polled.js";
import { DataTable } from "./table.js";

export async function show(root, _, page) {
  const table = new DataTable({
    label: "Causes", key: (row) => `${row.application} ${row.reason} ${row.kernel} ${row.message}`, sort: 0, descending: true, empty: "Nothing fails.",
    columns: [
      { title: "Nodes", value: (row) => row.nodes, number: true },
      { title: "Cause", value: (row) => row.reason },
      { title: "Application", value: (row) => row.application },
      { title: "Kernel", value: (row) => row.kernel },
      { title: "For example", value: (row) => row.example, link: (row) => `#/nodes/${encodeURIComponent(row.example)}` },
      { title: "Message", value: (row) => row.message, long: true },
    ],
  });
  root.append(el("h1", null, "Causes of failure"), table.element);
  await polled(page, (fleet) => table.set(fleet.applications.flatMap((one) => (one.summary?.causes ?? []).map((cause) => ({ ...cause, application: fullName(one) })))));
}
