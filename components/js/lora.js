// An adapter: where it changed the box most, B·A of one matrix, and what its strongest directions rebuild of ΔW. The
// best rebuilding of rank k leaves out the weaker singular values; the square root of their squares is its error.

const FULL = 127;
const tables = ["delta", "b", "a", "left", "right"];
const precise = (value, n = 3) => (value === 0 ? "0" : Number(value).toPrecision(n)).replace("-", "−");

// What the server has packed: for each matrix its five tables as { values, rows, columns }, and its singular values.
function unpackAdapter(data) {
  const bytes = new Int8Array(toBytes(data.bytes).buffer), scales = toFloats(data.scales), sizes = toFloats(data.sizes);
  const singular = toFloats(data.singular);
  let at = 0, from = 0, piece = 0;
  return data.names.map((name, index) => {
    const one = { name, layer: data.layers[index], kind: data.kinds[index], shape: data.shapes[index], directions: data.directions[index] };
    for (const table of tables) {
      const [rows, columns] = [sizes[2 * piece], sizes[2 * piece + 1]];
      one[table] = { values: Float32Array.from(bytes.subarray(at, at + rows * columns), (step) => step * scales[piece]), rows, columns };
      at += rows * columns;
      piece += 1;
    }
    one.singular = singular.subarray(from, from + data.counts[index]);
    from += data.counts[index];
    return one;
  });
}

// ΔW's corner from its k strongest directions.
function rebuild({ left, right }, k) {
  const values = new Float32Array(left.rows * right.columns);
  for (let i = 0; i < left.rows; i++)
    for (let j = 0; j < right.columns; j++) {
      let sum = 0;
      for (let at = 0; at < k; at++) sum += left.values[i * left.columns + at] * right.values[at * right.columns + j];
      values[i * right.columns + j] = sum;
    }
  return { values, rows: left.rows, columns: right.columns };
}

function errorAt(singular, k) {
  let sum = 0;
  for (let at = k; at < singular.length; at++) sum += singular[at] * singular[at];
  return Math.sqrt(sum);
}

