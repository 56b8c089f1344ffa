// The bench: a drawer of parts, the machine that grows from it, and what it takes. Every choice is drawn, counted and
// checked here; the server hears, a moment later, what lies on the bench. Choices can be undone and redone.

const SETTLE_BENCH_MS = 350, MOST_UNDO = 200;
const WHOLE = ["vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_mlp", "max_seq_len", "n_segments"];

// Places of a slider: fine steps at first, then four to each doubling.
function stops(low, high, now) {
  const found = new Set([low, high, now]);
  for (let number = Math.max(low, 1); number <= Math.min(8, high); number += 1) found.add(number);
  for (let base = 8; base <= high; base *= 2)
    for (const quarter of [4, 5, 6, 7]) if ((base * quarter) / 4 <= high) found.add((base * quarter) / 4);
  return [...found].filter((number) => number >= low && number <= high).sort((one, other) => one - other);
}

// The machine on the bench, and all that it was before.
function openHistory(given) {
  const memory = document.guideBuild;
  if (memory && memory.given === given.n) return memory;
  const kept = memory ? memory.plans.slice(0, memory.at + 1) : [];
  const plans = [...kept, given.plan].slice(-MOST_UNDO);
  return (document.guideBuild = { given: given.n, plans, at: plans.length - 1 });
}

