// The only stream of a page: statistics, journal entries, availability of the daemon. Restarts after its end.

import { Refused, events } from "./request.js";

const KEPT_ENTRIES = 2000;
const KEPT_POINTS = 60;
const PAUSES = [500, 1000, 2000, 5000];

export class Live extends EventTarget {
  constructor() {
    super();
    this.entries = [];
    this.position = null;
    // Run of the daemon that assigned the numbers of the entries.
    this.epoch = "";
    this.figures = null;
    this.before = null;
    this.points = new Map();
    this.state = "connecting";
    this.refusals = new Map();
    this.timed = false;
    this.abort = null;
  }

  // Switches the kernel's timing of runs. There is one stream: it restarts with the new setting.
  time(on) {
    this.timed = on;
    this.abort?.abort();
  }

  say(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  set(state, why) {
    if (this.state === state && this.why === why) return;
    const old = this.state;
    [this.state, this.why] = [state, why];
    this.say("connection", { state, old, why });
  }

  async follow() {
    for (let failures = 0; ; failures += 1) {
      try {
        this.abort = new AbortController();
        this.refusals.clear();
        for await (const event of events("stream", { after: this.position, epoch: this.epoch, time: this.timed ? "yes" : "" }, this.abort.signal)) {
          failures = 0;
          this.take(event);
        }
        this.set("away", "The stream ended.");
      } catch (error) {
        if (error.name === "AbortError") continue;
        const over = error instanceof Refused && (error.status === 401 || error.status === 404);
        this.set(over ? "ended" : "away", error.message);
        if (over) return;
      }
      await new Promise((done) => setTimeout(done, PAUSES[Math.min(failures, PAUSES.length - 1)]));
    }
  }

  take({ name, data }) {
    if (name === "figures") this.measure(data);
    else if (name === "journal") this.add(data);
    else if (name === "daemon") {
      this.set(data.there ? "live" : "away", data.message);
    } else if (name === "refused") {
      this.refusals.set(data.what, data);
      this.say("refused", data);
    } else {
      this.say(name, data);
    }
  }

  add(data) {
    // The daemon has another journal: drop the entries of the old one.
    if (data.reset) [this.entries, this.position] = [[], 0];
    // The daemon lost the entries after a number, and assigned their numbers to other entries.
    for (const { after } of data.events.filter((event) => event.event === "renumbered")) {
      this.entries = this.entries.filter((event) => event.event !== "entry" || event.number <= after);
      this.position = Math.min(this.position ?? 0, after);
    }
    this.epoch = data.epoch;
    const known = this.position ?? 0;
    const fresh = data.events.filter((event) => event.event !== "entry" || event.number > known);
    this.entries = this.entries.concat(fresh).slice(-KEPT_ENTRIES);
    this.position = Math.max(known, data.position);
    if (fresh.length || !data.events.length) this.say("journal", fresh);
  }

  measure(figures) {
    [this.before, this.figures] = [this.figures, figures];
    // A restarted daemon counts from zero.
    if (this.before && figures.at_ns <= this.before.at_ns) this.before = null;
    for (const chain of figures.chains) {
      const points = this.points.get(chain.hook) ?? [];
      points.push(this.chainRate(chain));
      this.points.set(chain.hook, points.slice(-KEPT_POINTS));
    }
    this.say("figures", figures);
  }

  // Returns the rate per second between the last two readings; null if one of them lacks the value.
  rate(now, before) {
    if (now === null || now === undefined || before === null || before === undefined || !this.before) return null;
    const seconds = (this.figures.at_ns - this.before.at_ns) / 1e9;
    return now >= before && seconds > 0 ? (now - before) / seconds : null;
  }

  chainBefore(hook) {
    return this.before?.chains.find((one) => one.hook === hook);
  }

  chainRate(chain) {
    return chain.counters ? this.rate(chain.packets, this.chainBefore(chain.hook)?.packets) : null;
  }

  // Returns a program's readings. Its runs include those as a member of chains; null if one of these chains
  // has no counters.
  program(id) {
    const find = (figures) => {
      const program = figures?.programs.find((one) => one.id === id);
      if (!program) return program;
      const joined = figures.chains.filter((chain) => chain.strategy !== "direct");
      const members = joined.flatMap((chain) => chain.members.filter((member) => member.program_id === id));
      const counted = members.every((member) => member.runs !== null);
      return {
        ...program,
        runs: counted ? members.reduce((sum, member) => sum + member.runs, program.runs) : null,
        nanoseconds: program.nanoseconds + program.nanoseconds_in_chains,
      };
    };
    return { now: find(this.figures), before: find(this.before) };
  }
}
