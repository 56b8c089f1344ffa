// Shared by the engine's pictures: the place that all follow, numbers as people write them, colours of signed values.

const PLACE = "guide-place";
const tellPlace = (layer, token, from) => {
  document.guidePlace = { layer, token };
  document.dispatchEvent(new CustomEvent(PLACE, { detail: { layer, token, from } }));
};
const lastPlace = () => document.guidePlace ?? { layer: 0, token: 0 };

// A plate of the drawing and its row of the parts list light up together.
const PLATE = "guide-plate";
const tellPlate = (name, from) => document.dispatchEvent(new CustomEvent(PLATE, { detail: { name, from } }));

const ENGINE_KEYS = new Set([...OWN_KEYS, " "]);
const minus = (text) => text.replace("-", "−");
function written(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return minus(value.toExponential(1));
  return minus(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2));
}
const signed = (value) => (value > 0 ? `+${written(value)}` : written(value));
const percent = (share) => `${Math.round(share * 100)}%`;

const toShorts = (base64) => new Int8Array(toBytes(base64).buffer);
const toWords = (base64) => new Uint16Array(toBytes(base64).buffer);

// Plus is the accent, minus the cool colour; a root, so that small numbers are seen beside a great one.
const signColour = (colours, share) =>
  mix(colours.paper, share >= 0 ? colours.accent : colours.cool, Math.sqrt(Math.min(Math.abs(share), 1)));

// A button that says whether it is on.
function toggles(host, names, chosen, choose) {
  host.replaceChildren(...names.map(([value, text]) => {
    const button = make("button", { type: "button", "aria-pressed": String(value === chosen) }, text);
    button.addEventListener("click", () => choose(value));
    return button;
  }));
}
