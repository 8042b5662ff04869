// Draws again when something changed: an entry of the journal came, other programs or links are there, the daemon is back.

const PAUSE = 150;

function shape(figures) {
  return JSON.stringify([figures.programs.map((one) => one.id), figures.chains.map((chain) => [chain.hook, chain.strategy, chain.counters, chain.members.map((one) => one.link_id)])]);
}

export async function refreshed({ live, signal }, draw, pause = PAUSE) {
  await draw();
  let wanted = false;
  let drawing = false;
  let seen = live.figures ? shape(live.figures) : null;
  // Several changes at once are drawn once; one that comes while it is drawn is drawn after.
  const again = () => {
    if (wanted || signal.aborted) return;
    wanted = true;
    setTimeout(async function run() {
      if (drawing) return void setTimeout(run, pause);
      [wanted, drawing] = [false, true];
      try {
        if (!signal.aborted) await draw();
      } catch (error) {
        // A daemon that is away is told above; what is gone stays as it was shown last.
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
