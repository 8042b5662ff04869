// The fleet as a heat map: a band for each application, a square for each node, nodes grouped by kernel. A
// table beside each drawing has the same numbers, for keyboards and screen readers.

import { el, name, reconcile, setText } from "./dom.js";
import { polled } from "./polled.js";
import { DataTable } from "./table.js";

export const STATES = ["not selected", "healthy", "updating", "no answer", "failed"];
const COLOURS = ["--none", "--good", "--busy", "--warn", "--bad"];
const CELL = 7;
const GAP = 14;
const LABEL = 16;

export const fullName = (application) => (application.namespace ? `${application.namespace}/${application.name}` : application.name);

// Returns the range of nodes of each kernel; these nodes are adjacent.
function bands(nodes) {
  const list = nodes.kernels.map((kernel) => ({ kernel, from: nodes.names.length, to: 0 }));
  nodes.kernel_of.forEach((kernel, at) => {
    const band = list[kernel];
    band.from = Math.min(band.from, at);
    band.to = Math.max(band.to, at + 1);
  });
  return list;
}

function counts(cells, band) {
  const each = [0, 0, 0, 0, 0];
  for (let at = band.from; at < band.to; at += 1) each[cells.charCodeAt(at) - 48] += 1;
  return each;
}

export async function show(root, [application, kernel], page) {
  await (application ? group(root, application, kernel, page) : all(root, page));
}

async function all(root, page) {
  const list = el("div", { class: "heat" });
  const about = el("p", { class: "soft" });
  root.append(el("h1", null, "Fleet"), about,
    el("ul", { class: "legend", "aria-label": "Colours" }, STATES.map((state, index) => el("li", null, el("i", { class: `swatch-${index}` }), state))), list);
  const make = (one) => {
    const canvas = el("canvas", { "aria-hidden": "true", click: (event) => open(event, canvas), mousemove: (event) => point(event, canvas) });
    return el("section", { class: "band" }, el("h2", null, name(fullName(one)), " ", el("span", { class: "mark" })), el("p", { class: "soft said" }), canvas, el("table", null));
  };
  const draw = (fleet) => {
    const { nodes } = fleet;
    setText(about, nodes ? `${nodes.names.length} nodes, ${nodes.kernels.length} ${nodes.kernels.length === 1 ? "kernel" : "kernels"}, ${fleet.applications.length} applications${fleet.complete ? "" : "; the controller is still reading"}`
      : `${fleet.applications.length} applications. You may not list nodes: ask for that right to see how they do on each.`);
    const began = performance.now();
    const groups = nodes ? bands(nodes) : [];
    reconcile(list, fleet.applications, fullName, make, (section, one) => {
      const mark = section.querySelector(".mark");
      setText(mark, one.condition);
      mark.className = `mark ${one.condition === "Success" ? "good" : one.condition === "Pending" ? "warn" : "bad"}`;
      setText(section.querySelector(".said"), one.message);
      const canvas = section.querySelector("canvas");
      canvas.hidden = !nodes;
      if (!nodes) return;
      paint(canvas, one, nodes, groups);
      table(section.querySelector("table"), one, groups);
    });
    // Canvases are painted with the next frame; tests read the measured time.
    requestAnimationFrame(() => { list.dataset.drawnMs = (performance.now() - began).toFixed(1); });
  };
  const repaint = () => page.live.fleet && draw(page.live.fleet);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint, { signal: page.signal });
  window.addEventListener("resize", repaint, { signal: page.signal });
  await polled(page, draw);
}

