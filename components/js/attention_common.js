// Shared by the attention pictures: the theme's colours, numbers from bytes, and the chosen head that all follow.

const HEAD_CHOSEN = "guide-head-chosen";
const TAU = 2 * Math.PI;

const toBytes = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
const toFloats = (base64) => new Float32Array(toBytes(base64).buffer);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));

// Text goes in as text nodes only: a token that looks like markup stays a token.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A canvas cannot read CSS variables or light-dark(): let the browser resolve them on a hidden probe. What was read
// holds until the look may have changed.
let palettes = new WeakMap();
function readPalette(host) {
  if (palettes.has(host)) return palettes.get(host);
  const probe = make("span", { hidden: "" });
  host.append(probe);
  const read = (expression) => {
    probe.style.color = expression;
    return (getComputedStyle(probe).color.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number);
  };
  const colours = {
    ink: read("var(--line, var(--st-text-color))"),
    paper: read("var(--paper, var(--st-background-color))"),
    accent: read("var(--accent, var(--st-primary-color))"),
    quiet: read("var(--quiet, var(--st-text-color))"),
    cool: read("light-dark(#1f5fa8, #7db8ff)"),
  };
  probe.remove();
  palettes.set(host, colours);
  return colours;
}

const rgb = (colour, alpha = 1) => `rgba(${colour.map(Math.round).join(",")},${alpha})`;
const mix = (from, to, share) => from.map((value, at) => value + (to[at] - value) * share);
const inkOn = (colour) => (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140 ? "#000" : "#fff");

// Size a canvas in CSS pixels, sharp on any screen; returns its pen.
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function fontOf(host) {
  return getComputedStyle(host).fontFamily || "sans-serif";
}

// Shorten a label until it fits.
function fit(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  const chars = Array.from(text);
  while (chars.length > 1 && pen.measureText(`${chars.join("")}…`).width > width) chars.pop();
  return `${chars.join("")}…`;
}

function pointAt(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

// Tell every picture which head is looked at; one that is built later asks lastHead().
function tellHead(layer, head, from, token) {
  document.guideHead = { layer, head, token: token ?? document.guideHead?.token };
  document.dispatchEvent(new CustomEvent(HEAD_CHOSEN, { detail: { layer, head, from, token } }));
}
const lastHead = () => document.guideHead ?? { layer: 0, head: 0 };

// Arrow keys and brackets turn the guide's pages; inside a picture they move in the picture.
const OWN_KEYS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End", "[", "]"]);

// Redraw when the room changes: width, or light and dark. A picture that only grew taller, by a longer line of words,
// stays as it is.
function watch(host, redraw) {
  let wide = -1;
  const size = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === wide) return;
    wide = contentRect.width;
    redraw();
  });
  size.observe(host);
  const anew = () => {
    palettes = new WeakMap();
    redraw();
  };
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", anew);
  const app = document.querySelector(".stApp");
  const look = new MutationObserver(() => requestAnimationFrame(anew));
  if (app) look.observe(app, { attributes: true, attributeFilter: ["class", "style"] });
  return () => {
    size.disconnect();
    look.disconnect();
    scheme.removeEventListener("change", anew);
  };
}

// Streamlit calls a component again for every new set of data: build once, then update. What a call returns ends the
// picture only once it is off the page: Streamlit also runs it when newer data overtakes a call that still loads the
// script, and then the newer call draws on.
function mount(component, build) {
  const root = component.parentElement;
  palettes = new WeakMap();
  if (!root.guideView) root.guideView = build(root);
  root.guideView.update(component.data, component);
  return () => {
    if (root.isConnected) return;
    root.guideView?.close();
    delete root.guideView;
  };
}
