// Redraws a view after new journal entries and changes of programs or links, and when the daemon is back.

const PAUSE = 150;

function shape(figures) {
  return JSON.stringify([figures.programs.map((one) => one.id), figures.chains.map((chain) => [chain.hook, chain.strategy, chain.counters, chain.members.map((one) => one.link_id)])]);
}

export async function refreshed({ live, signal }, draw, pause = PAUSE) {
  await draw();
  let wanted = false;
  let drawing = false;
  let seen = live.figures ? shape(live.figures) : null;
  // Draws once for several changes in succession; a change during drawing is drawn afterwards.
  const again = () => {
    if (wanted || signal.aborted) return;
    wanted = true;
    setTimeout(async function run() {
      if (drawing) return void setTimeout(run, pause);
      [wanted, drawing] = [false, true];
      try {
        if (!signal.aborted) await draw();
      } catch (error) {
        // A notice shows that the daemon is away; a view of an object that is gone stays unchanged.
        if (error.reason !== "unreachable" && error.reason !== "not-found") live.say("refused", { what: "view", message: error.message });
      }
      drawing = false;
    }, pause);
  };
  live.addEventListener("journal", again, { signal });
  live.addEventListener("returned", again, { signal });
  live.addEventListener("changed", again, { signal });
  live.addEventListener("figures", ({ detail }) => {
    const now = shape(detail);
    if (seen !== null && now !== seen) again();
    seen = now;
  }, { signal });
}
