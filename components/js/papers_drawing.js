// The machine with its history: each part a board with a lane of years beside it, each paper a numbered balloon in the
// lane of the part that it changed.

const SVG = "http://www.w3.org/2000/svg";
const BALLOON = 11;
const STEP = 25; // between balloons of the same year

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Where everything stands in a drawing so wide.
function layOutPapers({ parts, papers, first, last }, width) {
  const narrow = width < 640, left = narrow ? 26 : 324, right = width - 20, top = 30;
  const x = (year) => left + ((right - left) * (year - first)) / Math.max(last - first, 1);
  const lanes = [], marks = [];
  let y = top;
  for (const part of parts) {
    const years = new Map();
    papers.forEach((paper, at) => {
      if (paper.part === part.name) years.set(paper.year, [...(years.get(paper.year) ?? []), at]);
    });
    const most = Math.max(1, ...[...years.values()].map((one) => one.length));
    const tall = Math.max(most * STEP + 8, narrow ? 0 : 52), head = narrow ? 40 : 0;
    const middle = y + head + tall / 2;
    lanes.push({ part, y, head, tall, middle, boardY: narrow ? y + 22 : middle });
    for (const [year, all] of years)
      all.forEach((at, place) => (marks[at] = { x: x(year), y: middle + (place - (all.length - 1) / 2) * STEP }));
    y += head + tall + (narrow ? 4 : 0);
  }
  return { narrow, left, right, x, lanes, marks, width, height: y + 6, axis: narrow ? 46 : 84, label: narrow ? 92 : 158 };
}

const points = (...all) => all.map((one) => one.join(",")).join(" ");

// A flat board seen from a corner, and what lies on it.
function boardOf(name, x, y, side, half) {
  const thick = half / 3, group = svg("g", { class: "board" });
  const at = (u, v) => [x + (u - v) * side, y + (u + v - 1) * half];
  const line = (...ends) => svg("polyline", { class: "on", points: points(...ends) });
  if (name === "residual") {
    const r = half * 0.9;
    group.append(
      svg("circle", { class: "face", cx: x, cy: y, r }),
      svg("path", { class: "on", d: `M${x - r * 0.55} ${y}h${r * 1.1}M${x} ${y - r * 0.55}v${r * 1.1}` }),
      svg("path", { class: "on", d: `M${x} ${y - r - 5}H${x - side * 0.8}V${y}H${x - r}` })
    );
    return group;
  }
  const stack = name === "engine" ? [2 * thick + 4, 0, -2 * thick - 4] : [0];
  const wide = name === "norm" ? side * 0.75 : side;
  for (const down of stack) {
    const [l, r, u, d] = [[x - wide, y + down], [x + wide, y + down], [x, y - half + down], [x, y + half + down]];
    const under = ([px, py]) => [px, py + thick];
    group.append(
      svg("polygon", { class: "edge", points: points(l, under(l), under(d), under(r), r, d) }),
      svg("polygon", { class: "face", points: points(l, u, r, d) })
    );
  }
  const rows = { tokens: 4, embedding: 8, positions: 6, sampling: 0 }[name] ?? 0;
  for (let i = 1; i < rows; i++) group.append(line(at(i / rows, 0.06), at(i / rows, 0.94)));
  const holes = { attention: 3, feed_forward: 6 }[name] ?? 0;
  for (let i = 1; i <= holes; i++)
    for (let j = 1; j <= holes; j++) {
      const [cx, cy] = at(i / (holes + 1), j / (holes + 1)), rx = side / holes / 3.2;
      group.append(svg("ellipse", { class: "on", cx, cy, rx, ry: rx * 0.45 }));
    }
  if (name === "sampling")
    for (let i = 1; i < 6; i++) {
      const [px, py] = at(i / 6, 1 - i / 6);
      group.append(line([px, py], [px, py - (half * 1.2) / i]));
    }
  return group;
}

// Everything that does not move. Returns what does: faces and counts by part, balloons by paper, the shade of what is to come.
function drawPapers(root, data, plan) {
  const { narrow, lanes, x, axis, label } = plan, parts = new Map(), scene = [];
  const shade = svg("rect", { class: "later", y: 22, height: plan.height - 26 });
  const rule = svg("line", { class: "rule", y1: 22, y2: plan.height - 4 });
  scene.push(shade, rule);
  for (let year = data.first; year <= data.last; year++)
    if (!narrow || (year - data.first) % 2 === 0 || plan.right - plan.left > 500)
      scene.push(svg("text", { class: "year", x: x(year), y: 15 }, narrow ? `’${String(year).slice(2)}` : String(year)));
  if (!narrow)
    scene.push(svg("line", { class: "axis", x1: axis, x2: axis, y1: lanes[0].middle, y2: lanes.at(-1).middle }));
  const block = lanes.filter(({ part }) => part.block);
  if (block.length && !narrow) {
    const from = block[0].y + 6, to = block.at(-1).y + block.at(-1).tall - 6;
    scene.push(svg("path", { class: "bracket", d: `M18 ${from}H10V${to}H18` }));
  }
  for (const lane of lanes) {
    const { part } = lane, side = narrow ? 24 : 58, half = narrow ? 9 : 15;
    const count = svg("tspan", { class: "count" });
    scene.push(svg("line", { class: "lane", x1: plan.left - (narrow ? 0 : 16), x2: plan.right + 14, y1: lane.middle, y2: lane.middle }));
    const board = boardOf(part.name, axis, lane.boardY, side, half);
    const name = svg("text", { class: "part", x: label, y: lane.boardY + 5 }, part.title, "  ", count);
    parts.set(part.name, { board, count });
    scene.push(board, name);
  }
  const balloons = data.papers.map((paper, at) => {
    const { x: cx, y: cy } = plan.marks[at];
    return svg(
      "g",
      { class: "balloon", role: "button", "aria-label": `${paper.year} · ${paper.title}`, tabindex: "-1", "data-at": at },
      svg("circle", { cx, cy, r: BALLOON }),
      svg("text", { x: cx, y: cy + 4 }, String(at + 1))
    );
  });
  root.setAttribute("viewBox", `0 0 ${plan.width} ${plan.height}`);
  root.setAttribute("width", plan.width);
  root.setAttribute("height", plan.height);
  root.replaceChildren(...scene, ...balloons);
  return { parts, balloons, shade, rule };
}
