// Maps by memory.

import { el } from "./dom.js";
import { refreshed } from "./refreshed.js";
import { DataTable } from "./table.js";
import { bytes } from "./words.js";

export async function show(root, _, page) {
  const table = new DataTable({
    label: "Maps", key: (row) => row.id, sort: 3, descending: true, empty: "No program has a map.",
    columns: [
      { title: "ID", value: (row) => row.id, number: true },
      { title: "Name", value: (row) => row.name },
      { title: "Type", value: (row) => row.type },
      { title: "Memory", number: true, value: (row) => row.memory_bytes, text: (row) => bytes(row.memory_bytes) },
      { title: "Most entries", number: true, value: (row) => row.max_entries },
      { title: "Key", value: (row) => `${row.key_type ?? ""} ${row.key_bytes} B`.trim() },
      { title: "Value", value: (row) => `${row.value_type ?? ""} ${row.value_bytes} B`.trim() },
      { title: "Owners", value: (row) => row.owners.join(", ") },
      { title: "Programs", value: (row) => row.used_by.join(", "), link: (row) => (row.used_by.length === 1 ? `#/programs/${row.used_by[0]}` : null) },
      { title: "Pinned at", value: (row) => row.pin_path, long: true },
    ],
  });
  const total = el("p", { class: "soft" });
  root.append(el("h1", null, "Maps"), total, table.element);
  await refreshed(page, async () => {
    const { maps } = await page.get("maps");
    total.textContent = `${maps.length} maps take ${bytes(maps.reduce((sum, map) => sum + map.memory_bytes, 0))} of the kernel's memory.`;
    table.set(maps);
  });
}
