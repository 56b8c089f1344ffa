// One head from query, key and value to its answer: seven tables; point at a cell to see which cells made it.

function buildSteps(root) {
  const view = make("div", { class: "view" });
  const written = make("p", { class: "written", "aria-live": "polite" });
  const panels = make("div", { class: "panels" });
  const toggle = make("button", { type: "button" });
  view.append(toggle, written, panels);
  root.append(view);

  let data = null, tables = {}, drawn = [], focus = null, all = false, told = "";

  const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)).replace("-", "−");
  const label = (at) => data.labels[at];
  const masked = (i, j) => data.causal && j > i;

  function read() {
    const { T, dims } = data;
    const grid = (values, rows, columns) => ({ rows, columns, at: (i, j) => values[i * columns + j] });
    const q = grid(toFloats(data.q), T, dims), k = grid(toFloats(data.k), T, dims), v = grid(toFloats(data.v), T, dims);
    const products = new Float32Array(T * T);
    for (let i = 0; i < T; i++) for (let j = 0; j < T; j++) {
      let sum = 0;
      for (let d = 0; d < dims; d++) sum += q.at(i, d) * k.at(j, d);
      products[i * T + j] = sum;
    }
    tables = {
      q, k, v, products: grid(products, T, T), scores: grid(toFloats(data.scores), T, T),
      weights: grid(toFloats(data.weights), T, T), answer: grid(toFloats(data.answer), T, dims),
    };
  }

  // Which cells made a cell: [table, first row, last row, first column, last column].
  function makers(name, i, j) {
    const row = (table, at) => [table, at, at, 0, tables[table].columns - 1];
    return {
      q: [], k: [], v: [],
      products: [row("q", i), row("k", j)],
      scores: [["products", i, i, j, j]],
      weights: [row("scores", i)],
      answer: [row("weights", i), ["v", 0, data.T - 1, j, j]],
    }[name];
  }

  function sum(count, term, total, shown = 4) {
    const terms = [...Array(Math.min(count, shown)).keys()].map(term);
    let rest = total;
    for (let at = 0; at < terms.length; at++) rest -= terms[at][2];
    const text = terms.map(([left, right]) => `(${number(left)} × ${number(right)})`).join(" + ");
    return count > shown ? `${text} + ${fill(data.words.more, { n: count - shown, sum: number(rest) })}` : text;
  }

  function write() {
    if (!focus) { written.textContent = data.words.point; return; }
    const [name, i, j] = focus, { dims, T } = data, value = tables[name].at(i, j);
    const say = (key, more) => fill(data.words[key], { query: label(i), key: label(j), row: label(i), dim: j, dims, value: number(value), ...more });
    if (name === "q" || name === "k" || name === "v") written.textContent = say(`made_${name}`);
    if (name === "products") written.textContent = say("made_products", { sum: sum(dims, (d) => {
      const left = tables.q.at(i, d), right = tables.k.at(j, d);
      return [left, right, left * right];
    }, value) });
    if (name === "scores") written.textContent = masked(i, j) ? say("made_masked")
      : say("made_scores", { product: number(tables.products.at(i, j)), root: number(Math.sqrt(dims)) });
    if (name === "weights") {
      if (masked(i, j)) written.textContent = say("made_nothing");
      else {
        const seen = [...Array(T).keys()].filter((at) => !masked(i, at));
        const top = Math.max(...seen.map((at) => tables.scores.at(i, at)));
        const total = seen.reduce((whole, at) => whole + Math.exp(tables.scores.at(i, at) - top), 0);
        const share = Math.exp(tables.scores.at(i, j) - top);
        written.textContent = say("made_weights", {
          score: number(tables.scores.at(i, j)), top: number(top), share: share.toFixed(3), total: total.toFixed(3), n: seen.length,
          value: value.toFixed(3),
        });
      }
    }
    if (name === "answer") {
      const order = [...Array(T).keys()].sort((a, b) => tables.weights.at(i, b) - tables.weights.at(i, a)).filter((at) => !masked(i, at));
      written.textContent = say("made_answer", { sum: sum(order.length, (at) => {
        const left = tables.weights.at(i, order[at]), right = tables.v.at(order[at], j);
        return [left, right, left * right];
      }, value) });
    }
  }

  function layOut() {
    const shown = all ? data.dims : Math.min(data.dims, 8);
    drawn = data.words.panels.map(([name, title, note], at) => {
      const columns = ["products", "scores", "weights"].includes(name) ? data.T : shown;
      const canvas = make("canvas", { tabindex: "0", role: "application", "aria-label": title, "data-name": name });
      const panel = { name, canvas, rows: data.T, columns, folded: columns < tables[name].columns };
      listen(panel);
      const heading = make("h3", {}, make("i", {}, String(at + 1)), title);
      panel.node = make("div", { class: "panel" }, heading, make("p", {}, note), make("div", { class: "scroll" }, canvas));
      return panel;
    });
    panels.replaceChildren(...drawn.map((panel) => panel.node));
    toggle.textContent = all ? data.words.fold : fill(data.words.unfold, { dims: data.dims });
    toggle.hidden = data.dims <= 8;
    toggle.setAttribute("aria-pressed", String(all));
  }

  function scaleOf(name) {
    const { rows, columns, at } = tables[name];
    let most = 1e-9;
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
      if (!(name === "scores" && masked(i, j))) most = Math.max(most, Math.abs(at(i, j)));
    }
    return most;
  }

  function draw() {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view), made = focus ? makers(...focus) : [];
    const size = clamp(Math.floor(300 / data.T), 9, 26), edge = size >= 11 ? 78 : 4;
    for (const panel of drawn) {
      const { name, canvas, rows, columns } = panel, most = scaleOf(name), weightTable = name === "weights";
      const pen = prepare(canvas, edge + columns * size + (panel.folded ? 22 : 4), rows * size + 4);
      panel.size = size;
      panel.edge = edge;
      pen.font = `${Math.min(14, size)}px ${family}`;
      pen.textBaseline = "middle";
      for (let i = 0; i < rows; i++) {
        if (edge > 4) {
          pen.textAlign = "right";
          pen.fillStyle = rgb(colours.ink);
          pen.fillText(fit(pen, label(i), edge - 10), edge - 6, 2 + i * size + size / 2);
        }
        for (let j = 0; j < columns; j++) {
          const hidden = masked(i, j) && (name === "scores" || weightTable), value = tables[name].at(i, j);
          const ground = hidden ? colours.paper
            : mix(colours.paper, value >= 0 ? colours.accent : colours.cool, weightTable ? value : Math.abs(value) / most);
          pen.fillStyle = rgb(ground);
          pen.fillRect(edge + j * size, 2 + i * size, size, size);
          pen.strokeStyle = rgb(colours.quiet, hidden ? 0.5 : 0.25);
          pen.lineWidth = 1;
          pen.strokeRect(edge + j * size + 0.5, 2 + i * size + 0.5, size - 1, size - 1);
          if (hidden) {
            pen.beginPath();
            pen.moveTo(edge + j * size, 2 + (i + 1) * size);
            pen.lineTo(edge + (j + 1) * size, 2 + i * size);
            pen.stroke();
          }
        }
      }
      if (panel.folded) {
        pen.textAlign = "left";
        pen.fillStyle = rgb(colours.quiet);
        pen.fillText("…", edge + columns * size + 5, 2 + (rows * size) / 2);
      }
      pen.strokeStyle = rgb(colours.ink);
      for (const [table, top, bottom, left, right] of made.filter(([table]) => table === name)) {
        pen.lineWidth = 4;
        const wide = Math.min(right, columns - 1) - left + 1;
        if (wide > 0) pen.strokeRect(edge + left * size, 2 + top * size, wide * size, (bottom - top + 1) * size);
      }
      if (focus && focus[0] === name) {
        pen.lineWidth = 4;
        pen.strokeRect(edge + focus[2] * size, 2 + focus[1] * size, size, size);
      }
    }
    write();
  }

  function look(name, i, j) {
    if (focus && focus[0] === name && focus[1] === i && focus[2] === j) return;
    focus = [name, i, j];
    draw();
  }

  function listen(panel) {
    const { canvas, name } = panel;
    const point = (event) => {
      const [x, y] = pointAt(event, canvas);
      const j = Math.floor((x - panel.edge) / panel.size), i = Math.floor((y - 2) / panel.size);
      if (i >= 0 && j >= 0 && i < panel.rows && j < panel.columns) look(name, i, j);
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("click", point);
    canvas.addEventListener("keydown", (event) => {
      if (!OWN_KEYS.has(event.key)) return;
      event.stopPropagation();
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [, i, j] = focus && focus[0] === name ? focus : [name, 0, 0];
      look(name, clamp(i + step[0], 0, panel.rows - 1), clamp(j + step[1], 0, panel.columns - 1));
    });
  }

  toggle.addEventListener("click", () => {
    all = !all;
    layOut();
    draw();
  });
  const unwatch = watch(view, draw);

  return {
    update(newData) {
      if (told !== `${newData.id}`) {
        told = `${newData.id}`;
        data = newData;
        read();
        if (focus && (focus[1] >= data.T || focus[2] >= tables[focus[0]].columns)) focus = null;
        layOut();
        draw();
      }
      view.dataset.head = `${data.layer}.${data.head}`;
      tellHead(data.layer, data.head, "server", data.token);
    },
    close: unwatch,
  };
}

export default (component) => mount(component, buildSteps);
