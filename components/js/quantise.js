// One corner of a weight matrix, rounded here as llmkit.compress.matrix rounds it: float32 quotients, halves to even.

const toEven = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

// weights: rows x columns. per: "tensor", "channel" or a group's size. ranges: lowest and highest weight of the whole
// matrix, then of each whole row: the corner shares its scales with what lies beyond it.
function roundMatrix(weights, rows, columns, bits, per, symmetric, ranges) {
  const high = symmetric ? 2 ** (bits - 1) - 1 : 2 ** bits - 1, low = symmetric ? -high : 0;
  const size = per === "tensor" ? rows * columns : per === "channel" ? columns : per;
  const codes = new Int16Array(weights.length), back = new Float32Array(weights.length);
  const scale = new Float32Array(weights.length), zero = new Int16Array(weights.length);
  const stretch = per === "tensor" ? rows * columns : columns;
  for (let row = 0; row < weights.length; row += stretch) {
    for (let from = row; from < row + stretch; from += size) {
      const to = Math.min(from + size, row + stretch);
      let top = 0, bottom = 0;
      if (typeof per === "string") {
        const whole = per === "tensor" ? 0 : 2 * (1 + from / columns);
        bottom = Math.min(ranges[whole], 0);
        top = Math.max(ranges[whole + 1], 0);
      } else for (let at = from; at < to; at++) { top = Math.max(top, weights[at]); bottom = Math.min(bottom, weights[at]); }
      const step = Math.fround((symmetric ? Math.max(top, -bottom) : top - bottom) / high) || 1;
      const nought = symmetric ? 0 : clamp(toEven(Math.fround(-bottom / step)), low, high);
      for (let at = from; at < to; at++) {
        codes[at] = clamp(toEven(Math.fround(weights[at] / step)) + nought, low, high);
        back[at] = Math.fround((codes[at] - nought) * step);
        scale[at] = step;
        zero[at] = nought;
      }
    }
  }
  return { codes, back, scale, zero, low, high };
}

const short = (value, n = 3) => (value === 0 ? "0" : Number(value).toPrecision(n)).replace("-", "−");