function paint(canvas, one, nodes, groups) {
  const width = Math.max(Math.min(document.getElementById("view").clientWidth - 40, 1500), 200);
  const columns = Math.floor(width / CELL);
  let top = 0;
  const places = groups.map((band) => {
    const rows = Math.ceil((band.to - band.from) / columns);
    const place = { ...band, top: top + LABEL, rows };
    top += LABEL + rows * CELL + GAP;
    return place;
  });
  const scale = window.devicePixelRatio || 1;
  const style = getComputedStyle(document.documentElement);
  canvas.width = Math.ceil(width * scale);
  canvas.height = Math.ceil(Math.max(top, 1) * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${Math.max(top, 1)}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  const colours = COLOURS.map((colour) => style.getPropertyValue(colour));
  const text = style.getPropertyValue("--soft");
  for (const place of places) {
    pen.fillStyle = text;
    pen.fillText(`${place.kernel || "kernel not known"} · ${place.to - place.from} nodes`, 2, place.top - 4);
    // Draw one colour after the other, because changing the colour is slow.
    for (let state = 0; state < colours.length; state += 1) {
      pen.fillStyle = colours[state];
      for (let at = place.from; at < place.to; at += 1) {
        if (one.cells.charCodeAt(at) - 48 !== state) continue;
        const index = at - place.from;
        pen.fillRect((index % columns) * CELL, place.top + Math.floor(index / columns) * CELL, CELL - 1, CELL - 1);
      }
    }
  }
  canvas.places = { places, columns, nodes, cells: one.cells };
}

function at(event, canvas) {
  const { places, columns, nodes, cells } = canvas.places ?? { places: [] };
  const place = places.find((one) => event.offsetY >= one.top && event.offsetY < one.top + one.rows * CELL);
  if (!place) return null;
  const index = place.from + Math.floor((event.offsetY - place.top) / CELL) * columns + Math.floor(event.offsetX / CELL);
  return index < place.to && event.offsetX < columns * CELL ? { node: nodes.names[index], state: STATES[cells.charCodeAt(index) - 48] } : null;
}

function point(event, canvas) {
  const found = at(event, canvas);
  canvas.title = found ? `${found.node}: ${found.state}` : "";
}

function open(event, canvas) {
  const found = at(event, canvas);
  if (found) location.hash = `#/nodes/${encodeURIComponent(found.node)}`;
}

function table(element, one, groups) {
  if (!element.tHead) {
    element.append(el("caption", null, "Nodes by kernel and state"), el("thead", null, el("tr", null, ["Kernel", ...STATES].map((title, index) => el("th", { scope: "col", class: index ? "number" : undefined }, title)))), el("tbody"));
  }
  reconcile(element.tBodies[0], groups, (band) => band.kernel || "?", (band) => el("tr", null,
    el("th", { scope: "row" }, el("a", { href: `#/fleet/${encodeURIComponent(fullName(one))}/${encodeURIComponent(band.kernel)}` }, name(band.kernel || "not known"))), STATES.map(() => el("td", { class: "number" }))),
  (row, band) => counts(one.cells, band).forEach((number, state) => setText(row.children[state + 1], number ? String(number) : "")));
}

// The nodes of one kernel for one application.
async function group(root, application, kernel, page) {
  const list = new DataTable({
    label: "Nodes", key: (row) => row.name, empty: "There is no such group.",
    columns: [
      { title: "Node", value: (row) => row.name, link: (row) => `#/nodes/${encodeURIComponent(row.name)}` },
      { title: "State", value: (row) => row.state, tone: (row) => (row.state === "healthy" ? "good" : row.state === "failed" ? "bad" : "") },
      { title: "Ready", value: (row) => row.ready },
    ],
  });
  root.append(el("h1", null, name(application), " on ", name(kernel || "every kernel")), el("p", null, el("a", { href: "#/fleet" }, "All of the fleet")), list.element);
  await polled(page, ({ nodes, applications }) => {
    const one = applications.find((each) => fullName(each) === application);
    if (!nodes || !one) return list.set([]);
    const rows = nodes.names.map((node, index) => ({ name: node, kernel: nodes.kernels[nodes.kernel_of[index]], state: STATES[one.cells.charCodeAt(index) - 48], ready: nodes.ready[index] === "1" ? "ready" : "not ready" }));
    return list.set(rows.filter((row) => kernel === undefined || row.kernel === kernel));
  });
}
