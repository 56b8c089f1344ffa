// All ways to classify on one scale; one way's dial and confusion matrix; the rows of one cell, with every way's answer.
// Everything was sent once: choosing, turning a dial and opening a cell happen here; the server hears where it settled.

const SETTLE_MS = 300;
const MOST_ROWS = 40;
const NUMBERED = 12;

function buildBoard(root) {
  const view = make("div", { class: "view", role: "group" });
  const table = make("div", { class: "ways", role: "table" }), detail = make("section", { class: "detail" });
  view.append(table, detail);
  root.append(view);

  let data = null, hooks = null, told = "", timer = 0;
  let chosen = null, cell = null, dials = {}, rows = {}, buttons = [];

  // The scale begins a step below whatever is lowest on it.
  let from = 0;
  const along = (share) => `${(100 * (share - from)) / (1 - from)}%`;
  const percent = (share) => `${(100 * share).toFixed(0)}%`;
  const done = () => data.ways.filter((one) => !one.missing);
  const current = () => done().find((one) => one.way === chosen) ?? null;
  const N = () => data.truthOf.length;
  const judgedAt = (one, row) => one.judgedOf[dials[one.way] * N() + row];
  const sureAt = (one, row) => one.sureOf[dials[one.way] * N() + row] / 255;

  function settle() {
    clearTimeout(timer);
    timer = setTimeout(() => hooks.setStateValue("settled", { way: chosen, cell, dials: { ...dials } }), SETTLE_MS);
  }

  // One way's line: its name, its share of right rows with its interval on the common scale, and its numbers.
  function line(one) {
    const name = make("button", { type: "button", "aria-pressed": "false" }, one.title);
    const box = make("small", {}, one.box);
    const first = make("div", { role: "cell", class: "who" }, name, box);
    if (one.missing) {
      name.disabled = true;
      const gap = make("div", { role: "cell", class: "missing" }, one.missing);
      return make("div", { role: "row", class: "line" }, first, gap);
    }
    const whisker = make("i", { class: "whisker" }), dot = make("i", { class: "dot" });
    const chance = make("i", { class: "chance" });
    chance.style.left = along(data.chance);
    const scale = make("div", { role: "cell", class: "scale" }, chance, whisker, dot);
    const figures = ["accuracy", "f1", "learn", "each", "memory"].map((key) =>
      make("div", { role: "cell", class: `number ${key}` }, make("span", { class: "head" }, data.words[key]), make("b"), make("small")));
    const row = make("div", { role: "row", class: "line" }, first, scale, ...figures);
    row.addEventListener("click", () => choose(one.way));
    rows[one.way] = { row, name, whisker, dot, scale, figures };
    paint(one);
    return row;
  }

  function paint(one) {
    const at = dials[one.way], { whisker, dot, scale, figures, row, name } = rows[one.way];
    whisker.style.left = along(one.low[at]);
    whisker.style.width = along(one.high[at] - one.low[at] + from);
    dot.style.left = along(one.accuracy[at]);
    scale.setAttribute("aria-label", `${percent(one.low[at])} – ${percent(one.high[at])}`);
    const told = [
      [percent(one.accuracy[at]), `${percent(one.low[at])}–${percent(one.high[at])}`],
      [one.f1[at].toFixed(2), `${one.f1_low[at].toFixed(2)}–${one.f1_high[at].toFixed(2)}`],
      [one.learn, ""], [one.each, ""], [one.memory, ""],
    ];
    figures.forEach((figure, n) => {
      figure.children[1].textContent = told[n][0];
      figure.children[2].textContent = told[n][1];
    });
    row.classList.toggle("chosen", one.way === chosen);
    name.setAttribute("aria-pressed", String(one.way === chosen));
  }

  function choose(way) {
    if (way === chosen) return;
    chosen = way;
    done().forEach(paint);
    drawDetail();
    settle();
  }

  function counts(one) {
    const L = data.labels.length, found = Array.from({ length: L }, () => new Array(L).fill(0));
    for (let row = 0; row < N(); row++) found[data.truthOf[row]][judgedAt(one, row)] += 1;
    return found;
  }

  function drawDetail() {
    const one = current();
    detail.replaceChildren();
    detail.hidden = !one;
    if (!one) return;
    detail.append(make("h3", {}, one.title));
    if (one.cut) detail.append(make("p", { class: "hint" }, one.cut));
    const matrix = make("div"), opened = make("div", { class: "opened", "aria-live": "polite" });
    if (one.dial) detail.append(dialOf(one, matrix, opened));
    detail.append(make("p", { class: "hint" }, data.words.point), matrix, opened);
    drawMatrix(one, matrix, opened);
    drawRows(one, opened);
  }

  function dialOf(one, matrix, opened) {
    const shown = make("b"), input = make("input", { type: "range", min: 0, max: one.places.length - 1, step: 1 });
    const show = () => {
      shown.textContent = one.places[dials[one.way]];
      input.value = dials[one.way];
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.addEventListener("input", () => {
      dials[one.way] = Number(input.value);
      show();
      paint(one);
      drawMatrix(one, matrix, opened);
      drawRows(one, opened);
      settle();
    });
    show();
    return make("div", { class: "controls" }, make("label", {}, make("span", {}, one.dial), input, shown));
  }

  // Truth down, answer across; colour is the share of the row.
  function drawMatrix(one, host, opened) {
    const found = counts(one), L = data.labels.length, look = readPalette(view);
    const kept = host.contains(root.getRootNode().activeElement);
    const head = make("tr", {}, make("th", { class: "corner" }, `${data.words.truth} ↓ · ${data.words.judged} →`));
    for (const label of data.labels) head.append(make("th", { scope: "col" }, make("span", {}, label)));
    buttons = [];
    const body = found.map((line, i) => {
      const total = line.reduce((sum, n) => sum + n, 0);
      const row = make("tr", {}, make("th", { scope: "row" }, data.labels[i]));
      buttons.push(line.map((n, j) => {
        const at = cell && cell[0] === i && cell[1] === j;
        const button = make("button", { type: "button", tabindex: at || (!cell && i + j === 0) ? "0" : "-1", "aria-pressed": String(Boolean(at)) });
        button.textContent = L <= NUMBERED || n ? String(n) : "";
        const said = fill(data.words.cell, { truth: data.labels[i], judged: data.labels[j], n });
        button.setAttribute("aria-label", said);
        button.title = said;
        const ground = mix(look.paper, i === j ? look.cool : look.accent, total ? n / total : 0);
        button.style.background = rgb(ground);
        button.style.color = inkOn(ground);
        button.addEventListener("click", () => open(one, host, opened, [i, j]));
        row.append(make("td", {}, button));
        return button;
      }));
      return row;
    });
    const grid = make("table", { class: L > NUMBERED ? "matrix many" : "matrix", "aria-label": data.words.matrix }, make("thead", {}, head), make("tbody", {}, ...body));
    host.className = "scroll";
    host.replaceChildren(grid);
    if (kept && cell) buttons[cell[0]][cell[1]].focus();
  }

  function open(one, host, opened, at) {
    cell = at;
    drawMatrix(one, host, opened);
    buttons[at[0]][at[1]].focus();
    drawRows(one, opened);
    settle();
  }

  function drawRows(one, host) {
    host.replaceChildren();
    if (!cell) return;
    const found = [];
    for (let row = 0; row < N(); row++)
      if (data.truthOf[row] === cell[0] && judgedAt(one, row) === cell[1]) found.push(row);
    const said = { truth: data.labels[cell[0]], judged: data.labels[cell[1]], n: found.length };
    host.append(make("h4", {}, fill(data.words.cell, said)));
    if (!found.length) host.append(make("p", { class: "hint" }, data.words.none));
    found.sort((a, b) => sureAt(one, b) - sureAt(one, a));
    const list = make("ol");
    for (const row of found.slice(0, MOST_ROWS)) {
      const marks = done().map((other) => {
        const right = judgedAt(other, row) === data.truthOf[row];
        const name = `${other.title}: ${data.labels[judgedAt(other, row)]} ${percent(sureAt(other, row))}`;
        return make("span", { class: right ? "mark right" : "mark wrong", title: name }, `${right ? "✓" : "✗"} ${other.title}`);
      });
      const sure = make("b", {}, fill(data.words.sure, { p: percent(sureAt(one, row)) }));
      list.append(make("li", {}, make("bdi", {}, data.texts[row]), " ", sure, make("div", { class: "marks" }, ...marks)));
    }
    host.append(list);
    if (found.length > MOST_ROWS) host.append(make("p", { class: "hint" }, fill(data.words.more, { n: found.length - MOST_ROWS })));
  }

  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const i = buttons.findIndex((line) => line.includes(event.target));
    if (!step || i < 0) return;
    event.preventDefault();
    const j = buttons[i].indexOf(event.target), last = buttons.length - 1;
    const next = buttons[clamp(i + step[0], 0, last)][clamp(j + step[1], 0, last)];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  const unwatch = watch(view, () => data && drawDetail());

  return {
    update(newData, component) {
      hooks = component;
      if (told === newData.id) return;
      told = newData.id;
      data = newData;
      data.truthOf = toBytes(data.truth);
      const kept = dials;
      dials = {};
      rows = {};
      for (const one of done()) {
        one.judgedOf = toBytes(one.judged);
        one.sureOf = toBytes(one.sure);
        dials[one.way] = kept[one.way] < one.places.length ? kept[one.way] : one.place;
      }
      if (cell && Math.max(...cell) >= data.labels.length) cell = null;
      if (!current()) {
        const best = done().reduce((top, one) => (top && top.accuracy[dials[top.way]] >= one.accuracy[dials[one.way]] ? top : one), null);
        chosen = best?.way ?? null;
      }
      view.setAttribute("aria-label", data.words.name);
      const lowest = Math.min(data.chance, ...done().flatMap(({ low }) => low));
      from = Math.max(Math.floor(lowest * 10 - 0.5) / 10, 0);
      const mark = (share, text, kind) => {
        const span = make("span", { class: kind }, text);
        span.style.left = along(share);
        return span;
      };
      const marks = [mark(from, percent(from), ""), mark(1, percent(1), "")];
      marks.push(mark(data.chance, fill(data.words.chance, { p: percent(data.chance) }), "at-chance"));
      const head = make("div", { role: "row", class: "line top" },
        make("div", { role: "columnheader" }, data.words.way),
        make("div", { role: "columnheader", class: "scale" }, ...marks),
        ...["accuracy", "f1", "learn", "each", "memory"].map((key) => make("div", { role: "columnheader", class: "number" }, data.words[key])));
      table.replaceChildren(head, ...data.ways.map(line));
      drawDetail();
    },
    close() {
      clearTimeout(timer);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildBoard);
