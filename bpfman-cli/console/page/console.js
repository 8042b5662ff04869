// Entry point: begins a session, then shows the view that the address after `#` names.

import { el, prose, setText } from "./dom.js";
import { Live } from "./live.js";
import { refusal } from "./refusal.js";
import { begin, get } from "./request.js";
import { ZONE } from "./words.js";

const VIEWS = {
  machine: [
    ["overview", "Overview", "./overview.js"], ["hooks", "Hooks", "./hooks.js"], ["programs", "Programs", "./programs.js"], ["maps", "Maps", "./maps.js"],
    ["journal", "Journal", "./journal.js"], ["radar", "Radar", "./radar.js"], ["sessions", "Sessions", "./sessions.js"],
    ["machine", "Machine", "./machine.js"],
  ],
  fleet: [["fleet", "Fleet", "./fleet.js"], ["rollouts", "Rollouts", "./rollouts.js"], ["causes", "Causes", "./causes.js"], ["nodes", "Nodes", "./nodes.js"]],
};

const main = document.getElementById("view");
const connection = document.getElementById("connection");
const notice = document.getElementById("notice");
const live = new Live();
let views = [];
let kind = "machine";
let shown = null;

// `#/programs/7` as ["programs", "7"].
function place() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return parts[0] ? parts : [views[0][0]];
}

async function show() {
  const [id, ...rest] = place();
  shown?.abort.abort();
  const abort = new AbortController();
  shown = { abort };
  for (const link of document.querySelectorAll("#views a")) {
    if (link.dataset.view === id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = views.find(([name]) => name === id);
  const root = el("div", { class: "content" });
  const draw = async () => {
    if (!view) throw Object.assign(new Error(`This console has no view “${id}”.`), { reason: "not-found" });
    const module = await import(view[2]);
    await module.show(root, rest, { live, signal: abort.signal, get: (path, query) => get(path, query) });
  };
  try {
    await draw();
  } catch (error) {
    if (abort.signal.aborted) return;
    root.replaceChildren(el("h1", null, view?.[1] ?? "Not found"), refusal(error));
    // A view that the daemon's absence prevented is shown when the daemon is back.
    if (error.reason === "unreachable" && kind === "fleet") setTimeout(() => abort.signal.aborted || show(), 3000);
    else if (error.reason === "unreachable") live.addEventListener("connection", ({ detail }) => detail.state === "live" && show(), { once: true, signal: abort.signal });
  }
  if (abort.signal.aborted) return;
  main.replaceChildren(root);
  const title = root.querySelector("h1");
  document.title = `${title?.textContent ?? id} · bpfman`;
  title?.setAttribute("tabindex", "-1");
  if (moved) title?.focus({ preventScroll: true });
  moved = true;
  main.dataset.view = id;
}
// The first view takes no focus: a screen reader begins at the top of the page.
let moved = false;

function navigation() {
  views = VIEWS[kind];
  const list = document.getElementById("views");
  list.replaceChildren(...views.map(([id, title]) => el("li", null, el("a", { href: `#/${id}`, "data-view": id }, title))));
}

function keys(event) {
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape" && typing) {
    typing.value = "";
    typing.dispatchEvent(new Event("input"));
    typing.blur();
    main.querySelector("h1")?.focus();
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const filter = main.querySelector("input[type=search]");
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  }
  const view = views[Number(event.key) - 1];
  if (/^[1-9]$/.test(event.key) && view) location.hash = `#/${view[0]}`;
}

function connected({ detail: { state, old, why } }) {
  const words = { live: "Live", away: "Not connected", connecting: "Connecting", ended: "Ended" };
  setText(connection, words[state]);
  connection.className = state === "ended" ? "away" : state;
  notice.hidden = state === "live" || state === "connecting";
  notice.replaceChildren(...(notice.hidden ? [] : prose(`${why} ${state === "away" ? "This page continues when it is back; what it shows is from before." : ""}`)));
  main.classList.toggle("stale", state === "away");
  if (state === "live" && old === "away") live.say("returned");
}

async function start() {
  document.addEventListener("keydown", keys);
  live.addEventListener("connection", connected);
  try {
    await begin();
    const about = await get("about");
    setText(document.getElementById("where"), about.where);
    setText(document.getElementById("zone"), ZONE);
    kind = about.kind;
    navigation();
    window.addEventListener("hashchange", show);
    // Views of a fleet poll for data themselves: a fleet changes within seconds, not with each packet.
    if (kind === "machine") live.follow();
    await show();
  } catch (error) {
    connection.className = "away";
    setText(connection, "Not connected");
    main.replaceChildren(el("h1", null, "bpfman console"), refusal(error));
  }
  document.body.dataset.ready = "yes";
}

start();
