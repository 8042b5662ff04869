// The fleet, asked for again every few seconds: one answer serves all that a page draws.

const PAUSE = 3000;

export async function polled({ live, signal, get }, draw) {
  const once = async () => {
    const fleet = await get("fleet");
    live.fleet = fleet;
    live.set("live", "");
    if (!signal.aborted) draw(fleet);
  };
  await once();
  const again = async () => {
    if (signal.aborted) return;
    try {
      await once();
    } catch (error) {
      live.set(error.status === 401 && error.reason === "no-session" ? "ended" : "away", `${error.message}.`);
    }
    setTimeout(again, PAUSE);
  };
  setTimeout(again, PAUSE);
}
