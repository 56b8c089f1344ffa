// The machine on the bench, exploded: one board a part, dashed where a part is still missing, crossed where it does
// not fit. A board is as wide as its vectors (logarithmically) and as thick as its share of the parameters.

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const MOST_COPIES = 8, MOST_HEADS = 64;
const GHOSTS = { embedding: "embedding", positions: "positions", norm: "norm_1", attention: "attention", feed_forward: "feed_forward", unembedding: "unembedding" };

// The parts from top to bottom, those that are missing among them.
function boards(plan) {
  const out = (slot) => plan.missing.includes(slot);
  const block = plan.norm_order === "pre"
    ? ["norm_1", "attention", "add_1", "norm_2", "feed_forward", "add_2"]
    : ["attention", "add_1", "norm_1", "feed_forward", "add_2", "norm_2"];
  const names = ["embedding"];
  if (plan.n_segments && !out("embedding")) names.push("segments");
  if (out("positions") || ["learned", "sinusoidal"].includes(plan.positions)) names.push("positions");
  if (plan.norm_embeddings && !out("norm")) names.push("norm_embeddings");
  if (plan.n_layers) names.push(...block);
  if (plan.norm_final && !out("norm")) names.push("norm_final");
  if (out("unembedding") || plan.unembedding) names.push("unembedding");
  return names.map((name) => ({ name, slot: SLOT_OF[name], missing: out(SLOT_OF[name]), inBlock: IN_BLOCK.has(name) }));
}

function drawMachine(plan, rows, wrong, words, room) {
  const narrow = room < 520, width = narrow ? 340 : 560, axis = narrow ? 126 : 212, text = narrow ? 212 : 338;
  const half = narrow ? 13 : 18, bypass = narrow ? 60 : 96, bracket = narrow ? 42 : 62;
  const size = new Map(rows.map((row) => [row.name, row.places * row.parameters]));
  const all = Math.max(1, [...size.values()].reduce((sum, one) => sum + one, 0));
  const refused = new Set(wrong.map(({ slot }) => slot));
  const sideOf = (numbers) => (narrow ? 16 : 26) + (narrow ? 2.4 : 4.2) * Math.log2(Math.max(numbers, 2));
  const parts = boards(plan), drawn = svg("g");
  let y = 12;
  for (const part of parts) {
    const round = part.name.startsWith("add_");
    part.side = Math.min(sideOf(part.name === "feed_forward" && !part.missing ? plan.d_mlp : plan.d_model), narrow ? 74 : 116);
    part.thick = part.missing || round ? 4 : 3 + 24 * Math.sqrt((size.get(part.name) ?? 0) / all);
    part.gate = part.name === "feed_forward" && !part.missing && plan.feed_forward === "swiglu";
    part.y = y + (round ? 13 : half + (part.gate ? 11 : 0));
    y += round ? 32 : 2 * half + part.thick + 14 + (part.gate ? 11 : 0);
    part.end = y - 8;
  }
  const inBlock = parts.filter((part) => part.inBlock);
  const bottom = y + 4;
  drawn.append(svg("line", { x1: axis, x2: axis, y1: 4, y2: bottom - 6, class: "axis" }));
  if (inBlock.length) drawStack(drawn, inBlock, { axis, bypass, bracket, half, narrow, plan });
  for (const part of parts) drawn.append(drawBoard(part, { axis, text, half, narrow, plan, words, size, refused }));
  const one = parts.find(({ name }) => name === "embedding"), last = parts.find(({ name }) => name === "unembedding");
  if (one && last && !one.missing && !last.missing && plan.tied) {
    const left = narrow ? 4 : 20, [from, to] = [one.y, last.y];
    drawn.append(svg("path", { d: `M${axis - one.side} ${from} H${left} V${to} H${axis - last.side}`, class: "tie" }));
  }
  return svg("svg", { viewBox: `0 0 ${width} ${bottom}`, width: "100%", role: "img", "aria-label": words.name }, drawn);
}

// The bracket with the number of layers, the storeys behind, and the stream that runs past the parts.
function drawStack(drawn, parts, { axis, bypass, bracket, narrow, plan }) {
  const top = parts[0].y - 22, end = parts.at(-1).end + 2, copies = Math.min(plan.n_layers - 1, MOST_COPIES);
  for (let copy = copies; copy > 0; copy -= 1)
    for (const part of parts) {
      if (part.name.startsWith("add_") || part.missing) continue;
      drawn.append(svg("path", { d: outline(axis + copy * 3, part.y - copy * 2.2, part.side, narrow ? 13 : 18), class: "copy" }));
    }
  drawn.append(svg("path", { d: `M${bracket + 8} ${top} H${bracket} V${end} H${bracket + 8}`, class: "bracket" }));
  drawn.append(svg("text", { x: bracket - 4, y: (top + end) / 2 + 6, class: "times", "text-anchor": "end" }, `${plan.n_layers}×`));
  let start = top + 4;
  for (const add of parts.filter(({ name }) => name.startsWith("add_"))) {
    if (add.missing) continue;
    drawn.append(svg("path", { d: `M${axis} ${start} H${bypass} V${add.y} H${axis - 11}`, class: "bypass" }));
    const after = parts[parts.indexOf(add) + 1];
    start = plan.norm_order === "post" && after ? after.end : add.y + 14;
  }
}

