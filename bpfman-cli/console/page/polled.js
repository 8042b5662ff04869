// Polls the fleet every few seconds; one answer serves all parts of a page.

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
      // Access has ended: show the next steps. Polling continues, because access may be renewed.
      if (error.status === 401) live.set("ended", [error.message, error.hint].filter(Boolean).join(": ") + ".");
      else live.set("away", `${error.message}.`);
    }
    setTimeout(again, PAUSE);
  };
  setTimeout(again, PAUSE);
}
