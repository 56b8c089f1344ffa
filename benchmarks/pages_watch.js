// Notes when this window is touched, sends, hears and paints; benchmarks/pages.py reads it. Milliseconds of its own clock.
(() => {
  const QUIET = 400; // longer than any pause between a page's last message and its last paint
  const REST = 800; // longer than a picture waits before it tells the server where it has settled
  const PATIENCE = 60_000;
  const PICTURE = '[class*="st-key-picture_"]';
  const DRAWN = `${PICTURE} :is(.tok-row, .tok-bars, .main-svg, canvas, svg, iframe, [data-testid="stBidiComponentRegular"])`;
  const seen = { touched: 0, sent: 0, heard: 0, early: 0, picture: 0, painted: 0, busy: false };
  const now = () => performance.now();

  const arm = () => Object.assign(seen, { touched: 0, sent: 0, heard: 0, early: 0, picture: 0, painted: 0 });

  const paint = (isPicture) => {
    seen.busy = true;
    requestAnimationFrame(() =>
      setTimeout(() => {
        seen.painted = now();
        if (isPicture) {
          seen.picture ||= seen.painted;
          if (!seen.sent) seen.early = seen.painted; // the picture's last paint before the server was asked
        }
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

  // The nearest ancestor that a selector names, out of every shadow.
  const inside = (node, selector) => {
    for (let at = node instanceof Element ? node : node.parentElement ?? node.host; at; at = at.getRootNode().host) {
      const found = at.closest(selector);
      if (found) return found;
    }
    return null;
  };

  const observer = new MutationObserver((changes) => {
    const drawn = changes.filter(({ target }) => inside(target, '[data-testid="stMain"]') || target === app());
    if (!drawn.length) return;
    const picture = drawn.some(
      (change) =>
        (change.type !== "attributes" || change.target.getRootNode() !== document) &&
        inside(change.target, PICTURE) &&
        !inside(change.target, ".small-print")
    );
    paint(picture && document.querySelector(DRAWN) !== null);
  });
  const observe = (root) =>
    observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
  observe(document);

  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (options) {
    const root = attach.call(this, options);
    observe(root);
    return root;
  };

  // A canvas changes without any change of the document.
  for (const name of ["setTransform", "clearRect", "fillRect", "drawImage", "stroke", "fill"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
      if (!seen.busy && this.canvas.isConnected) paint(true);
      return draw.apply(this, given);
    };
  }
  for (const kind of ["keydown", "click"])
    window.addEventListener(kind, (event) => (seen.touched ||= event.timeStamp), true);

  const settled = async () => {
    const rested = () => {
      const apart = now() - Math.max(seen.heard, seen.painted, seen.sent);
      return seen.sent ? seen.heard > seen.sent && ready() && apart > QUIET : seen.early && apart > REST;
    };
    const begun = now();
    while (seen.busy || !rested()) {
      if (!seen.sent && !seen.early && now() - begun > PATIENCE) throw new Error("nothing happened");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const { touched, sent, heard, early, picture, painted } = seen;
    const server = sent ? heard - sent : 0;
    // A picture that was drawn before anything was sent has asked nothing of the server.
    if (touched && early) return { picture: picture - touched, server, whole: early - touched, own: true };
    return { picture: (picture || painted) - sent, server, whole: Math.max(painted, heard) - sent, own: false };
  };

  window.__watch = { arm, settled };
})();
