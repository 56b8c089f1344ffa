// Notes when this window sends, hears and paints; benchmarks/pages.py reads it. Milliseconds of the window's own clock.
(() => {
  const QUIET = 400; // longer than any pause between a page's last message and its last paint
  const PICTURE = '[class*="st-key-picture_"]';
  const DRAWN = `${PICTURE} :is(.tok-row, .tok-bars, .main-svg, canvas, svg, iframe)`;
  const seen = { sent: 0, heard: 0, picture: 0, painted: 0, busy: false };
  const now = () => performance.now();

  const arm = () => Object.assign(seen, { sent: 0, heard: 0, picture: 0, painted: 0 });

  const paint = (isPicture) => {
    seen.busy = true;
    requestAnimationFrame(() =>
      setTimeout(() => {
        seen.painted = now();
        if (isPicture) seen.picture ||= seen.painted;
        seen.busy = false;
      }, 0)
    );
  };

  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", () => (seen.heard = now()));
    }
    send(data) {
      seen.sent ||= now();
      super.send(data);
    }
  };

  const app = () => document.querySelector('[data-testid="stApp"]');
  const ready = () => app()?.dataset.testScriptState === "notRunning";
  const inside = (node, selector) => (node instanceof Element ? node : node.parentElement)?.closest(selector);

  new MutationObserver((changes) => {
    const drawn = changes.filter(({ target }) => inside(target, '[data-testid="stMain"]') || target === app());
    if (!drawn.length) return;
    const picture = drawn.some(
      (change) =>
        change.type !== "attributes" && inside(change.target, PICTURE) && !inside(change.target, ".small-print")
    );
    paint(picture && document.querySelector(DRAWN) !== null);
  }).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });

  const settled = async () => {
    while (!(seen.sent && seen.heard && ready() && !seen.busy && now() - Math.max(seen.heard, seen.painted) > QUIET))
      await new Promise((resolve) => setTimeout(resolve, 50));
    const { sent, heard, picture, painted } = seen;
    return { picture: (picture || painted) - sent, server: heard - sent, whole: Math.max(painted, heard) - sent };
  };

  window.__watch = { arm, settled };
})();