function buildQuantise(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const slider = (name) => make("input", { type: "range", min: "0", step: "1", class: name });
  const bitsInput = slider("bits"), perInput = slider("per");
  const names = [make("span"), make("span")], bitsText = make("b"), perText = make("b");
  const kinds = ["symmetric", "asymmetric"].map((kind) => make("button", { type: "button", "data-kind": kind }));
  const facts = make("p", { class: "readout", "aria-live": "polite" }), cell = make("p", { class: "written" });
  const titles = [0, 1, 2].map(() => make("h3"));
  const bars = make("canvas", { class: "bars" }), after = make("canvas", { class: "after" }), error = make("canvas", { class: "error" });
  const legend = make("p", { class: "hint" }), scaleNote = make("p", { class: "hint" }), hint = make("p", { class: "hint" });
  view.append(
    make("div", { class: "controls" }, make("label", {}, names[0], bitsText, bitsInput), make("label", {}, names[1], perText, perInput),
      make("div", { class: "kinds", role: "group" }, ...kinds)),
    facts, titles[0], make("div", {}, bars), legend, titles[1], make("div", {}, after), titles[2], make("div", {}, error), scaleNote, cell, hint);
  root.append(view);

  const memory = (document.guideQuantise ??= { settled: null, places: {} }); // outlives the picture: who comes back finds it as it was
  let data = null, hooks = null, weights = null, counts = null, whole = null, ranges = null, made = null, touched = false;
  let bits = 4, per = 0, kind = 0, place = [0, 0], timer = 0, wide = 1, tall = 1;
  const at = () => place[0] * data.columns + place[1];
  const sizes = () => [...data.bits].sort((a, b) => b - a);

  function compute() {
    made = roundMatrix(weights, data.rows, data.columns, bits, data.pers[per], kind === 0, ranges);
    let square = 0, signal = 0, most = 0, sum = 0;
    weights.forEach((w, i) => {
      const gone = made.back[i] - w;
      square += gone * gone;
      signal += w * w;
      most = Math.max(most, Math.abs(gone));
      sum += made.codes[i];
    });
    made.most = most;
    Object.assign(view.dataset, { bits, per: data.pers[per], kind: kinds[kind].dataset.kind, sum, square, signal, most });
  }

  function say() {
    const words = data.words, pick = ((kind * data.bits.length + data.bits.indexOf(bits)) * data.pers.length + per) * 3;
    const named = data.perNames[per];
    bitsText.textContent = bits;
    perText.textContent = named;
    perInput.setAttribute("aria-valuetext", named);
    kinds.forEach((button, i) => button.setAttribute("aria-pressed", String(i === kind)));
    facts.textContent = fill(words.facts, { steps: made.high - made.low + 1, db: Number.isFinite(whole[pick]) ? whole[pick].toFixed(1).replace("-", "−") : "∞",
      most: short(whole[pick + 1]), taken: whole[pick + 2].toFixed(2), times: (32 / whole[pick + 2]).toFixed(1) });
    const i = at();
    cell.textContent = fill(kind ? words.cellZero : words.cell, { row: place[0], column: place[1], w: short(weights[i], 4), code: String(made.codes[i]).replace("-", "−"),
      back: short(made.back[i], 4), gone: short(made.back[i] - weights[i], 2), scale: short(made.scale[i], 4), zero: made.zero[i] });
    scaleNote.textContent = fill(words.errorScale, { most: short(made.most) });
    Object.assign(view.dataset, { row: place[0], column: place[1], code: made.codes[i], scale: made.scale[i], zero: made.zero[i], back: made.back[i] });
  }

  function drawBars(colours, family) {
    const room = Math.max(view.clientWidth - 8, 240), height = 210, base = 170, pen = prepare(bars, room, height);
    const n = counts.length, span = 2 * data.most, x = (value) => ((value + data.most) / span) * room;
    pen.fillStyle = rgb(colours.quiet, 0.55);
    counts.forEach((share, i) => pen.fillRect((i * room) / n, base - share * 155, room / n - 0.5, share * 155));
    const bins = new Float32Array(n);
    made.back.forEach((value) => { bins[clamp(Math.floor(((value + data.most) / span) * n), 0, n - 1)] += 1; });
    const highest = Math.max(...bins) || 1;
    pen.fillStyle = rgb(colours.accent, 0.85);
    bins.forEach((count, i) => { if (count) pen.fillRect((i + 0.3) * (room / n), base - (count / highest) * 155, Math.max((room / n) * 0.45, 2), (count / highest) * 155); });
    // The grid of codes of the cell that is looked at: everything in its group falls on one of these lines.
    const i = at();
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = bits === 8 ? 0.5 : 1.5;
    pen.beginPath();
    for (let code = made.low; code <= made.high; code++) {
      const here = x((code - made.zero[i]) * made.scale[i]);
      pen.moveTo(here, base + 3);
      pen.lineTo(here, base + 17);
    }
    pen.stroke();
    pen.fillStyle = rgb(colours.accent);
    pen.beginPath();
    pen.moveTo(x(weights[i]), base + 4);
    pen.lineTo(x(weights[i]) - 6, base - 8);
    pen.lineTo(x(weights[i]) + 6, base - 8);
    pen.fill();
    pen.font = `600 14px ${family}`;
    pen.fillStyle = rgb(colours.ink);
    pen.textBaseline = "bottom";
    for (const [value, align, where] of [[-data.most, "left", 0], [0, "center", room / 2], [data.most, "right", room]]) {
      pen.textAlign = align;
      pen.fillText(short(value), where, height);
    }
  }

  function drawCells(canvas, colours, values, most) {
    const room = Math.max(view.clientWidth - 8, 240);
    wide = room / data.columns;
    tall = clamp(wide, 3, 6);
    const pen = prepare(canvas, room, tall * data.rows), small = new OffscreenCanvas(data.columns, data.rows);
    const image = new ImageData(data.columns, data.rows);
    values.forEach((value, i) => {
      const colour = mix(colours.paper, value >= 0 ? colours.accent : colours.cool, Math.sqrt(Math.min(Math.abs(value) / (most || 1), 1)));
      image.data.set([...colour, 255], i * 4);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, room, tall * data.rows);
    const size = data.pers[per] === "tensor" ? 0 : data.pers[per] === "channel" ? data.columns : data.pers[per];
    const left = size ? Math.floor(place[1] / size) * size : 0;
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = 2;
    if (size) pen.strokeRect(left * wide, place[0] * tall - 1, (Math.min(left + size, data.columns) - left) * wide, tall + 2);
    else pen.strokeRect(1, 1, room - 2, tall * data.rows - 2);
    pen.lineWidth = 3;
    pen.strokeRect(place[1] * wide - 3, place[0] * tall - 3, wide + 6, tall + 6);
  }

  function draw() {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view);
    say();
    drawBars(colours, family);
    drawCells(after, colours, made.back, data.most);
    drawCells(error, colours, made.back.map((value, i) => value - weights[i]), made.most);
  }

  function choose(newBits, newPer, newKind) {
    bits = newBits;
    per = clamp(newPer, 0, data.pers.length - 1);
    kind = newKind;
    memory.settled = [bits, data.pers[per], kinds[kind].dataset.kind];
    bitsInput.value = sizes().indexOf(bits);
    perInput.value = per;
    compute();
    draw();
    clearTimeout(timer);
    timer = setTimeout(() => hooks.setStateValue("settled", memory.settled), 400);
  }

  function point(row, column) {
    place = memory.places[data.id] = [clamp(row, 0, data.rows - 1), clamp(column, 0, data.columns - 1)];
    draw();
    if (!touched) {
      touched = true;
      hooks.setStateValue("pointed", true);
    }
  }

  bitsInput.addEventListener("input", () => choose(sizes()[Number(bitsInput.value)], per, kind));
  perInput.addEventListener("input", () => choose(bits, Number(perInput.value), kind));
  kinds.forEach((button, i) => button.addEventListener("click", () => choose(bits, per, i)));
  for (const canvas of [after, error]) {
    for (const name of ["pointermove", "click"]) {
      canvas.addEventListener(name, (event) => {
        const [x, y] = pointAt(event, canvas);
        point(Math.floor(y / tall), Math.floor(x / wide));
      });
    }
  }
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    if (event.target instanceof HTMLInputElement || !data) return;
    const [row, column] = place;
    const go = { ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, data.columns - 1], PageUp: [0, column], PageDown: [data.rows - 1, column] }[event.key];
    if (go) { event.preventDefault(); point(...go); }
  });
  const unwatch = watch(view, draw);

  function begin(newData) {
    data = newData;
    weights = toFloats(data.corner);
    counts = toFloats(data.counts);
    whole = toFloats(data.whole);
    ranges = toFloats(data.ranges);
    const words = data.words;
    bitsInput.max = data.bits.length - 1;
    perInput.max = data.pers.length - 1;
    const [startBits, startPer, startKind] = memory.settled ?? data.start;
    bits = startBits;
    per = data.pers.indexOf(data.pers.includes(startPer) ? startPer : "channel"); // as the page's other half has it
    kind = startKind === "symmetric" ? 0 : 1;
    bitsInput.value = sizes().indexOf(bits);
    perInput.value = per;
    let largest = 0;
    weights.forEach((w, i) => { if (Math.abs(w) > Math.abs(weights[largest])) largest = i; });
    place = memory.places[data.id] ?? [Math.floor(largest / data.columns), largest % data.columns];
    names.forEach((node, i) => { node.textContent = [words.bits, words.per][i]; });
    kinds.forEach((button, i) => { button.textContent = [words.symmetric, words.asymmetric][i]; });
    titles.forEach((node, i) => { node.textContent = [words.bars, fill(words.after, { rows: data.rows, columns: data.columns }), words.error][i]; });
    legend.textContent = words.legend;
    hint.textContent = words.keys;
    view.setAttribute("aria-label", words.name);
    compute();
  }

  return {
    update(newData, component) {
      hooks = component;
      if (data && data.id === newData.id) return;
      begin(newData);
      draw();
    },
    close() {
      clearTimeout(timer);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildQuantise);