function buildBench(root) {
  const view = make("div", { class: "view builder", role: "group" });
  const starts = make("div", { class: "starts" }), sums = make("div", { class: "sums" });
  const alarm = make("div", { class: "alarm", role: "alert" }), drawer = make("div", { class: "drawer" });
  const picture = make("div", { class: "picture" }), parts = make("div", { class: "list" });
  view.append(starts, sums, alarm, make("div", { class: "two" }, drawer, make("div", { class: "right" }, picture, parts)));
  root.append(view);
  let data = null, hooks = null, history = null, plan = null, timer = 0, before = null, cards = {}, told = "";

  const say = (name, values = {}) => fill(data.words[name] ?? name, values);
  const room = () => picture.clientWidth || 560;

  function settle() {
    clearTimeout(timer);
    timer = setTimeout(() => hooks.setStateValue("settled", { plan, given: data.given.n }), SETTLE_BENCH_MS);
  }

  function push(next) {
    if (JSON.stringify(next) === JSON.stringify(history.plans[history.at])) return;
    history.plans = [...history.plans.slice(0, history.at + 1), next].slice(-MOST_UNDO);
    history.at = history.plans.length - 1;
  }

  // One choice: fields change, an empty place may be filled, what hangs together moves together.
  function choose(changes, slot, keep = true) {
    const next = { ...plan, ...changes };
    if (slot) next.missing = plan.missing.filter((one) => one !== slot);
    if ("n_heads" in changes && !("n_kv_heads" in changes) && plan.n_kv_heads === plan.n_heads) next.n_kv_heads = changes.n_heads;
    if ("d_model" in changes && !("d_mlp" in changes) && plan.d_mlp === 4 * plan.d_model) next.d_mlp = Math.min(4 * changes.d_model, data.limits.d_mlp[1]);
    plan = next;
    if (keep) push(next);
    draw();
    settle();
  }

  function step(by) {
    history.at = clamp(history.at + by, 0, history.plans.length - 1);
    plan = history.plans[history.at];
    draw();
    settle();
  }

  const button = (text, act, pressed, extra = {}) => {
    const node = make("button", { type: "button", ...(pressed === undefined ? {} : { "aria-pressed": String(pressed) }), ...extra }, text);
    node.addEventListener("click", act);
    return node;
  };

  // A slider with its number: the slider steps, the number takes any.
  function number(name, slot) {
    const [low, high] = data.limits[name], places = stops(low, high, plan[name] ?? headDim(plan));
    const slider = make("input", { type: "range", min: 0, max: places.length - 1, step: 1, name });
    const field = make("input", { type: "number", min: low, max: high, step: 1, name: `${name}_number` });
    slider.value = places.indexOf(plan[name]);
    field.value = plan[name] ?? "";
    slider.setAttribute("aria-valuetext", String(plan[name]));
    slider.addEventListener("input", () => {
      field.value = places[slider.value];
      slider.setAttribute("aria-valuetext", String(places[slider.value]));
      plan = history.plans[history.at];
      before = slider;
      choose({ [name]: places[slider.value] }, slot, false);
    });
    slider.addEventListener("change", () => { before = null; push(plan); draw(); });
    field.addEventListener("change", () => {
      const asked = field.value.trim();
      if (name === "head_dim" && asked === "") return choose({ head_dim: null }, slot);
      const wish = Math.round(Number(asked));
      return choose({ [name]: Number.isFinite(wish) && asked !== "" ? clamp(wish, low, high) : plan[name] }, slot);
    });
    const label = make("label", {}, make("span", {}, say(`field.${name}`)), slider, field);
    field.setAttribute("aria-label", say(`field.${name}`));
    return label;
  }

  const options = (name, slot, values) => make("div", { class: "options" },
    ...values.map((value) => button(say(`${name}.${value}`), () => choose({ [name]: value }, slot),
      !plan.missing.includes(slot) && plan[name] === value, { "data-choice": `${name}.${value}` })));
  const flag = (name, slot, on, off) => make("div", { class: "options" },
    ...[[true, on], [false, off]].map(([value, word]) => button(say(word), () => choose({ [name]: value }, slot),
      !plan.missing.includes(slot) && plan[name] === value, { "data-choice": `${name}.${value}` })));
  const ticks = (names) => make("div", { class: "ticks" }, ...names.map((name) => {
    const box = make("input", { type: "checkbox", name });
    box.checked = plan[name];
    box.addEventListener("change", () => choose({ [name]: box.checked }));
    return make("label", {}, box, say(`field.${name}`));
  }));

  function kvFor(kind) {
    if (kind !== "gqa") return kind === "mha" ? plan.n_heads : 1;
    const middle = nearestDivisor(plan.n_heads, Math.max(2, Math.round(plan.n_heads / 3)), plan.n_heads);
    return middle > 1 && middle < plan.n_heads ? middle : Math.max(1, Math.floor(plan.n_heads / 2));
  }
  const kindNow = () => (plan.n_kv_heads === plan.n_heads ? "mha" : plan.n_kv_heads === 1 ? "mqa" : "gqa");

  // What each card of the drawer holds; what belongs to a part shows once the part is on the bench.
  const CARDS = {
    embedding: (here) => [
      ...(here ? [number("vocab_size", "embedding"), number("d_model", "embedding")] : [button(say("put"), () => choose({}, "embedding"))]),
    ],
    positions: (here) => [options("positions", "positions", data.choices.positions), ...(here ? [number("max_seq_len", "positions")] : [])],
    norm: (here) => [options("norm", "norm", data.choices.norm), ...(here ? [options("norm_order", "norm", data.choices.norm_order)] : [])],
    attention: (here) => [
      make("div", { class: "options" }, ...["mha", "gqa", "mqa"].map((kind) => button(say(`attention.${kind}`), () => choose({ n_kv_heads: kvFor(kind) }, "attention"),
        here && kindNow() === kind, { "data-choice": `attention.${kind}` }))),
      ...(here ? [number("n_heads", "attention"), number("n_kv_heads", "attention"), flag("causal", "attention", "causal.true", "causal.false")] : []),
    ],
    feed_forward: (here) => [options("feed_forward", "feed_forward", data.choices.feed_forward), ...(here ? [number("d_mlp", "feed_forward")] : [])],
    unembedding: (here) => [make("div", { class: "options" },
      ...[["tied", { unembedding: true, tied: true }], ["own", { unembedding: true, tied: false }], ["none", { unembedding: false, unembedding_transform: false }]].map(([name, changes]) =>
        button(say(`unembedding.${name}`), () => choose(changes, "unembedding"),
          here && (name === "none" ? !plan.unembedding : plan.unembedding && plan.tied === (name === "tied")), { "data-choice": `unembedding.${name}` })))],
    stack: () => [number("n_layers")],
    more: () => [
      ticks(["attention_bias", "output_bias", "mlp_bias", "norm_embeddings", "norm_final", "norm_heads", "unembedding_transform"]),
      number("head_dim"), number("n_segments"), real("norm_eps"), real("rope_theta"),
    ],
  };

  function real(name) {
    const field = make("input", { type: "number", step: "any", name });
    field.value = plan[name];
    field.addEventListener("change", () => {
      const wish = Number(field.value), [low, high] = data.ranges[name];
      choose({ [name]: field.value.trim() && Number.isFinite(wish) ? clamp(wish, low, high) : plan[name] });
    });
    return make("label", {}, make("span", {}, say(`field.${name}`)), field);
  }

  // A card is built again only when something other than its own slider has changed, or the finger would lose it.
  function drawDrawer() {
    if (before) return;
    const lost = root.getRootNode().activeElement, at = lost && view.contains(lost) ? lost.dataset.choice ?? lost.name : null;
    const open = drawer.querySelector("details")?.open ?? false;
    let count = 0;
    cards = Object.fromEntries(Object.entries(CARDS).map(([name, build]) => {
      const slot = data.slots.includes(name), here = !slot || !plan.missing.includes(name);
      const head = make("h2", {}, ...(slot ? [make("i", {}, String((count += 1)))] : []), make("span", {}, say(`card.${name}`)));
      if (slot && here) head.append(button("×", () => choose({ missing: [...plan.missing, name] }), undefined, { class: "off", "aria-label": say("off", { part: say(`card.${name}`) }) }));
      const card = name === "more"
        ? make("details", { class: "card" }, make("summary", {}, say("card.more")), ...build(here))
        : make("section", { class: `card ${here ? "here" : "open"}`, "data-card": name }, head, ...build(here));
      if (name === "more") card.open = open;
      return [name, card];
    }));
    const order = ["embedding", "positions", "norm", "attention", "feed_forward", "stack", "unembedding", "more"];
    drawer.replaceChildren(...order.map((name) => cards[name]));
    if (at) drawer.querySelector(`[data-choice="${at}"], [name="${at}"]`)?.focus({ preventScroll: true });
  }

  function drawStarts() {
    const same = JSON.stringify(plan);
    starts.replaceChildren(
      button("↶", () => step(-1), undefined, { class: "undo", "aria-label": say("undo"), title: say("undo"), ...(history.at ? {} : { disabled: "" }) }),
      button("↷", () => step(1), undefined, { class: "redo", "aria-label": say("redo"), title: say("redo"), ...(history.at < history.plans.length - 1 ? {} : { disabled: "" }) }),
      ...data.presets.map(({ name, title, plan: preset }) => button(title, () => choose({ ...preset }), JSON.stringify(preset) === same, { "data-preset": name })),
    );
  }

  function drawSums(rows) {
    const all = rows?.length ? totals(rows) : null, none = "–";
    const tile = (name, value, small) => make("div", { "data-sum": name }, make("span", {}, say(`sum.${name}`)), make("b", {}, value), make("small", {}, small));
    const kept = all ? say(plan.causal ? "sum.kv.note" : "sum.kv.both", { full: bytes(all.kvNumbers * 2 * plan.max_seq_len), n: plan.max_seq_len }) : "";
    sums.replaceChildren(
      tile("parameters", all ? short(all.parameters) : none, all ? all.parameters.toLocaleString("en-US") : ""),
      tile("memory", all ? bytes(all.parameters * 4) : none, all ? say("sum.memory.note", { half: bytes(all.parameters * 2) }) : ""),
      tile("kv", all ? bytes(all.kvNumbers * 2) : none, kept),
      tile("work", all ? flop(all.flops) : none, all ? say("sum.work.note", { full: flop(all.flopsFull) }) : ""),
    );
    const need = all ? all.parameters * 4 : 0;
    sums.classList.toggle("big", need > data.room);
    view.dataset.parameters = all ? String(all.parameters) : "";
    return need > data.room ? [make("p", { class: "big" }, say("too_big", { need: bytes(need), have: bytes(data.free) }))] : [];
  }

  function drawAlarm(wrong, extra) {
    const lines = wrong.map((one) => make("p", { "data-misfit": one.code }, make("b", {}, `✗ ${say("refused")} `), say(`misfit.${one.code}`, one.values),
      " ", button(say("mend", { change: Object.entries(one.mend).map(([name, value]) => say("becomes", { name, value: say(`value.${value}`).replace(/^value\./, "") })).join(say("comma")) }), () => choose(one.mend), undefined, { class: "mend" })));
    const missing = plan.missing.length ? [make("p", { class: "still" }, say("still", { n: plan.missing.length, parts: plan.missing.map((slot) => say(`card.${slot}`)).join(say("comma")) }))] : [];
    const now = [...lines, ...extra, ...missing], text = now.map((line) => line.textContent).join("|");
    if (told !== text) alarm.replaceChildren(...now);
    told = text;
  }

  function drawParts(rows) {
    if (!rows?.length) return parts.replaceChildren();
    const all = totals(rows), most = Math.max(1, ...rows.map((row) => row.places * row.parameters));
    const line = (row) => {
      const sum = row.places * row.parameters, bar = make("u", {});
      bar.style.width = `${(100 * sum) / most}%`;
      return make("tr", { "data-part": row.name },
        make("th", { scope: "row" }, say(`part.${row.name}`), " ", make("small", {}, `${row.places}×`)),
        make("td", { class: "bar" }, bar), make("td", {}, short(sum)), make("td", {}, `${all.parameters ? ((100 * sum) / all.parameters).toFixed(sum ? 1 : 0) : 0}%`),
        make("td", { class: "wide" }, bytes(sum * 2)), make("td", { class: "wide" }, flop(row.places * row.flops)));
    };
    const shown = rows.filter((row) => row.parameters || row.flops);
    const head = ["part", "", "parameters", "share", "memory", "work"];
    return parts.replaceChildren(make("table", {},
      make("thead", {}, make("tr", {}, ...head.map((name, at) => make("th", { scope: "col", ...(at > 3 ? { class: "wide" } : {}) }, name ? say(`column.${name}`) : "")))),
      make("tbody", {}, ...shown.map(line))));
  }

  function draw() {
    if (!data) return;
    const wrong = misfits(plan, data.limits), rows = wrong.length ? null : countPlan(plan);
    drawStarts();
    drawAlarm(wrong, drawSums(rows));
    drawDrawer();
    const words = {
      name: say("name", { n: plan.n_layers, parameters: rows ? short(totals(rows).parameters) : "–" }),
      missing: Object.fromEntries(data.slots.map((slot) => [slot, say("ghost", { part: say(`card.${slot}`) })])),
      drawn: (name, now) => titleOf(name, now),
    };
    const drawing = drawMachine(plan, rows ?? [], wrong, words, room());
    for (const group of drawing.querySelectorAll("[data-slot]"))
      group.addEventListener("click", () => cards[group.dataset.slot]?.scrollIntoView({ block: "center", behavior: "smooth" }));
    picture.replaceChildren(drawing);
    drawParts(rows);
    view.dataset.misfits = wrong.map(({ code }) => code).join(" ");
    view.dataset.missing = plan.missing.join(" ");
  }

  function titleOf(name, now) {
    const what = {
      positions: `positions.${now.positions}`, norm_1: `norm.${now.norm}`, norm_2: `norm.${now.norm}`, norm_final: `norm.${now.norm}`, norm_embeddings: `norm.${now.norm}`,
      attention: `attention.${kindNow()}`, feed_forward: `feed_forward.${now.feed_forward}`, unembedding: now.tied ? "unembedding.tied" : "unembedding.own",
    }[name];
    return [say(`part.${name}`), what ? say(what) : ""];
  }

  view.addEventListener("keydown", (event) => {
    if (OWN_KEYS.has(event.key)) event.stopPropagation();
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.type === "number") return;
    event.preventDefault();
    step(event.shiftKey ? 1 : -1);
  });
  let wide = 0;
  const unwatch = watch(view, () => { if (data && Math.abs(room() - wide) > 4) { wide = room(); draw(); } });

  return {
    update(fresh, component) {
      hooks = component;
      const same = data && data.id === fresh.id;
      data = fresh;
      const opened = openHistory(data.given);
      if (same && opened === history) return;
      history = opened;
      plan = history.plans[history.at];
      view.setAttribute("aria-label", say("bench"));
      draw();
      if (JSON.stringify(plan) !== JSON.stringify(data.given.plan)) settle();
    },
    close() {
      clearTimeout(timer);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildBench);