const outline = (x, y, side, half) => `M${x - side} ${y} L${x} ${y - half} L${x + side} ${y} L${x} ${y + half} Z`;

function drawBoard(part, { axis, text, half, narrow, plan, words, size, refused }) {
  const { name, side, y, thick } = part;
  const bad = refused.has(part.slot) && (name === "attention" || part.slot !== "attention");
  const group = svg("g", { class: `part ${part.missing ? "missing" : ""} ${bad ? "bad" : ""}`, "data-part": name, "data-slot": part.slot });
  if (name.startsWith("add_")) {
    if (!part.missing)
      group.append(svg("circle", { cx: axis, cy: y, r: 10 }), svg("path", { d: `M${axis - 5} ${y} h10 M${axis} ${y - 5} v10` }));
    return group;
  }
  if (part.gate) group.append(svg("path", { d: outline(axis, y - 13, side * 0.9, half * 0.9), class: "top" }));
  group.append(
    svg("path", { d: `M${axis - side} ${y} v${thick} L${axis} ${y + half + thick} L${axis + side} ${y + thick} v${-thick} L${axis} ${y + half} Z`, class: "edge" }),
    svg("path", { d: outline(axis, y, side, half), class: "top" }),
  );
  if (!part.missing) dressBoard(group, part, axis, half, plan);
  if (bad) group.append(svg("path", { d: `M${axis - side * 0.6} ${y - half} L${axis + side * 0.6} ${y + half} M${axis + side * 0.6} ${y - half} L${axis - side * 0.6} ${y + half}`, class: "cross" }));
  group.append(svg("line", { x1: axis + side + 4, x2: text - 6, y1: y, y2: y, class: "leader" }));
  const [title, kind] = part.missing ? [words.missing[part.slot], ""] : words.drawn(name, plan);
  const value = part.missing ? "" : refused.size && !size.has(name) ? "–" : short(size.get(name) ?? 0);
  group.append(svg("text", { x: text, y: y - 2, class: "title" }, title), svg("text", { x: text, y: y + 15, class: "value" }, [kind, value].filter(Boolean).join(" · ")));
  return group;
}

const onBoard = (x, y, side, half, u, v) => [x + (u - v) * side, y + (u + v - 1) * half];

// What lies on a board: rows of a table, waves, heads in their key/value groups, neurons.
function dressBoard(group, { name, side, y }, x, half, plan) {
  const rule = (count) => {
    for (let i = 1; i < count; i += 1) {
      const [from, to] = [onBoard(x, y, side, half, i / count, 0.05), onBoard(x, y, side, half, i / count, 0.95)];
      group.append(svg("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: "fine" }));
    }
  };
  if (name === "embedding" || name === "unembedding") rule(9);
  if (name === "segments") rule(3);
  if (name === "positions" && plan.positions === "learned") rule(6);
  if (name === "positions" && plan.positions === "sinusoidal")
    for (let i = 1; i < 5; i += 1) {
      const points = Array.from({ length: 25 }, (_, at) => onBoard(x, y, side, half, at / 24, i / 5 + 0.05 * Math.sin((at * 8) / i)));
      group.append(svg("polyline", { points: points.map((point) => point.join()).join(" "), class: "fine" }));
    }
  if (name === "attention") {
    const heads = Math.min(plan.n_heads, MOST_HEADS), columns = Math.ceil(Math.sqrt(heads));
    const shared = Math.max(1, Math.round(plan.n_heads / plan.n_kv_heads)), lines = Math.ceil(heads / columns);
    for (let head = 0; head < heads; head += 1) {
      const [u, v] = [(Math.floor(head / columns) + 0.5) / lines, ((head % columns) + 0.5) / columns];
      const [px, py] = onBoard(x, y, side, half, u, v), r = Math.min(side / columns / 2.8, 9);
      group.append(svg("ellipse", { cx: px, cy: py, rx: r, ry: r * 0.5, class: Math.floor(head / shared) % 2 ? "head odd" : "head" }));
    }
    if (plan.positions === "rotary" && !plan.missing.includes("positions"))
      group.append(svg("path", { d: `M${x - side - 16} ${y - 8} a9 9 0 1 1 -7 14 m0 0 l-3 -6 m3 6 l6 -3`, class: "sign" }));
    if (plan.positions === "alibi" && !plan.missing.includes("positions"))
      group.append(svg("path", { d: `M${x - side - 30} ${y + 7} h20 v-15 Z`, class: "sign" }));
  }
  if (name === "feed_forward")
    for (let i = 1; i < 7; i += 1)
      for (let j = 1; j < 7; j += 1) {
        const [px, py] = onBoard(x, y, side, half, i / 7, j / 7);
        group.append(svg("ellipse", { cx: px, cy: py, rx: side / 30, ry: side / 60, class: "head" }));
      }
}
