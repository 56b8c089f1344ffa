// One layer as a machine: a token's row comes in, the neurons light up, a row goes back. Then the curve that bends them.

const ARRAYS = ["pre", "up", "act", "norms", "reach", "curve", "ends", "spread"];

function buildMachine(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const slider = (name) => make("input", { type: "range", min: "0", step: "1", class: name });
  const layerInput = slider("layer"), tokenInput = slider("token"), columnInput = slider("neuron");
  const jump = make("input", { type: "number", min: "0", step: "1", class: "jump" });
  const names = [make("span"), make("span"), make("span")], layerText = make("b"), tokenText = make("b", { class: "told" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const strip = make("canvas", { class: "strip" });
  const curve = make("canvas", { class: "curve" }), gate = make("canvas", { class: "gate" });
  const curveName = make("h3"), gateName = make("h3"), formula = make("p", { class: "written" });
  const gatePanel = make("div", { class: "scroll" }, gateName, gate);
  const pushes = make("p", { class: "tokens" }), pulls = make("p", { class: "tokens" }), note = make("p", { class: "hint" });
  const shown = make("p", { class: "hint" }), hint = make("p", { class: "hint" }), dotsNote = make("p", { class: "hint" });
  const summary = make("summary"), rows = make("tbody"), headings = make("tr");
  const details = make("details", {}, summary, make("div", { class: "scroll" }, make("table", {}, make("thead", {}, headings), rows)));
  view.append(
    make("div", { class: "controls" }, make("label", {}, names[0], layerText, layerInput),
      make("label", {}, names[1], tokenText, tokenInput), make("label", {}, names[2], columnInput), jump),
    readout,
    make("div", { class: "scroll" }, strip), shown,
    formula, pushes, pulls, note,
    make("div", { class: "pictures" }, make("div", { class: "scroll" }, curveName, curve), gatePanel),
    dotsNote, hint,
    details,
  );
  root.append(view);

  let data = null, table = {}, hooks = null, said = new Map();
  let layer = 0, token = 0, column = 0, over = null, timer = 0, hovered = false;
  let cells = { left: 0, top: 0, wide: 1, tall: 1 }, spots = { curve: [], gate: [] };
  let painted = { key: "", canvas: null };

  const T = () => data.labels.length;
  const K = () => data.columns;
  const value = (name, k, t) => table[name][(layer * K() + k) * T() + t];
  const neuronAt = (k) => table.neurons[layer * K() + k];
  const adds = (k, t) => Math.abs(value("act", k, t)) * table.norms[layer * K() + k];
  const here = () => over ?? [token, column];

  function strongestColumn(t) {
    let best = 0;
    for (let k = 1; k < K(); k++) if (adds(k, t) > adds(best, t)) best = k;
    return best;
  }

  function read() {
    table = Object.fromEntries(ARRAYS.filter((name) => name in data).map((name) => [name, toFloats(data[name])]));
    table.neurons = toInts(data.neurons);
    table.open = toInts(data.open);
    table.bars = toShorts(data.bars);
  }

  // In words: what is pointed at, how its activation came about, which tokens it pushes.
  function say() {
    const [t, k] = here(), words = data.words, pre = value("pre", k, t), act = value("act", k, t);
    const told = { token: data.labels[t], layer, neuron: neuronAt(k), pre: digits(pre), act: digits(act), adds: digits(adds(k, t)) };
    readout.textContent = fill(pre > 0 || Math.abs(act) > 0.2 ? words.show : words.silent, told);
    const more = data.gated ? { up: digits(value("up", k, t)), gate: digits(pre / (1 + Math.exp(-pre))) } : {};
    formula.textContent = fill(words.formula, { ...told, ...more, curve: words.curve, norm: digits(table.norms[layer * K() + k]) });
    shown.textContent = fill(words.shown, { n: K(), all: data.dMlp, open: table.open[layer * T() + t], token: data.labels[t] });
    shown.append(" ", words.back);
    layerText.textContent = layer;
    tokenText.textContent = data.labels[token];
    jump.value = neuronAt(column);
    Object.assign(view.dataset, { layer, token, neuron: neuronAt(column), pre, act });
    sayTokens(k, act < 0);
  }

  function sayTokens(k, turned) {
    const found = said.get(layer), words = data.words;
    const line = (place, name, lists, sizes) => {
      const chips = found ? found[lists][k].map((at, order) =>
        make("span", { class: "chip" }, make("bdi", {}, found.labels[at]), make("small", {}, digits(turned ? -found[sizes][k][order] : found[sizes][k][order])))) : [words.wait];
      place.replaceChildren(make("b", {}, name), ...chips);
    };
    line(pushes, words.pushes, turned ? "down" : "up", turned ? "down_by" : "up_by");
    line(pulls, words.pulls, turned ? "up" : "down", turned ? "up_by" : "down_by");
    note.textContent = turned ? `${words.numbers} ${words.turned}` : words.numbers;
  }

  function drawStrip(colours, family) {
    const room = Math.max(strip.parentElement.clientWidth, 250), narrow = room < 520;
    const left = narrow ? 76 : 130, right = narrow ? 54 : 120, head = 60;
    const wide = Math.max(Math.floor((room - left - right - 8) / K()), 2);
    const tall = clamp(Math.floor(560 / T()), 12, 26), middle = wide * K(), size = clamp(tall - 3, 11, 16);
    cells = { left, top: head, wide, tall };
    const height = head + T() * tall + 6, pen = prepare(strip, left + middle + right, height);
    // The housing: narrow in, wide inside, narrow out.
    const line = (y) => [[1, 30 + y * 13], [left - 14, 30 + y * 13], [left, 30 + y * 22], [left + middle, 30 + y * 22],
      [left + middle + 14, 30 + y * 13], [left + middle + right - 1, 30 + y * 13]];
    pen.beginPath();
    [...line(-1), ...line(1).reverse()].forEach(([x, y], at) => pen[at ? "lineTo" : "moveTo"](x, y));
    pen.closePath();
    pen.lineWidth = 3;
    pen.strokeStyle = rgb(colours.ink);
    pen.stroke();
    pen.fillStyle = rgb(colours.ink);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = `700 ${narrow ? 14 : 16}px ${family}`;
    pen.fillText(`${data.dModel}`, (left - 14) / 2, 30);
    pen.fillText(fill(data.words.wide, { n: data.dMlp }), left + middle / 2, 30);
    pen.fillText(`${data.dModel}`, left + middle + 14 + (right - 14) / 2, 30);
    pen.drawImage(paintCells(colours), left, head, middle, T() * tall);
    drawMargins(pen, colours, family, { left, middle, right, size });
    const [t, k] = here();
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = 1.5;
    pen.strokeRect(left + k * wide - 1, head - 1, wide + 1, T() * tall + 1);
    pen.lineWidth = 2;
    pen.strokeRect(left - 1, head + t * tall - 1, middle + 1, tall + 1);
    pen.lineWidth = 4;
    pen.strokeRect(left + k * wide - 1, head + t * tall - 1, wide + 1, tall + 1);
  }

  // The cells of a layer, painted once; another token or neuron only moves the frames on them.
  function paintCells(colours) {
    const { wide, tall } = cells, ratio = window.devicePixelRatio || 1;
    const key = [data.id, layer, wide, tall, ratio, colours.paper, colours.accent].join();
    if (key === painted.key) return painted.canvas;
    const canvas = new OffscreenCanvas(K() * wide * ratio, T() * tall * ratio), pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const acts = table.act.subarray(layer * K() * T(), (layer + 1) * K() * T());
    const most = acts.reduce((top, act) => Math.max(top, Math.abs(act)), 0) || 1;
    acts.forEach((act, at) => {
      const k = Math.floor(at / T()), t = at % T();
      pen.fillStyle = rgb(mix(colours.paper, act >= 0 ? colours.accent : colours.cool, Math.sqrt(Math.abs(act) / most)));
      pen.fillRect(k * wide, t * tall, wide > 4 ? wide - 1 : wide, tall - 1);
    });
    painted = { key, canvas };
    return canvas;
  }

  // Tokens at the left; at the right how long what each gets back is, beside what came in.
  function drawMargins(pen, colours, family, { left, middle, right, size }) {
    const reach = [...Array(T()).keys()].map((t) => table.reach[layer * T() + t]), longest = Math.max(...reach);
    const bar = right - (right < 100 ? 10 : 64);
    for (let t = 0; t < T(); t++) {
      const centre = cells.top + t * cells.tall + cells.tall / 2;
      pen.font = `${t === here()[0] ? 800 : 500} ${size}px ${family}`;
      pen.fillStyle = rgb(t === here()[0] ? colours.accent : colours.ink);
      pen.textAlign = "right";
      pen.fillText(fit(pen, data.labels[t], left - 12), left - 7, centre);
      pen.fillStyle = rgb(colours.quiet, 0.75);
      pen.fillRect(left + middle + 8, centre - cells.tall / 2 + 2, Math.max(1, bar * (reach[t] / (longest || 1))), cells.tall - 5);
      if (right >= 100) {
        pen.textAlign = "left";
        pen.fillStyle = rgb(colours.ink);
        pen.fillText(`${digits(reach[t])}×`, left + middle + 12 + bar * (reach[t] / (longest || 1)), centre);
      }
    }
  }

  function drawCurves(colours, family) {
    const [t, k] = here(), words = data.words, columns = [...Array(K()).keys()];
    const place = layer * T() + t, silu = (x) => x / (1 + Math.exp(-x));
    const points = table.curve.subarray(layer * data.points, (layer + 1) * data.points);
    const ends = table.ends.subarray(layer * 2, layer * 2 + 2), spread = table.spread.subarray(place * 2, place * 2 + 2);
    const bars = Array.from(table.bars.subarray(place * data.bins, (place + 1) * data.bins));
    const onCurve = columns.map((at) => {
      const pre = value("pre", at, t), act = value("act", at, t);
      return { x: pre, y: data.gated ? silu(pre) : act, act };
    });
    spots.curve = drawCurve(curve, {
      curve: points, ends, spread, bars, dots: onCurve, chosen: k, colours, family,
      names: [words.pre, data.gated ? words.curve : words.act],
    });
    gatePanel.hidden = !data.gated;
    if (!data.gated) return;
    const dots = columns.map((at) => ({ x: value("up", at, t), y: value("act", at, t), act: value("act", at, t) }));
    spots.gate = drawGate(gate, { dots, chosen: k, slope: onCurve[k].y, colours, family, names: [words.up, words.act] });
  }

  function listStrongest() {
    summary.textContent = fill(data.words.table, { token: data.labels[token], layer });
    if (!details.open) return;
    const order = [...Array(K()).keys()].sort((a, b) => adds(b, token) - adds(a, token)).slice(0, 12);
    rows.replaceChildren(...order.map((k) => {
      const numbers = [value("pre", k, token), ...(data.gated ? [value("up", k, token)] : []), value("act", k, token), adds(k, token)];
      return make("tr", {}, make("td", {}, `#${neuronAt(k)}`), ...numbers.map((one) => make("td", {}, digits(one))));
    }));
  }

  function draw() {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view);
    say();
    drawStrip(colours, family);
    drawCurves(colours, family);
    if (!over) listStrongest();
  }

  function settle() {
    clearTimeout(timer);
    timer = setTimeout(() => hooks.setStateValue("chosen", [layer, token, neuronAt(column)]), 400);
  }

  function choose(newLayer, newToken, newColumn) {
    newLayer = clamp(newLayer, 0, data.layers - 1);
    newToken = clamp(newToken, 0, T() - 1);
    if (newLayer !== layer) {
      layer = newLayer;
      newColumn = strongestColumn(newToken);
    }
    token = newToken;
    column = clamp(newColumn ?? strongestColumn(token), 0, K() - 1);
    over = null;
    layerInput.value = layer;
    tokenInput.value = token;
    columnInput.value = column;
    draw();
    settle();
  }

  function point(place) {
    if (place && !hovered) {
      hovered = true;
      hooks.setStateValue("hovered", true);
    }
    if (String(place) === String(over)) return;
    over = place;
    draw();
  }

  const cellUnder = (event) => {
    const [x, y] = pointAt(event, strip);
    const k = Math.floor((x - cells.left) / cells.wide), t = Math.floor((y - cells.top) / cells.tall);
    if (t < 0 || t >= T()) return null;
    return k >= 0 && k < K() ? [t, k] : [t, null];
  };
  const dotUnder = (event, canvas, name) => {
    const [x, y] = pointAt(event, canvas);
    let best = null, least = 22;
    spots[name].forEach(([dotX, dotY], k) => {
      const far = Math.hypot(dotX - x, dotY - y);
      if (far < least) { best = k; least = far; }
    });
    return best;
  };
  strip.addEventListener("pointermove", (event) => {
    const cell = cellUnder(event);
    point(cell && cell[1] !== null ? cell : null);
  });
  strip.addEventListener("click", (event) => {
    const cell = cellUnder(event);
    if (cell) choose(layer, cell[0], cell[1]);
  });
  for (const [canvas, name] of [[curve, "curve"], [gate, "gate"]]) {
    canvas.addEventListener("pointermove", (event) => {
      const k = dotUnder(event, canvas, name);
      point(k === null ? null : [token, k]);
    });
    canvas.addEventListener("click", (event) => {
      const k = dotUnder(event, canvas, name);
      if (k !== null) choose(layer, token, k);
    });
  }
  for (const canvas of [strip, curve, gate]) canvas.addEventListener("pointerleave", () => { if (data) point(null); });
  layerInput.addEventListener("input", () => choose(Number(layerInput.value), token, null));
  tokenInput.addEventListener("input", () => choose(layer, Number(tokenInput.value), null));
  columnInput.addEventListener("input", () => choose(layer, token, Number(columnInput.value)));
  jump.addEventListener("change", () => {
    const wanted = clamp(Math.round(Number(jump.value)) || 0, 0, data.dMlp - 1);
    const found = [...Array(K()).keys()].find((k) => neuronAt(k) === wanted);
    if (found !== undefined) choose(layer, token, found);
    else hooks.setStateValue("chosen", [layer, token, wanted]); // the server sends it as a column of its own
  });
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    if (event.target instanceof HTMLInputElement || !data) return;
    const act = {
      ArrowLeft: () => choose(layer, token, column - 1),
      ArrowRight: () => choose(layer, token, column + 1),
      ArrowUp: () => choose(layer, token - 1, column),
      ArrowDown: () => choose(layer, token + 1, column),
      Home: () => choose(layer, 0, null),
      End: () => choose(layer, T() - 1, null),
      PageUp: () => choose(layer - 1, token, null),
      PageDown: () => choose(layer + 1, token, null),
    }[event.key];
    if (act) { event.preventDefault(); act(); point([token, column]); point(null); }
  });
  details.addEventListener("toggle", () => { if (data) listStrongest(); });
  const unwatch = watch(view, draw);

  function begin(newData) {
    data = newData;
    read();
    said = new Map();
    layerInput.max = data.layers - 1;
    tokenInput.max = T() - 1;
    columnInput.max = K() - 1;
    jump.max = data.dMlp - 1;
    [layer, token] = data.start;
    column = Math.max([...Array(K()).keys()].findIndex((k) => neuronAt(k) === data.start[2]), 0);
    over = null;
    layerInput.value = layer;
    tokenInput.value = token;
    columnInput.value = column;
    const words = data.words;
    names.forEach((place, at) => { place.textContent = [words.layer, words.token, words.neuron][at]; });
    jump.setAttribute("aria-label", words.jump);
    view.setAttribute("aria-label", words.name);
    curveName.textContent = words.curve;
    gateName.textContent = words.gate;
    dotsNote.textContent = words.points;
    hint.textContent = words.keys;
    headings.replaceChildren(...words.columns.map((text) => make("th", {}, text)));
  }

  return {
    update(newData, component) {
      hooks = component;
      const fresh = !data || data.id !== newData.id;
      if (fresh) begin(newData);
      const news = fresh || !said.has(newData.told.layer);
      said.set(newData.told.layer, newData.told);
      if (news) draw();
    },
    close() {
      clearTimeout(timer);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildMachine);
