// A frame without an origin: whatever runs in it cannot reach the guide. It tells how tall it is, nothing else.

const STYLES = `
  body { margin: 0; overflow-y: hidden; }
  select { font: inherit; min-height: 2rem; }
  .head text, .model text { fill: currentColor; }
  .head svg { min-width: 24rem; }
  .neuron svg { min-width: 60rem; }
  .neuron > div { background: transparent !important; }
  .neuron #layer, .neuron .dropdown-label:first-of-type { display: none; }
`;
const TELL_HEIGHT = `new ResizeObserver(() => {
  parent.postMessage({ guideFrameHeight: Math.ceil(document.body.getBoundingClientRect().height) + 20 }, "*");
}).observe(document.body);`;

function buildFrame(root) {
  const frame = make("iframe", { sandbox: "allow-scripts", height: "400" });
  root.append(frame);
  let data = null, shown = "";

  function draw() {
    if (!data) return;
    const colours = readPalette(root);
    const dark = inkOn(colours.paper) === "#fff";
    const ground = `:root { color-scheme: ${dark ? "dark" : "light"} } body { background: ${rgb(colours.paper)}; color: ${rgb(colours.ink)} }`;
    const page = "<!doctype html>" + (dark ? data.html.replaceAll('"display_mode": "light"', '"display_mode": "dark"') : data.html)
      + `<style>${ground}${STYLES}</style><script>document.body.className = "${data.view}";${TELL_HEIGHT}</script>`;
    if (page === shown) return;
    shown = page;
    frame.srcdoc = page;
  }

  function hear(event) {
    if (event.source !== frame.contentWindow) return;
    const height = Number(event.data?.guideFrameHeight);
    if (height > 0) frame.style.height = `${clamp(Math.ceil(height), 80, 4000)}px`;
  }
  window.addEventListener("message", hear);
  const unwatch = watch(frame, draw);

  return {
    update(newData) {
      data = newData;
      frame.title = data.title;
      draw();
    },
    close() {
      window.removeEventListener("message", hear);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildFrame);
