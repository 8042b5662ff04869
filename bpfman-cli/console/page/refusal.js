// A refusal, shown in place of the content: the action, the reason, and the next steps.

import { el, prose } from "./dom.js";

const TITLES = {
  denied: "You may not see this",
  unreachable: "The daemon does not answer",
  "no-server": "The console has ended",
  "no-session": "This page has no session",
  "token-used": "This address was used already",
  "token-expired": "This address has expired",
  "not-found": "There is no such thing",
  busy: "Too much is open",
};

export function refusal(error) {
  return el("section", { class: "refusal", role: "alert", "data-reason": error.reason || "error" },
    el("h2", null, TITLES[error.reason] ?? "This did not work"),
    el("p", null, prose(error.message)),
    error.hint ? error.hint.split("\n").map((hint) => el("p", { class: "soft" }, prose(hint))) : null);
}
