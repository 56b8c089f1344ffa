// A text as a strip of tokens, once for each reader of it: colour is surprise; point at a token and read what was expected.

function buildStrip(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const legend = make("div"), rows = make("div");
  view.append(readout, legend, rows);
  root.append(view);

  let data = null, hooks = null, told = "", looked = false, row = 0, at = null, cells = [];

  function say() {
    const words = data.words;
    readout.classList.toggle("quiet", at === null);
    if (at === null) { readout.textContent = words.point; return; }
    const name = data.rows.length > 1 ? `${data.rows[row].name} · ` : "";
    if (at === 0) { readout.textContent = name + fill(words.given, { token: data.tokens[0] }); return; }
    const one = data.rows[row], bits = one.bits[at - 1];
    const tops = one.tops[at - 1].map(([label, p]) => `${label} ${percent(p)}`).join("   ");
    readout.textContent = name + fill(words.token, {
      token: data.tokens[at], bits: bits.toFixed(1), p: percent(2 ** -bits), rank: one.ranks[at - 1], vocab: data.vocab, tops,
    });
  }

  function mark() {
    cells.forEach((line, r) => line.forEach((cell, t) => cell.classList.toggle("pointed", t === at && (r === row || data.rows.length > 1))));
    view.dataset.token = at === null ? "" : at;
    view.dataset.row = row;
    say();
    if (at === null || looked) return;
    looked = true;
    hooks?.setStateValue("looked", true);
  }

  function layOut() {
    const colours = readPalette(view);
    cells = [];
    rows.replaceChildren(...data.rows.map((one, r) => {
      const line = data.tokens.map((label, t) => {
        const cell = tokenCell(label, t === 0 ? null : one.bits[t - 1], data.most, colours);
        const look = () => { row = r; at = t; mark(); };
        cell.addEventListener("pointerenter", look);
        cell.addEventListener("click", look);
        return cell;
      });
      cells.push(line);
      const strip = make("div", { class: "strip" }, ...data.groups.map(([start, end, shown]) => groupCells(shown, line.slice(start, end))));
      const head = one.name ? [make("h3", {}, one.name, make("span", {}, one.note))] : [];
      return make("div", { class: "row" }, ...head, strip);
    }));
    legend.replaceChildren(surpriseLegend(data.words.low, data.words.high, colours));
    mark();
  }

  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const last = data.tokens.length - 1;
    at = event.key === "Home" ? 0 : event.key === "End" ? last : at === null ? 0 : clamp(at + step[1], 0, last);
    row = clamp(row + (step?.[0] ?? 0), 0, data.rows.length - 1);
    mark();
  });

  const unwatch = watch(view, () => {
    if (!data) return;
    const colours = readPalette(view);
    cells.forEach((line, r) => line.forEach((cell, t) => paintCell(cell, t === 0 ? null : data.rows[r].bits[t - 1], data.most, colours)));
    legend.replaceChildren(surpriseLegend(data.words.low, data.words.high, colours));
  });

  return {
    update(newData, component) {
      hooks = component;
      view.setAttribute("aria-label", newData.words.name);
      if (told === newData.id) return;
      told = newData.id;
      data = newData;
      row = 0;
      at = null;
      layOut();
    },
    close: unwatch,
  };
}

export default (component) => mount(component, buildStrip);
