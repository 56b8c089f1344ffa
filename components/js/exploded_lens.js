// A grid of layers and positions: what each layer would answer, or how near it is to the end. Hover shows the top five.

function buildLens(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const legend = make("div", { class: "legend" }), readout = make("p", { class: "readout", "aria-live": "polite" });
  const list = make("ol", { class: "top" });
  const canvas = make("canvas", { class: "grid" }), scroll = make("div", { class: "scroll", tabindex: "0" }, canvas), hint = make("p", { class: "hint" });
  view.append(legend, readout, list, scroll, hint);
  root.append(view);

  let data = null, hooks = null, ids, probs, entropy, ranks, answerProbs, near;
  let measure = "prob", row = 0, token = 0, hovered = null, base = null, colours = null, family = "", cells = null, seen = false;

  const T = () => data.labels.length;
  const at = (r, t) => r * T() + t;
  // How strongly a cell is coloured, 0 … 1.
  function strength(r, t) {
    if (data.mode === "near") return Math.max(0, near[at(r, t)]);
    if (measure === "prob") return probs[at(r, t) * data.k];
    if (measure === "entropy") return 1 - entropy[at(r, t)] / Math.log2(data.vocabulary);
    return 1 - Math.log(ranks[at(r, t)]) / Math.log(data.vocabulary);
  }
  const written2 = (value) => minus(value.toFixed(2));
  const cellText = (r, t) => (data.mode === "near" ? written2(near[at(r, t)]) : measure === "rank" && ranks[at(r, t)] > 1 ? `#${ranks[at(r, t)]}` : data.tokens[ids[at(r, t) * data.k]]);

  function paint() {
    const room = scroll.clientWidth, edge = 46, top = 30, rows = data.rows;
    const wide = clamp((room - edge - 6) / T(), data.mode === "near" ? 46 : 72, 130), tall = 27;
    cells = { edge, top, wide, tall, width: edge + wide * T() + 6, height: top + tall * rows + 6 };
    const ratio = window.devicePixelRatio || 1;
    base = new OffscreenCanvas(Math.ceil(cells.width * ratio), Math.ceil(cells.height * ratio));
    const pen = base.getContext("2d");
    pen.scale(ratio, ratio);
    pen.textBaseline = "middle";
    pen.textAlign = "center";
    pen.font = `600 14px ${family}`;
    for (let t = 0; t < T(); t++) {
      pen.fillStyle = rgb(colours.ink);
      pen.fillText(fit(pen, data.labels[t], wide - 8), edge + (t + 0.5) * wide, top / 2);
      for (let r = 0; r < rows; r++) {
        const ground = mix(colours.paper, colours.accent, strength(r, t)), x = edge + t * wide, y = top + r * tall;
        pen.fillStyle = rgb(ground);
        pen.fillRect(x, y, wide - 1, tall - 1);
        if (data.mode === "lens" && ranks[at(r, t)] === 1) {
          pen.strokeStyle = rgb(colours.ink);
          pen.lineWidth = 2;
          pen.strokeRect(x + 1, y + 1, wide - 3, tall - 3);
        }
        pen.fillStyle = inkOn(ground);
        pen.fillText(fit(pen, cellText(r, t), wide - 9), x + wide / 2, y + tall / 2);
      }
    }
    pen.fillStyle = rgb(colours.quiet);
    pen.textAlign = "right";
    for (let r = 0; r < rows; r++) pen.fillText(r ? `L${r - 1}` : data.words.start, edge - 6, top + (r + 0.5) * tall);
  }

  function draw() {
    if (!data) return;
    const pen = prepare(canvas, cells.width, cells.height);
    pen.drawImage(base, 0, 0, cells.width, cells.height);
    pen.strokeStyle = rgb(colours.cool);
    const [r, t] = hovered ?? [row, token];
    pen.lineWidth = 4;
    pen.strokeRect(cells.edge + t * cells.wide, cells.top + r * cells.tall, cells.wide - 1, cells.tall - 1);
    say(r, t);
  }
  function say(r, t) {
    const values = { layer: r - 1, token: t, label: data.labels[t] };
    if (data.mode === "near") {
      readout.textContent = fill(r ? data.words.near : data.words.near_start, { ...values, value: near[at(r, t)].toFixed(3) });
      list.replaceChildren();
      return;
    }
    const answer = data.tokens[ids[at(data.rows - 1, t) * data.k]];
    readout.textContent = fill(r ? data.words.cell : data.words.cell_start, {
      ...values, entropy: entropy[at(r, t)].toFixed(2), answer, rank: ranks[at(r, t)], prob: answerProbs[at(r, t)].toFixed(3),
    });
    list.replaceChildren(...Array.from({ length: data.k }, (_, i) => {
      const prob = probs[at(r, t) * data.k + i], bar = make("u", {});
      bar.style.width = `${Math.max(prob * 100, 0.5)}%`;
      return make("li", {}, make("b", {}, data.tokens[ids[at(r, t) * data.k + i]]), make("span", {}, bar), make("em", {}, prob.toFixed(3)));
    }));
    view.dataset.row = r;
    view.dataset.token = t;
  }
  function redo() {
    if (!data) return;
    colours = readPalette(view);
    family = fontOf(view);
    paint();
    draw();
  }
  function notice() {
    if (!seen) { seen = true; hooks.setStateValue("looked", true); }
  }
  function choose(newRow, newToken) {
    row = clamp(newRow, 0, data.rows - 1);
    token = clamp(newToken, 0, T() - 1);
    hovered = null;
    notice();
    draw();
    keepInSight();
    tellPlace(Math.max(row - 1, 0), token, "lens");
  }
  function keepInSight() {
    const left = cells.edge + token * cells.wide;
    if (left - cells.edge < scroll.scrollLeft) scroll.scrollLeft = left - cells.edge;
    if (left + cells.wide > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = left + cells.wide - scroll.clientWidth;
  }
  function drawLegend() {
    if (data.mode === "near") { legend.replaceChildren(); return; }
    toggles(legend, data.words.measures, measure, (value) => { measure = value; drawLegend(); redo(); });
  }

  const cellUnder = (event) => {
    const [x, y] = pointAt(event, canvas), t = Math.floor((x - cells.edge) / cells.wide), r = Math.floor((y - cells.top) / cells.tall);
    return t >= 0 && t < T() && r >= 0 && r < data.rows ? [r, t] : null;
  };
  canvas.addEventListener("pointermove", (event) => {
    const cell = cellUnder(event);
    if (!cell || (hovered && cell[0] === hovered[0] && cell[1] === hovered[1])) return;
    hovered = cell;
    notice();
    draw();
  });
  canvas.addEventListener("pointerleave", () => { hovered = null; draw(); });
  canvas.addEventListener("click", (event) => { const cell = cellUnder(event); if (cell) choose(...cell); });
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!by || !data || event.target.closest("button")) return;
    event.preventDefault();
    choose(row + by[0], token + by[1]);
  });
  const follow = (event) => {
    const { layer, token: newToken, from } = event.detail;
    if (!data || from === "lens") return;
    row = clamp(layer + 1, 0, data.rows - 1);
    token = clamp(newToken, 0, T() - 1);
    hovered = null;
    draw();
    keepInSight();
  };
  document.addEventListener(PLACE, follow);
  const unwatch = watch(view, redo);

  return {
    update(newData, component) {
      hooks = component;
      if (data && data.id === newData.id) return;
      data = newData;
      if (data.mode === "near") near = toFloats(data.near);
      else {
        ids = toWords(data.ids);
        [probs, entropy, ranks, answerProbs] = ["probs", "entropy", "ranks", "answerProbs"].map((name) => toFloats(data[name]));
      }
      row = clamp(lastPlace().layer + 1, 0, data.rows - 1);
      token = clamp(lastPlace().token, 0, T() - 1);
      hint.textContent = data.words.keys;
      view.setAttribute("aria-label", data.words.name);
      drawLegend();
      redo();
    },
    close() {
      document.removeEventListener(PLACE, follow);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildLens);
