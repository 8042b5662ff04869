// Sessions of `bpfman run-as`, and leftovers of ended ones.

import { el } from "./dom.js";
import { refreshed } from "./refreshed.js";
import { DataTable } from "./table.js";
import { bytes, count, digest, time } from "./words.js";

const objects = (row) => [["programs", row.programs.length], ["maps", row.maps.length], ["links", row.links.length], ["other attachments", row.attachments]]
  .filter(([, number]) => number).map(([word, number]) => `${number} ${word}`).join(", ");

export async function show(root, _, page) {
  const table = new DataTable({
    label: "Sessions", key: (row) => row.name, sort: 6, descending: true, empty: "No command of `bpfman run-as` runs, and none left anything.",
    columns: [
      { title: "Name", value: (row) => row.name },
      { title: "State", value: (row) => row.state },
      { title: "Command", value: (row) => row.command ?? row.executable, long: true },
      { title: "Digest", value: (row) => row.sha256, text: (row) => row.sha256 && digest(row.sha256), copy: (row) => row.sha256 },
      { title: "User", value: (row) => row.uid, number: true },
      { title: "Owner", value: (row) => row.owner },
      { title: "Started", value: (row) => row.started, text: (row) => time(row.started), brief: true },
      { title: "Has", value: objects, long: true },
      { title: "Memory of maps", number: true, value: (row) => row.map_memory_bytes, text: (row) => bytes(row.map_memory_bytes) },
      { title: "Calls", number: true, value: (row) => row.calls_granted, text: (row) => count(row.calls_granted) },
      { title: "Refused", number: true, value: (row) => row.calls_refused, text: (row) => count(row.calls_refused) },
    ],
  });
  const total = el("p", { class: "soft" });
  root.append(el("h1", null, "Sessions"), total, table.element);
  await refreshed(page, async () => {
    const { sessions } = await page.get("sessions");
    total.textContent = `${sessions.filter((one) => one.state === "running").length} commands load eBPF through the daemon.`;
    table.set(sessions);
  });
}
