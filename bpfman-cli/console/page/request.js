// Requests to the server that this page came from, and no other.

const KEY = "bpfman-page-key";

// Refusal of the server, as an error.
export class Refused extends Error {
  constructor(status, said) {
    super(said?.message ?? `the server answered ${status}`);
    this.status = status;
    this.reason = said?.reason ?? "";
    this.hint = said?.hint ?? "";
  }
}

function headers(more) {
  return { "x-bpfman-page": localStorage.getItem(KEY) ?? "", ...more };
}

function address(path, query) {
  const url = new URL(`/api/${path}`, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

async function asked(url, options) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", credentials: "same-origin", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { reason: "no-server", message: "The console's server does not answer.", hint: "Start it again: the command that opened this page has ended." });
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error);
}

export async function get(path, query) {
  return (await asked(address(path, query), { headers: headers() })).json();
}

export async function post(path, body) {
  const sent = { method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body ?? {}) };
  const answer = await asked(address(path), sent);
  return answer.status === 204 ? null : answer.json();
}

// Exchanges the token of the address for a session, and takes it out of the address and of the history.
export async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", "/");
  const { page_key } = await post("session", { token });
  localStorage.setItem(KEY, page_key);
}

// Events of a stream, until it ends.
export async function* events(path, query, signal) {
  const answer = await asked(address(path, query), { headers: headers({ accept: "text/event-stream" }), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", data: null };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
      }
      if (event.data !== null) yield event;
    }
  }
}
