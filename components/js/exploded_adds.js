// What each part adds to one answer: rows before the layers, then attention, its heads and feed-forward of each layer.

function buildAdds(root) {
  const view = make("div", { class: "view", role: "application", tabindex: "0" });
  const tokenInput = make("input", { type: "range", min: "0", step: "1", class: "token" }), tokenText = make("b"), tokenName = make("span");
  const targetSelect = make("select", { class: "target" }), targetName = make("span"), rivalSelect = make("select", { class: "rival" }), rivalName = make("span");
  const targetLabel = make("label", {}, targetName, targetSelect), rivalLabel = make("label", {}, rivalName, rivalSelect);
  const sum = make("p", { class: "readout" }), told = make("p", { class: "pointed", "aria-live": "polite" });
  const canvas = make("canvas", { class: "adds" }), hint = make("p", { class: "hint" });
  view.append(make("div", { class: "controls" }, make("label", {}, tokenName, tokenText, tokenInput), targetLabel, rivalLabel), sum, told, make("div", { class: "scroll", tabindex: "0" }, canvas), hint);
  root.append(view);

  let data = null, values, wholes, index, token = 0, target = 0, rival = -1, spots = [], focus = null;

  const T = () => data.labels.length, K = () => data.k;
  const part = (piece, t, k) => values[(piece * T() + t) * K() + k];
  const value = (piece) => part(piece, token, target) - (rival < 0 ? 0 : part(piece, token, rival));
  const whole = () => wholes[token * K() + target] - (rival < 0 ? 0 : wholes[token * K() + rival]);
  const total = (pieces) => pieces.reduce((all, piece) => all + value(piece), 0);

  // Pieces by where they are drawn.
  function sort() {
    index = { before: [], after: [], layers: Array.from({ length: data.layers }, () => ({ heads: [], bias: [], mlp: [], norm: [] })) };
    data.pieces.forEach(([kind, layer, head], piece) => {
      if (layer < 0) index[["token", "position", "segment"].includes(kind) ? "before" : "after"].push({ kind, pieces: [piece] });
      else if (kind === "head") index.layers[layer].heads[head] = piece;
      else index.layers[layer][{ attention_bias: "bias", mlp: "mlp", norm_bias: "norm" }[kind]].push(piece);
    });
    const shifts = index.layers.flatMap((layer) => layer.norm);
    if (shifts.length) index.after.unshift({ kind: "norms", pieces: shifts });
  }

  // Labels that can be chosen at this position, each once.
  function options() {
    const names = data.targets[token] ?? [], known = new Map();
    names.forEach((name, k) => { if (!known.has(name)) known.set(name, k); });
    return [...known].map(([name, k]) => [String(k), name]);
  }
  function fillSelects() {
    const choices = options();
    targetLabel.hidden = rivalLabel.hidden = !choices.length;
    if (!choices.some(([k]) => Number(k) === target)) target = 0;
    targetSelect.replaceChildren(...choices.map(([k, name]) => make("option", { value: k }, name)));
    targetSelect.value = String(target);
    const others = choices.filter(([k]) => Number(k) !== target);
    if (!others.some(([k]) => Number(k) === rival)) rival = -1;
    rivalSelect.replaceChildren(make("option", { value: "-1" }, data.words.nobody), ...others.map(([k, name]) => make("option", { value: k }, name)));
    rivalSelect.value = String(rival);
  }

  function say() {
    const name = (k) => data.targets[token]?.[k] ?? "";
    const all = total(data.pieces.map((_, piece) => piece));
    const text = !data.targets.length ? data.words.sum_direction : rival < 0 ? data.words.sum : data.words.sum_against;
    sum.textContent = fill(text, { sum: written(all), whole: written(whole()), error: data.error, label: data.labels[token], token, target: name(target), rival: name(rival) });
    tokenText.textContent = token;
    tokenInput.value = token;
    view.dataset.token = token;
    view.dataset.sum = all;
    view.dataset.whole = whole();
    told.textContent = focus ? focus.say() : data.words.point;
  }

  function draw() {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view), room = canvas.parentElement.clientWidth, narrow = room < 520;
    const edge = narrow ? 74 : 132, each = narrow ? 19 : 21, heads = data.heads;
    const cell = clamp(Math.floor((room - edge) * 0.4 / heads), 9, 30), field = cell * heads;
    const wide = Math.max((room - edge - field - 34) / 2, 64);
    const x = { attention: edge, heads: edge + wide + 10, mlp: edge + wide + field + 22 };
    const height = (index.before.length + data.layers + index.after.length) * each + 56;
    const pen = prepare(canvas, edge + 2 * wide + field + 30, height);
    const layers = index.layers.map((one) => ({ attention: total([...one.heads, ...one.bias]), mlp: total(one.mlp) }));
    const single = [...index.before, ...index.after].map((one) => total(one.pieces));
    const most = Math.max(...layers.flatMap((one) => [one.attention, one.mlp].map(Math.abs)), ...single.map(Math.abs), 1e-9);
    const mostHead = Math.max(...index.layers.flatMap((one) => one.heads.map((piece) => Math.abs(value(piece)))), 1e-9);
    spots = [];
    pen.textBaseline = "middle";
    let y = 4;
    const write = (text, left, top, align = "left", colour = colours.ink, weight = 600) => {
      pen.fillStyle = rgb(colour);
      pen.textAlign = align;
      pen.font = `${weight} 14px ${family}`;
      pen.fillText(text, left, top);
    };
    const bar = (amount, left, top, span) => {
      const middle = left + span / 2, long = (amount / most) * (span / 2 - 2);
      pen.fillStyle = rgb(amount >= 0 ? colours.accent : colours.cool);
      pen.fillRect(Math.min(middle, middle + long), top + 3, Math.max(Math.abs(long), 1), each - 7);
      pen.fillStyle = rgb(colours.ink);
      pen.fillRect(middle - 0.75, top, 1.5, each);
    };
    const spot = (left, top, span, text, amounts) => spots.push({ left, top, span, tall: each, say: () => fill(text, amounts()) });
    const lone = (one) => {
      write(fit(pen, data.words.kinds[one.kind], edge - 10), 0, y + each / 2);
      bar(total(one.pieces), x.attention, y, wide);
      spot(0, y, edge + wide, data.words.one, () => ({ name: data.words.kinds[one.kind], value: signed(total(one.pieces)) }));
      y += each;
    };
    pen.font = `600 14px ${family}`;
    index.before.forEach(lone);
    y += 30;
    write(data.words.attention, x.attention + wide / 2, y - 13, "center", colours.quiet);
    write(fit(pen, fill(data.words.heads, { n: heads }), field + 8), x.heads + field / 2, y - 13, "center", colours.quiet);
    write(data.words.mlp, x.mlp + wide / 2, y - 13, "center", colours.quiet);
    index.layers.forEach((one, layer) => {
      write(`L${layer}`, edge - 10, y + each / 2, "right", colours.quiet);
      bar(layers[layer].attention, x.attention, y, wide);
      bar(layers[layer].mlp, x.mlp, y, wide);
      one.heads.forEach((piece, head) => {
        pen.fillStyle = rgb(signColour(colours, value(piece) / mostHead));
        pen.fillRect(x.heads + head * cell, y + 1, cell - 1, each - 2);
        spot(x.heads + head * cell, y, cell, data.words.head, () => ({ layer, head, value: signed(value(piece)) }));
      });
      spot(0, y, edge + wide, data.words.layer_attention, () => ({ layer, value: signed(layers[layer].attention), bias: signed(total(one.bias)) }));
      spot(x.mlp - 10, y, wide + 10, data.words.layer_mlp, () => ({ layer, value: signed(layers[layer].mlp) }));
      y += each;
    });
    y += 14;
    index.after.forEach(lone);
    if (focus) {
      const now = spots[focus.at];
      focus = now ? { ...now, at: focus.at } : null;
    }
    if (focus) {
      pen.strokeStyle = rgb(colours.ink);
      pen.lineWidth = 3;
      pen.strokeRect(focus.left + 1, focus.top, focus.span - 2, focus.tall);
    }
    say();
  }

  function point(event) {
    const [px, py] = pointAt(event, canvas);
    const at = spots.findIndex((one) => px >= one.left && px < one.left + one.span && py >= one.top && py < one.top + one.tall);
    if ((focus?.at ?? -1) === at) return;
    focus = at < 0 ? null : { ...spots[at], at };
    draw();
  }
  function go(newToken, from) {
    newToken = clamp(newToken, 0, T() - 1);
    if (newToken !== token) { token = newToken; target = 0; rival = -1; fillSelects(); }
    draw();
    if (from === "adds") tellPlace(lastPlace().layer, token, "adds");
  }
  for (const kind of ["pointermove", "click"]) canvas.addEventListener(kind, point);
  canvas.addEventListener("pointerleave", () => { focus = null; draw(); });
  tokenInput.addEventListener("input", () => go(Number(tokenInput.value), "adds"));
  targetSelect.addEventListener("change", () => { target = Number(targetSelect.value); fillSelects(); draw(); });
  rivalSelect.addEventListener("change", () => { rival = Number(rivalSelect.value); draw(); });
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    if (event.target.closest("input, select") || !data) return;
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = clamp((focus?.at ?? -1) + by, 0, spots.length - 1);
    focus = { ...spots[at], at };
    draw();
  });
  const follow = (event) => {
    if (!data || event.detail.from === "adds" || event.detail.token === token) return;
    go(event.detail.token, "other");
  };
  document.addEventListener(PLACE, follow);
  const unwatch = watch(view, draw);

  return {
    update(newData) {
      if (data && data.id === newData.id) return;
      data = newData;
      [values, wholes] = [toFloats(data.values), toFloats(data.wholes)];
      focus = null;
      target = 0;
      rival = -1;
      sort();
      token = clamp(lastPlace().token, 0, T() - 1);
      tokenInput.max = T() - 1;
      tokenName.textContent = data.words.token;
      targetName.textContent = data.words.target;
      rivalName.textContent = data.words.rival;
      hint.textContent = data.words.keys;
      view.setAttribute("aria-label", data.words.name);
      fillSelects();
      draw();
    },
    close() {
      document.removeEventListener(PLACE, follow);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildAdds);