function buildLora(root) {
  const view = make("div", { class: "view", role: "group" });
  const title = () => make("h3"), hint = () => make("p", { class: "hint" });
  const [mapTitle, barsTitle] = [title(), title()], [mapHint, colourHint, barsHint] = [hint(), hint(), hint()];
  const map = make("canvas", { tabindex: "0", role: "application" }), bars = make("canvas", { class: "singular", role: "img" });
  const inputs = {}, shown = {}, labels = {};
  const controls = make("div", { class: "controls" }, ...["matrix", "layer", "rank"].map((name) => {
    inputs[name] = make("input", { type: "range", min: "0", step: "1", class: name });
    [labels[name], shown[name]] = [make("span"), make("b")];
    return make("label", {}, labels[name], inputs[name], shown[name]);
  }));
  const facts = make("p", { class: "readout", "aria-live": "polite" });
  const pieces = Object.fromEntries(["b", "a", "delta", "kept"].map((name) => {
    const canvas = make("canvas", { role: "img" }), caption = make("figcaption");
    return [name, { canvas, caption, figure: make("figure", {}, caption, canvas) }];
  }));
  const sign = (text) => make("b", { "aria-hidden": "true" }, text), equals = sign("=");
  const formula = make("div", { class: "tables" }, make("div", {}, pieces.b.figure, sign("·"), pieces.a.figure),
    make("div", {}, equals, pieces.delta.figure, sign("≈"), pieces.kept.figure));
  view.append(mapTitle, make("div", { class: "map" }, map), mapHint, controls, facts, formula, colourHint, barsTitle, make("div", {}, bars), barsHint);
  root.append(view);

  const memory = (document.guideLora ??= {}); // outlives the picture: who comes back finds it as it was
  let data = null, hooks = null, found = [], shares = null, layers = 1, at = 0, k = 1, timer = 0, box = null;

  // The matrix of a kind in a layer, or the nearest one of that kind that the adapter has.
  const nearest = (kind, layer) => {
    let best = 0;
    found.forEach((one, i) => {
      const apart = (other) => (other.kind === kind ? 0 : 1e6) + Math.abs(other.layer - layer);
      if (apart(one) < apart(found[best])) best = i;
    });
    return best;
  };

  function tell() {
    const one = found[at], words = data.words, error = errorAt(one.singular, k), whole = errorAt(one.singular, 0);
    const kept = whole ? 1 - (error / whole) ** 2 : 1;
    inputs.matrix.value = one.kind;
    inputs.layer.value = one.layer;
    inputs.rank.max = one.directions;
    inputs.rank.value = k;
    shown.matrix.textContent = data.matrices[one.kind];
    shown.layer.textContent = one.layer;
    shown.rank.textContent = k;
    inputs.matrix.setAttribute("aria-valuetext", data.matrices[one.kind]);
    facts.textContent = fill(words.facts, { name: one.name, k, kept: `${(100 * kept).toFixed(1)}%`, error: precise(error), whole: precise(whole),
      share: `${(100 * shares[at]).toPrecision(2)}%`, numbers: (k * (one.shape[0] + one.shape[1])).toLocaleString("en"), all: (one.shape[0] * one.shape[1]).toLocaleString("en") });
    const also = data.dora ? words.dora : "";
    colourHint.textContent = `${fill(words.colours, { rows: one.delta.rows, columns: one.delta.columns })} ${also}`.trim();
    Object.assign(view.dataset, { at, k, name: one.name, error, whole, kept });
  }

  function drawMap(colours, family) {
    const room = Math.max(view.clientWidth - 8, 240), named = 76, cell = clamp((room - named) / layers, 9, 84), tall = 34;
    const pen = prepare(map, named + layers * cell + 4, data.matrices.length * tall + 26), top = Math.max(...shares) || 1;
    box = { named, cell, tall };
    pen.font = `600 15px ${family}`;
    pen.textBaseline = "middle";
    data.matrices.forEach((name, row) => {
      pen.textAlign = "right";
      pen.fillStyle = rgb(colours.ink);
      pen.fillText(fit(pen, name, named - 12), named - 8, row * tall + tall / 2);
    });
    found.forEach((one, i) => {
      const colour = mix(colours.paper, colours.accent, shares[i] / top);
      pen.fillStyle = rgb(colour);
      pen.fillRect(named + one.layer * cell, one.kind * tall, cell - 1, tall - 2);
      pen.strokeStyle = rgb(colours.quiet, 0.6);
      pen.lineWidth = 1;
      pen.strokeRect(named + one.layer * cell, one.kind * tall, cell - 1, tall - 2);
      if (cell < 34) return;
      pen.fillStyle = inkOn(colour);
      pen.textAlign = "center";
      pen.font = `13px ${family}`;
      pen.fillText((100 * shares[i]).toFixed(1), named + (one.layer + 0.5) * cell, (one.kind + 0.5) * tall);
    });
    pen.textAlign = "center";
    pen.font = `14px ${family}`;
    pen.fillStyle = rgb(colours.ink);
    const every = Math.ceil(24 / cell);
    for (let layer = 0; layer < layers; layer += every) pen.fillText(layer, named + (layer + 0.5) * cell, data.matrices.length * tall + 13);
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = 3.5;
    pen.strokeRect(named + found[at].layer * cell + 0.5, found[at].kind * tall + 1, cell - 2, tall - 4);
  }

  function drawTable(piece, table, top, colours, size) {
    const pen = prepare(piece.canvas, table.columns * size[0], table.rows * size[1]);
    const small = new OffscreenCanvas(table.columns, table.rows), image = new ImageData(table.columns, table.rows);
    table.values.forEach((value, i) => {
      const colour = mix(colours.paper, value >= 0 ? colours.accent : colours.cool, Math.sqrt(Math.min(Math.abs(value) / (top || 1), 1)));
      image.data.set([...colour.map(Math.round), 255], i * 4);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, table.columns * size[0], table.rows * size[1]);
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = 2;
    pen.strokeRect(0, 0, table.columns * size[0], table.rows * size[1]);
  }

  function drawFormula(colours) {
    const one = found[at], kept = rebuild(one, k), words = data.words, room = Math.max(view.clientWidth - 8, 240);
    const most = (table) => table.values.reduce((top, value) => Math.max(top, Math.abs(value)), 0), top = most(one.delta);
    const size = clamp((room - 84) / (2 * one.delta.columns), 1.6, 4.6); // ΔW and what is kept of it stand side by side
    const thick = clamp(96 / one.b.columns, size, 12); // the narrow side is drawn thick, so that it can be seen
    drawTable(pieces.b, one.b, most(one.b), colours, [thick, size]);
    drawTable(pieces.a, one.a, most(one.a), colours, [size, thick]);
    drawTable(pieces.delta, one.delta, top, colours, [size, size]);
    drawTable(pieces.kept, kept, top, colours, [size, size]);
    const [out, into] = one.shape;
    const captions = { b: fill(words.b, { rows: out, columns: one.b.columns }), a: fill(words.a, { rows: one.a.rows, columns: into }),
      delta: fill(words.delta, { rows: out, columns: into }), kept: fill(words.kept, { k }) };
    for (const [name, text] of Object.entries(captions)) {
      pieces[name].caption.textContent = text;
      pieces[name].canvas.setAttribute("aria-label", text);
    }
    equals.textContent = data.dora ? "→" : "=";
    view.dataset.sum = kept.values.reduce((sum, value) => sum + value * value, 0);
  }

  function drawBars(colours, family) {
    const { singular } = found[at], n = Math.min(singular.length, 96), room = Math.max(view.clientWidth - 8, 240);
    const wide = clamp((room - 60) / n, 3, 46), tall = 150, pen = prepare(bars, 60 + n * wide, tall + 24), top = singular[0] || 1;
    pen.font = `14px ${family}`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.fillStyle = rgb(colours.ink);
    pen.fillText(precise(top), 54, 8);
    pen.fillText("0", 54, tall);
    for (let i = 0; i < n; i++) {
      const high = (tall - 4) * (singular[i] / top);
      pen.fillStyle = rgb(i < k ? colours.accent : colours.quiet, i < k ? 0.9 : 0.4);
      pen.fillRect(60 + i * wide + 1, tall - high, Math.max(wide - 2, 1), Math.max(high, 1));
    }
    pen.fillStyle = rgb(colours.ink);
    pen.textAlign = "center";
    const every = Math.ceil(26 / wide);
    for (let i = 0; i < n; i += every) pen.fillText(i + 1, 60 + (i + 0.5) * wide, tall + 13);
    bars.setAttribute("aria-label", `${data.words.singular}: ${Array.from(singular.subarray(0, n), (value) => precise(value)).join(", ")}`);
  }

  function draw() {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view);
    tell();
    drawMap(colours, family);
    drawFormula(colours);
    drawBars(colours, family);
  }

  function choose(newAt, newK, what) {
    [at, k] = memory[data.id] = [newAt, clamp(newK, 1, found[newAt].directions)];
    draw();
    clearTimeout(timer);
    timer = setTimeout(() => {
      hooks.setStateValue("settled", [at, k]);
      hooks.setStateValue(what, true);
    }, 400);
  }

  inputs.matrix.addEventListener("input", () => choose(nearest(Number(inputs.matrix.value), found[at].layer), k, "picked"));
  inputs.layer.addEventListener("input", () => choose(nearest(found[at].kind, Number(inputs.layer.value)), k, "picked"));
  inputs.rank.addEventListener("input", () => choose(at, Number(inputs.rank.value), "slid"));
  map.addEventListener("click", (event) => {
    const [x, y] = pointAt(event, map), layer = Math.floor((x - box.named) / box.cell), kind = Math.floor(y / box.tall);
    const hit = found.findIndex((one) => one.layer === layer && one.kind === kind);
    if (hit >= 0) choose(hit, k, "picked");
  });
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.target !== map || !step) return;
    event.preventDefault();
    const { kind, layer } = found[at];
    choose(nearest(clamp(kind + step[0], 0, data.matrices.length - 1), clamp(layer + step[1], 0, layers - 1)), k, "picked");
  });
  const unwatch = watch(view, draw);

  function begin(newData) {
    data = newData;
    found = unpackAdapter(data);
    shares = toFloats(data.shares);
    layers = 1 + Math.max(...data.layers);
    [at, k] = memory[data.id] ?? data.start;
    inputs.matrix.max = data.matrices.length - 1;
    inputs.layer.max = layers - 1;
    inputs.rank.min = 1;
    const words = data.words;
    for (const name of ["matrix", "layer", "rank"]) labels[name].textContent = words[name];
    mapTitle.textContent = words.map;
    mapHint.textContent = words.mapKeys;
    barsTitle.textContent = words.singular;
    barsHint.textContent = words.bars;
    map.setAttribute("aria-label", words.map);
    view.setAttribute("aria-label", words.name);
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

export default (component) => mount(component, buildLora);
