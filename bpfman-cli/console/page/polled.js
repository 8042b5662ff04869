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
      // Who is not let in any more is told what to do. A new token is taken up when it comes.
      if (error.status === 401) live.set("ended", [error.message, error.hint].filter(Boolean).join(": ") + ".");
      else live.set("away", `${error.message}.`);
    }
    setTimeout(again, PAUSE);
  };
  setTimeout(again, PAUSE);
}
