// The whole machine with its stream flowing: play, step, slide, point; all in the browser, from numbers sent once.

function buildMachine(root) {
  const view = make("div", { class: "view machine", role: "application", tabindex: "0" });
  const back = make("button", { type: "button", class: "step" }, "◀"), next = make("button", { type: "button", class: "step" }, "▶");
  const play = make("button", { type: "button", class: "play" });
  const slide = (name, low) => {
    const input = make("input", { type: "range", min: low, step: "1", class: name }), text = make("b"), title = make("span");
    return { input, text, title, node: make("label", {}, title, text, input) };
  };
  const step = slide("stage", "0"), tokens = slide("token", "0"), layers = slide("layer", "0"), speed = slide("speed", "1");
  const readout = make("p", { class: "readout" });
  const drawing = make("canvas", { class: "drawing" }), bars = make("canvas", { class: "bars" }), map = make("canvas", { class: "map" });
  const barsTitle = make("h3"), mapTitle = make("h3"), hint = make("p", { class: "hint" });
  const pointed = make("p", { class: "pointed" });
  view.append(
    make("div", { class: "controls" }, make("div", { class: "buttons" }, back, play, next), tokens.node, layers.node, step.node, speed.node),
    readout,
    make("div", { class: "bench" },
      make("div", { class: "tower" }, drawing),
      make("div", { class: "side" }, barsTitle, bars, mapTitle, make("div", { class: "scroll", tabindex: "0" }, map), pointed, hint)),
  );
  root.append(view);

  let data = null, hooks = null, states, added, tops, addedTops, norms, addedNorms, before;
  let token = 0, at = 0, progress = 1, playing = false, plan = null, hot = null, started = 0, frame = 0;
  let wanted = null, timer = 0, told = false, base = null, cells = null, bar = null, colours = null, family = "";
  view.frames = 0; // how many pictures were drawn, and (where someone asks) the time of each: for whoever measures

  const T = () => data.labels.length;
  const S = () => data.stages;
  const hasEnd = () => S() > 1 + 2 * data.layers;
  const isEnd = (stage) => hasEnd() && stage === S() - 1;
  const layerOf = (stage) => clamp(Math.floor((stage - 1) / 2), 0, data.layers - 1);
  const share = (one) => addedNorms[one * T() + token] / (addedNorms[one * T() + token] + before[one * T() + token]);

  function numbers(packed, scale, row) {
    const start = (row * T() + token) * data.dims, top = scale[row * T() + token] / 127;
    return Float32Array.from({ length: data.dims }, (_, i) => packed[start + i] * top);
  }
  function shares(packed, row) {
    const start = (row * T() + token) * data.dims;
    return Float32Array.from({ length: data.dims }, (_, i) => packed[start + i] / 127);
  }

  // The strips of the drawing for a layer: which numbers, and how long the vector is.
  function strip(what, layer) {
    const row = { pre: layer === 0 ? 0 : 2 * layer, mid: 1 + 2 * layer, post: 2 + 2 * layer, final: S() - 1, attention: 2 * layer, mlp: 2 * layer + 1 }[what];
    const adds = what === "attention" || what === "mlp";
    const length = (adds ? addedNorms : norms)[row * T() + token];
    return { values: shares(adds ? added : states, row), length, part: adds ? share(row) : null };
  }

  const lineOf = (name) => plan.rows.find((row) => row.plate?.name === name);
  const stripOf = (what) => plan.rows.find((row) => row.strip?.what === what);
  function wayOf(stage) {
    const last = plan.rows.at(-1).middle;
    if (stage === 0) return [plan.rows[0].middle, stripOf("pre").middle];
    if (isEnd(stage)) return [stripOf("post").middle, last];
    return stage % 2 ? [stripOf("pre").middle, stripOf("mid").middle] : [stripOf("mid").middle, stripOf("post").middle];
  }

  function drawTower() {
    const layer = layerOf(at), [from, to] = wayOf(at), y = from + (to - from) * progress;
    const pen = prepare(drawing, plan.width, plan.height);
    const most = Math.max(...["pre", "attention", "mid", "mlp", "post"].map((what) => strip(what, layer).length), 1e-9), reached = (row) => row.middle <= y + 1;
    drawAxis(pen, colours, plan);
    drawBracket(pen, colours, plan, data, family, layer);
    for (const [what, into, part, add, one] of [["pre", "mid", "attention", "add_1", 2 * layer], ["mid", "post", "feed_forward", "add_2", 2 * layer + 1]]) {
      const meets = lineOf(add).middle;
      drawMeeting(pen, colours, plan, stripOf(what).middle, lineOf(part).middle, meets, share(one), y >= meets - 1 ? 1 : 0.3);
    }
    for (const row of plan.rows) {
      if (row.plate) drawPlate(pen, colours, plan, data, family, row, row.middle >= from - 1 && row.middle <= y + 2, row.plate.name === hot);
      else {
        const shown = strip(row.strip.what, layer), name = data.words.strip[row.strip.what];
        const caption = shown.part === null ? fill(name, { norm: written(shown.length) }) : fill(name, { norm: written(shown.length), share: percent(shown.part) });
        drawStrip(pen, colours, plan, row, shown.values, shown.length / most, caption, family, reached(row) ? 1 : 0.25);
      }
    }
    drawMarker(pen, colours, plan.at.axis, y - 6);
  }

  // The state now, one bar a dimension; while an addition runs, part of it is there already.
  function drawBars() {
    const width = bars.parentElement.clientWidth, height = 150, pen = prepare(bars, width, height);
    const now = numbers(states, tops, at);
    let shown = now;
    if (progress < 1 && at > 0 && !isEnd(at)) {
      const then = numbers(states, tops, at - 1);
      shown = now.map((value, i) => then[i] + (value - then[i]) * progress);
    }
    const most = Math.max(...shown.map(Math.abs), 1e-9), each = width / shown.length, middle = height / 2;
    bar = { each, values: shown };
    for (let i = 0; i < shown.length; i++) {
      const tall = (shown[i] / most) * (middle - 4);
      pen.fillStyle = rgb(shown[i] >= 0 ? colours.accent : colours.cool);
      pen.fillRect(i * each + 0.5, tall >= 0 ? middle - tall : middle, Math.max(each - 1, 1), Math.max(Math.abs(tall), 1));
    }
    pen.fillStyle = rgb(colours.ink);
    pen.fillRect(0, middle - 0.75, width, 1.5);
    pen.fillStyle = rgb(colours.quiet);
    pen.font = `13px ${family}`;
    pen.textBaseline = "top";
    pen.textAlign = "left";
    pen.fillText(`±${written(most)}`, 2, 2);
  }

  // Length of the stream after every layer: painted once, then only the mark moves.
  function paintMap() {
    const room = map.parentElement.clientWidth, edge = 40, rows = data.layers + 1;
    const wide = clamp((room - edge - 4) / T(), 5, 34), tall = clamp(330 / rows, 7, 24);
    cells = { edge, wide, tall, rows, width: edge + wide * T() + 4, height: tall * rows + 6 };
    base = new OffscreenCanvas(Math.ceil(cells.width * 2), Math.ceil(cells.height * 2));
    const pen = base.getContext("2d");
    pen.scale(2, 2);
    const logs = Array.from({ length: rows * T() }, (_, i) => Math.log(norms[rowOf(Math.floor(i / T())) * T() + (i % T())]));
    const low = Math.min(...logs), high = Math.max(...logs);
    logs.forEach((value, i) => {
      pen.fillStyle = rgb(mix(colours.paper, colours.accent, 0.06 + (0.94 * (value - low)) / (high - low || 1)));
      pen.fillRect(edge + (i % T()) * wide, 2 + Math.floor(i / T()) * tall, wide - 0.7, tall - 0.7);
    });
    pen.fillStyle = rgb(colours.quiet);
    pen.font = `13px ${family}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const every = Math.ceil(16 / tall);
    for (let row = 1; row < rows; row += every) pen.fillText(`L${row - 1}`, edge - 5, 2 + (row + 0.5) * tall);
  }
  const rowOf = (row) => (row === 0 ? 0 : 2 * row); // row of the map → state: what enters, then what leaves each layer

  function drawMap() {
    const pen = prepare(map, cells.width, cells.height);
    pen.drawImage(base, 0, 0, cells.width, cells.height);
    const row = Math.min(Math.ceil(at / 2), data.layers), x = cells.edge + token * cells.wide;
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = 1.5;
    pen.strokeRect(x - 0.5, 2, cells.wide, cells.tall * cells.rows);
    pen.lineWidth = 3;
    pen.strokeRect(x - 1, 2 + row * cells.tall - 1, cells.wide + 1, cells.tall + 1);
  }

  function say() {
    const layer = layerOf(at), label = data.labels[token], norm = written(norms[at * T() + token]);
    const values = { token, label, layer, norm };
    let text;
    if (at === 0) text = fill(data.words.enters, values);
    else if (isEnd(at)) {
      const [answer, prob] = data.answers[token] ?? [];
      text = answer === undefined ? fill(data.words.ends, values) : fill(data.words.answers, { ...values, answer, prob: prob.toFixed(3) });
    } else {
      const one = at - 1;
      text = fill(one % 2 ? data.words.thinks : data.words.attends, { ...values, added: written(addedNorms[one * T() + token]), share: percent(share(one)) });
    }
    readout.textContent = text;
    step.input.value = at;
    step.text.textContent = `${at + 1}/${S()}`;
    tokens.input.value = token;
    tokens.text.textContent = token;
    layers.input.value = layer;
    layers.text.textContent = layer;
    view.dataset.layer = layer;
    view.dataset.token = token;
    view.dataset.stage = at;
    view.dataset.playing = playing;
  }

  function draw() {
    if (!data) return;
    const begun = performance.now();
    drawTower();
    drawBars();
    drawMap();
    view.frames += 1;
    view.works?.push(performance.now() - begun);
  }
  function redo() {
    if (!data) return;
    colours = readPalette(view);
    family = fontOf(view);
    plan = layOut(data, Math.min(drawing.parentElement.clientWidth, 640));
    paintMap();
    say();
    draw();
  }

  function tick(now) {
    if (!playing) return;
    const passed = (Math.min(now - started, 250) / 1000) * Number(speed.input.value); // no leap after a sleep
    started = now;
    progress += passed;
    let moved = false;
    while (progress >= 1 && playing) {
      if (at === S() - 1 && token === T() - 1) { stop(); progress = 1; break; }
      progress -= 1;
      moved = true;
      if (at < S() - 1) at += 1;
      else { at = 0; token += 1; }
    }
    if (moved) say();
    draw();
    if (playing) frame = requestAnimationFrame(tick);
  }
  function start() {
    if (at === S() - 1 && token === T() - 1) { at = 0; token = 0; progress = 0; }
    playing = true;
    started = performance.now();
    view.removeAttribute("aria-live");
    mark();
    frame = requestAnimationFrame(tick);
  }
  function stop() {
    playing = false;
    cancelAnimationFrame(frame);
    progress = 1;
    mark();
    settle("machine");
  }
  function mark() {
    play.textContent = playing ? data.words.pause : data.words.play;
    play.setAttribute("aria-pressed", String(playing));
    readout.setAttribute("aria-live", playing ? "off" : "polite");
    say();
    if (!told) { told = true; hooks.setStateValue("played", true); }
  }

  // Tell the other pictures at once, the server when the learner has settled.
  function settle(from) {
    const layer = layerOf(at);
    if (from !== "server") {
      tellPlace(layer, token, "machine");
      wanted = [layer, token];
      clearTimeout(timer);
      timer = setTimeout(() => hooks.setStateValue("place", [...wanted]), 250);
    }
  }
  function go(newAt, newToken, from = "keys") {
    if (playing) { playing = false; cancelAnimationFrame(frame); play.textContent = data.words.play; play.setAttribute("aria-pressed", "false"); }
    at = clamp(newAt, 0, S() - 1);
    token = clamp(newToken, 0, T() - 1);
    progress = 1;
    say();
    draw();
    settle(from);
  }
  function move(by) {
    const where = token * S() + at + by;
    if (where < 0 || where >= S() * T()) return;
    if (!told) { told = true; hooks.setStateValue("played", true); }
    go(where % S(), Math.floor(where / S()));
  }
  const toLayer = (layer, from) => go(2 + 2 * clamp(layer, 0, data.layers - 1), token, from);

  function follow(event) {
    const { layer, token: newToken, from } = event.detail;
    if (!data || from === "machine" || playing) return;
    if (from === "server" && wanted) {
      if (wanted[0] === layer && wanted[1] === newToken) wanted = null;
      return;
    }
    if (layer === layerOf(at) && newToken === token) return;
    go(layer === layerOf(at) ? at : 2 + 2 * layer, newToken, from === "server" ? "server" : "other");
  }
  function light(event) {
    if (event.detail.from === "machine" || !data) return;
    hot = event.detail.name;
    if (!playing) draw();
  }

  const plateUnder = (event) => {
    const [x, y] = pointAt(event, drawing);
    const row = plan.rows.find((one) => one.plate && y >= one.y && y < one.y + one.tall);
    if (!row) return null;
    if (row.plate.turns && Math.abs(x - plan.at.axis - plan.side * 0.98) < 16 && y > row.middle + 2) return data.turns;
    return row.plate;
  };
  drawing.addEventListener("pointermove", (event) => {
    const plate = plateUnder(event), name = plate?.name ?? null;
    drawing.style.cursor = plate?.opens ? "pointer" : "default";
    if (name === hot) return;
    hot = name;
    pointed.textContent = plate ? `${plate.number} ${plate.title} · ${plate.facts}` : data.words.point;
    tellPlate(name, "machine");
    if (!playing) draw();
  });
  drawing.addEventListener("pointerleave", () => { hot = null; pointed.textContent = data?.words.point ?? ""; tellPlate(null, "machine"); if (!playing && data) draw(); });
  drawing.addEventListener("click", (event) => {
    const plate = plateUnder(event);
    if (plate?.opens) hooks.setTriggerValue("open", [plate.name, layerOf(at), token]);
  });
  map.addEventListener("click", (event) => {
    const [x, y] = pointAt(event, map), row = Math.floor((y - 2) / cells.tall), column = Math.floor((x - cells.edge) / cells.wide);
    if (row >= 0 && row < cells.rows && column >= 0 && column < T()) go(rowOf(row), column);
  });
  map.addEventListener("pointermove", (event) => {
    const [x, y] = pointAt(event, map), row = Math.floor((y - 2) / cells.tall), column = Math.floor((x - cells.edge) / cells.wide);
    if (row < 0 || row >= cells.rows || column < 0 || column >= T()) return;
    const norm = written(norms[rowOf(row) * T() + column]);
    pointed.textContent = fill(row ? data.words.cell : data.words.cell_enters, { layer: row - 1, token: column, label: data.labels[column], norm });
  });
  bars.addEventListener("pointermove", (event) => {
    const i = clamp(Math.floor(pointAt(event, bars)[0] / bar.each), 0, data.dims - 1);
    pointed.textContent = fill(data.words.dimension, { dimension: i * data.every, value: written(bar.values[i]) });
  });
  play.addEventListener("click", () => (playing ? stop() : start()));
  back.addEventListener("click", () => move(-1));
  next.addEventListener("click", () => move(1));
  step.input.addEventListener("input", () => go(Number(step.input.value), token));
  tokens.input.addEventListener("input", () => go(at, Number(tokens.input.value)));
  layers.input.addEventListener("input", () => toLayer(Number(layers.input.value)));
  view.addEventListener("keydown", (event) => {
    if (!ENGINE_KEYS.has(event.key)) return;
    event.stopPropagation();
    const space = event.key === " "; // a slider has no use for it
    if (!data || event.target.closest(space ? "button" : "input, button")) return;
    const act = {
      " ": () => (playing ? stop() : start()),
      ArrowLeft: () => move(-1), ArrowRight: () => move(1),
      ArrowUp: () => toLayer(layerOf(at) - 1), ArrowDown: () => toLayer(layerOf(at) + 1),
      PageUp: () => go(at, token - 1), PageDown: () => go(at, token + 1),
      Home: () => go(0, token), End: () => go(S() - 1, token),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  document.addEventListener(PLACE, follow);
  document.addEventListener(PLATE, light);
  const unwatch = watch(view, redo);

  function read(newData) {
    data = newData;
    [states, added] = [data.states, data.added].map(toShorts);
    [tops, addedTops, norms, addedNorms, before] = ["tops", "addedTops", "norms", "addedNorms", "before"].map((name) => toFloats(data[name]));
    if (playing) { playing = false; cancelAnimationFrame(frame); }
    wanted = null;
    token = clamp(lastPlace().token, 0, T() - 1);
    at = clamp(2 + 2 * clamp(lastPlace().layer, 0, data.layers - 1), 0, S() - 1);
    progress = 1;
    step.input.max = S() - 1;
    tokens.input.max = T() - 1;
    layers.input.max = data.layers - 1;
    speed.input.max = 30;
    speed.input.value = 3;
    for (const [control, word] of [[step, "stage"], [tokens, "token"], [layers, "layer"], [speed, "speed"]]) control.title.textContent = data.words[word];
    back.setAttribute("aria-label", data.words.back);
    next.setAttribute("aria-label", data.words.next);
    play.textContent = data.words.play;
    barsTitle.textContent = fill(data.words.bars, { every: data.every, d_model: data.width });
    mapTitle.textContent = data.words.map;
    hint.textContent = data.words.keys;
    pointed.textContent = data.words.point;
    view.setAttribute("aria-label", data.words.name);
    drawing.setAttribute("aria-hidden", "true");
    redo();
  }

  return {
    update(newData, component) {
      hooks = component;
      if (!data || data.id !== newData.id) read(newData);
    },
    close() {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      document.removeEventListener(PLACE, follow);
      document.removeEventListener(PLATE, light);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildMachine);
