// An answer as a strip of tokens: colour is surprise; point to read it, press or Enter to look into it.

function buildStrip(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const legend = make("div"), strip = make("div", { class: "strip" });
  view.append(readout, legend, strip);
  root.append(view);

  let data = null, hooks = null, told = "", at = null, cells = [];

  function mark() {
    cells.forEach((cell, t) => cell.classList.toggle("pointed", t === at));
    view.dataset.token = at === null ? "" : at;
    const words = data.words;
    readout.classList.toggle("quiet", at === null);
    if (at === null) { readout.textContent = words.point; return; }
    const bits = data.bits[at];
    readout.textContent = bits === null
      ? fill(words.unknown, { token: data.tokens[at] })
      : fill(words.token, { token: data.tokens[at], bits: bits.toFixed(1), p: percent(2 ** -bits) });
  }

  function pick(t) {
    at = t;
    mark();
    view.dataset.picked = t;
    hooks?.setTriggerValue("picked", t);
  }

  function paint() {
    const colours = readPalette(view);
    cells.forEach((cell, t) => paintCell(cell, data.bits[t], data.most, colours));
    legend.replaceChildren(surpriseLegend(data.words.low, data.words.high, colours));
  }

  function layOut() {
    const colours = readPalette(view);
    cells = data.tokens.map((label, t) => {
      const cell = tokenCell(label, data.bits[t], data.most, colours);
      cell.style.cursor = "pointer";
      cell.addEventListener("pointerenter", () => { at = t; mark(); });
      cell.addEventListener("click", () => pick(t));
      return cell;
    });
    strip.replaceChildren(...data.groups.map(([start, end, shown]) => groupCells(shown, cells.slice(start, end))));
    paint();
    mark();
  }

  view.addEventListener("keydown", (event) => {
    const last = data.tokens.length - 1;
    const to = {
      ArrowLeft: at === null ? 0 : at - 1, ArrowRight: at === null ? 0 : at + 1, Home: 0, End: last,
    }[event.key];
    if (to === undefined && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    if (to === undefined) { if (at !== null) pick(at); return; }
    at = clamp(to, 0, last);
    mark();
  });

  const unwatch = watch(view, () => { if (data) paint(); });

  return {
    update(newData, component) {
      hooks = component;
      view.setAttribute("aria-label", newData.words.name);
      if (told === newData.id) return;
      told = newData.id;
      data = newData;
      at = null;
      layOut();
    },
    close: unwatch,
  };
}

export default (component) => mount(component, buildStrip);
