// Arcs beside a table: what the chosen token looks at, in every layer and head, without asking the server.

function buildExplorer(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const layerInput = make("input", { type: "range", min: "0", step: "1", class: "layer" });
  const headInput = make("input", { type: "range", min: "0", step: "1", class: "head" });
  const layerText = make("b"), headText = make("b"), layerName = make("span"), headName = make("span");
  const role = make("span", { class: "role" });
  const arcs = make("canvas", { class: "arcs" }), table = make("canvas", { class: "table" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const summary = make("summary"), rows = make("tbody"), headings = make("tr");
  const hint = make("p", { class: "hint" });
  view.append(
    make("div", { class: "controls" }, make("label", {}, layerName, layerText, layerInput),
      make("label", {}, headName, headText, headInput), role),
    readout,
    make("div", { class: "pictures" }, make("div", { class: "scroll wide" }, arcs), make("div", { class: "scroll" }, table)),
    hint,
    make("details", {}, summary, make("table", {}, make("thead", {}, headings), rows)),
  );
  root.append(view);

  let data = null, weights = null, hooks = null;
  let layer = 0, head = 0, query = 0, pinned = 0, key = null, wanted = null, timer = 0, hovered = false;
  let placed = false, tokenTimer = 0;
  let tokenSpots = [], cells = { x: 0, y: 0, size: 1 };

  const weight = (i, j) => {
    const T = data.labels.length;
    if (data.causal && j > i) return null;
    const stride = data.causal ? (T * (T + 1)) / 2 : T * T;
    const at = data.causal ? (i * (i + 1)) / 2 + j : i * T + j;
    return weights[(layer * data.heads + head) * stride + at] / 255;
  };

  function say() {
    const label = (at) => data.labels[at];
    let best = 0;
    for (let j = 0; j < data.labels.length; j++) if ((weight(query, j) ?? -1) > (weight(query, best) ?? -1)) best = j;
    const target = key === null ? best : key;
    const share = weight(query, target);
    const template = share === null ? data.words.hidden : key === null ? data.words.most : data.words.pair;
    readout.textContent = fill(template, {
      query: label(query), key: label(target), weight: share === null ? "" : share.toFixed(2), layer, head,
    });
    layerText.textContent = layer;
    headText.textContent = head;
    role.textContent = data.roles[layer][head];
    view.dataset.layer = layer;
    view.dataset.head = head;
    view.dataset.query = query;
  }

  function listRow() {
    const T = data.labels.length;
    const order = [...Array(T).keys()].filter((j) => weight(query, j) !== null);
    order.sort((a, b) => weight(query, b) - weight(query, a));
    rows.replaceChildren(...order.slice(0, 12).map((j) =>
      make("tr", {}, make("td", {}, String(j)), make("td", {}, data.labels[j]), make("td", {}, weight(query, j).toFixed(2)))));
    summary.textContent = fill(data.words.table, { query: data.labels[query] });
  }

  function drawArcs(colours, family) {
    const T = data.labels.length, size = 16, gap = 6, most = 110;
    const measure = arcs.getContext("2d");
    measure.font = `600 ${size}px ${family}`;
    const texts = data.labels.map((text) => fit(measure, text, most));
    const widths = texts.map((text) => Math.max(measure.measureText(text).width + 10, 30));
    const needed = widths.reduce((sum, width) => sum + width + gap, gap);
    const room = arcs.parentElement.clientWidth;
    const spare = Math.max(0, room - needed) / (T + 1);
    const width = Math.max(needed, room), top = Math.min(190, 60 + T * 9), height = top + 62;
    const pen = prepare(arcs, width, height);
    pen.font = `600 ${size}px ${family}`;
    let x = gap + spare / 2;
    tokenSpots = widths.map((wide) => {
      const spot = { x, wide, middle: x + wide / 2 };
      x += wide + gap + spare;
      return spot;
    });
    const from = tokenSpots[query];
    const reach = Math.max(...tokenSpots.map((spot) => Math.abs(spot.middle - from.middle)), 1);
    const drawn = [...Array(T).keys()].filter((j) => j !== query && weight(query, j) !== null);
    drawn.sort((a, b) => weight(query, a) - weight(query, b));
    for (const j of drawn) {
      const share = weight(query, j), spot = tokenSpots[j];
      if (share < 1 / 255) continue;
      const half = Math.abs(spot.middle - from.middle) / 2;
      pen.beginPath();
      pen.ellipse((spot.middle + from.middle) / 2, top, half, (top - 14) * (0.25 + (1.5 * half) / reach / 2), 0, Math.PI, TAU);
      pen.lineWidth = 1 + 13 * share;
      pen.strokeStyle = rgb(key === j ? colours.ink : colours.accent, 0.25 + 0.75 * share);
      pen.stroke();
    }
    const own = weight(query, query);
    pen.beginPath();
    pen.arc(from.middle, top - 12, 3 + 9 * own, 0, TAU);
    pen.fillStyle = rgb(colours.accent, 0.25 + 0.75 * own);
    pen.fill();
    pen.textAlign = "center";
    texts.forEach((text, j) => {
      const spot = tokenSpots[j], share = weight(query, j);
      const ground = share === null ? colours.paper : mix(colours.paper, colours.accent, share);
      pen.fillStyle = rgb(ground);
      pen.fillRect(spot.x, top, spot.wide, 30);
      pen.strokeStyle = rgb(share === null ? colours.quiet : colours.ink, share === null ? 0.5 : 1);
      pen.lineWidth = j === query ? 4 : 1.5;
      pen.setLineDash(share === null ? [3, 4] : []);
      pen.strokeRect(spot.x, top, spot.wide, 30);
      pen.setLineDash([]);
      pen.fillStyle = share === null ? rgb(colours.quiet) : inkOn(ground);
      pen.font = `600 ${size}px ${family}`;
      pen.fillText(text, spot.middle, top + 21);
      pen.font = `13px ${family}`;
      pen.fillStyle = rgb(colours.ink);
      if (share !== null) pen.fillText(share.toFixed(2).replace(/^0/, ""), spot.middle, top + 48);
    });
  }

  function drawTable(colours, family) {
    const T = data.labels.length, most = 84, room = Math.max(table.parentElement.clientWidth, 260);
    const size = clamp(Math.floor((room - most - 8) / T), 9, 30), named = size >= 11;
    const edge = named ? most : 4;
    const width = edge + T * size + 4, height = edge + T * size + 4;
    cells = { x: edge, y: edge, size };
    const pen = prepare(table, width, height);
    pen.font = `${Math.min(14, size)}px ${family}`;
    for (let i = 0; i < T; i++) {
      for (let j = 0; j < T; j++) {
        const share = weight(i, j);
        if (share === null) continue;
        pen.fillStyle = rgb(mix(colours.paper, colours.accent, share));
        pen.fillRect(edge + j * size, edge + i * size, size, size);
        pen.strokeStyle = rgb(colours.quiet, 0.25);
        pen.lineWidth = 1;
        pen.strokeRect(edge + j * size + 0.5, edge + i * size + 0.5, size - 1, size - 1);
      }
    }
    if (named) {
      data.labels.forEach((text, at) => {
        const middle = edge + at * size + size / 2;
        pen.fillStyle = rgb(at === query ? colours.accent : colours.ink);
        pen.textAlign = "right";
        pen.textBaseline = "middle";
        pen.fillText(fit(pen, text, most - 10), edge - 6, middle);
        pen.fillStyle = rgb(at === key ? colours.accent : colours.ink);
        pen.save();
        pen.translate(middle, edge - 6);
        pen.rotate(-Math.PI / 2);
        pen.textAlign = "left";
        pen.fillText(fit(pen, text, most - 10), 0, 0);
        pen.restore();
      });
    }
    pen.strokeStyle = rgb(colours.ink);
    pen.lineWidth = 2;
    pen.strokeRect(edge, edge, T * size, T * size);
    pen.strokeRect(edge, edge + query * size, T * size, size);
    if (key !== null && weight(query, key) !== null) {
      pen.lineWidth = 3;
      pen.strokeRect(edge + key * size, edge + query * size, size, size);
    }
  }

  function draw() {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view);
    say();
    drawArcs(colours, family);
    drawTable(colours, family);
    listRow();
  }

  function look(newQuery, newKey, pin) {
    query = newQuery;
    key = newKey;
    if (pin && pinned !== newQuery) {
      pinned = newQuery;
      clearTimeout(tokenTimer);
      tokenTimer = setTimeout(() => hooks.setStateValue("token", pinned), 400);
    }
    if (!hovered) {
      hovered = true;
      hooks.setStateValue("hovered", true);
    }
    draw();
  }

  function choose(newLayer, newHead, from) {
    newLayer = clamp(newLayer, 0, data.layers - 1);
    newHead = clamp(newHead, 0, data.heads - 1);
    if (newLayer === layer && newHead === head) return;
    layer = newLayer;
    head = newHead;
    layerInput.value = layer;
    headInput.value = head;
    draw();
    if (from === "server") return;
    tellHead(layer, head, "explorer");
    wanted = [layer, head];
    clearTimeout(timer);
    timer = setTimeout(() => {
      const url = new URL(window.location);
      url.searchParams.set("head", wanted.join("."));
      window.history.replaceState(window.history.state, "", url);
      hooks.setStateValue("chosen", wanted);
    }, 250);
  }

  function follow(event) {
    const { layer: newLayer, head: newHead, token, from } = event.detail;
    if (!data || from === "explorer") return;
    if (from === "server" && token !== undefined && !placed) {
      // Where the learner looked on the page before.
      placed = true;
      query = pinned = clamp(token, 0, data.labels.length - 1);
      draw();
    }
    if (from === "server" && wanted) {
      // An answer to an earlier choice: the learner has moved on.
      if (wanted[0] === newLayer && wanted[1] === newHead) wanted = null;
      return;
    }
    choose(newLayer, newHead, from);
  }

  const tokenUnder = (event) => {
    const [x] = pointAt(event, arcs);
    return tokenSpots.findIndex((spot) => x >= spot.x - 4 && x <= spot.x + spot.wide + 4);
  };
  const cellUnder = (event) => {
    const [x, y] = pointAt(event, table), T = data.labels.length;
    const j = Math.floor((x - cells.x) / cells.size), i = Math.floor((y - cells.y) / cells.size);
    return i >= 0 && j >= 0 && i < T && j < T ? [i, j] : null;
  };
  const leave = () => {
    if (data) { query = pinned; key = null; draw(); }
  };
  for (const kind of ["pointermove", "click"]) {
    arcs.addEventListener(kind, (event) => {
      const at = tokenUnder(event);
      if (at >= 0 && (at !== query || key !== null || kind === "click")) look(at, null, kind === "click");
    });
    table.addEventListener(kind, (event) => {
      const cell = cellUnder(event);
      if (cell && (cell[0] !== query || cell[1] !== key || kind === "click")) look(cell[0], cell[1], kind === "click");
    });
  }
  arcs.addEventListener("pointerleave", leave);
  table.addEventListener("pointerleave", leave);
  layerInput.addEventListener("input", () => choose(Number(layerInput.value), head, "slider"));
  headInput.addEventListener("input", () => choose(layer, Number(headInput.value), "slider"));
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    if (event.target instanceof HTMLInputElement || !data) return;
    const last = data.labels.length - 1;
    const act = {
      ArrowLeft: () => look(clamp(query - 1, 0, last), null, true),
      ArrowRight: () => look(clamp(query + 1, 0, last), null, true),
      Home: () => look(0, null, true),
      End: () => look(last, null, true),
      ArrowUp: () => choose(event.shiftKey ? layer - 1 : layer, event.shiftKey ? head : head - 1, "keys"),
      ArrowDown: () => choose(event.shiftKey ? layer + 1 : layer, event.shiftKey ? head : head + 1, "keys"),
      PageUp: () => choose(layer - 1, head, "keys"),
      PageDown: () => choose(layer + 1, head, "keys"),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  document.addEventListener(HEAD_CHOSEN, follow);
  const unwatch = watch(view, draw);

  return {
    update(newData, component) {
      hooks = component;
      if (data && data.id === newData.id) return;
      data = newData;
      weights = toBytes(data.weights);
      layerInput.max = data.layers - 1;
      headInput.max = data.heads - 1;
      layer = clamp(lastHead().layer, 0, data.layers - 1);
      head = clamp(lastHead().head, 0, data.heads - 1);
      layerInput.value = layer;
      headInput.value = head;
      query = pinned = clamp(lastHead().token ?? Infinity, 0, data.labels.length - 1);
      key = wanted = null;
      placed = false;
      layerName.textContent = data.words.layer;
      headName.textContent = data.words.head;
      hint.textContent = data.words.keys;
      view.setAttribute("aria-label", data.words.name);
      headings.replaceChildren(...data.words.columns.map((text) => make("th", {}, text)));
      draw();
    },
    close() {
      clearTimeout(timer);
      clearTimeout(tokenTimer);
      document.removeEventListener(HEAD_CHOSEN, follow);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildExplorer);
