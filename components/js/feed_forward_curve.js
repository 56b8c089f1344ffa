// The activation curve with one token's neurons on it; for a gated part also how the gate's openness tilts the branch.

const toInts = (base64) => new Int32Array(toBytes(base64).buffer);
const toShorts = (base64) => new Uint16Array(toBytes(base64).buffer);

// Numbers as a reader wants them: few digits, a true minus sign.
function digits(value) {
  const size = Math.abs(value);
  const text = size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
}

// Round places between two ends: 1, 2 or 5 times a power of ten apart.
function ticksBetween(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high; at++) found.push(at * step);
  return found;
}

// A plane to draw on: axes, ticks and names; returns how numbers become places.
function layAxes(canvas, { width, height, xs, ys, names, colours, family, foot = 0 }) {
  const pen = prepare(canvas, width, height);
  const left = 50, right = 14, top = 12, bottom = 44 + foot;
  const x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
  const y = (value) => height - bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
  pen.font = `14px ${family}`;
  pen.lineWidth = 1;
  pen.textAlign = "center";
  for (const at of ticksBetween(xs[0], xs[1], width / 80)) {
    pen.strokeStyle = rgb(at === 0 ? colours.ink : colours.quiet, at === 0 ? 0.9 : 0.22);
    pen.beginPath();
    pen.moveTo(x(at), top);
    pen.lineTo(x(at), height - bottom);
    pen.stroke();
    pen.fillStyle = rgb(colours.quiet);
    pen.fillText(digits(at).replace(/\.?0+$/, ""), x(at), height - bottom + foot + 18);
  }
  pen.textAlign = "right";
  for (const at of ticksBetween(ys[0], ys[1], height / 55)) {
    pen.strokeStyle = rgb(at === 0 ? colours.ink : colours.quiet, at === 0 ? 0.9 : 0.22);
    pen.beginPath();
    pen.moveTo(left, y(at));
    pen.lineTo(width - right, y(at));
    pen.stroke();
    pen.fillStyle = rgb(colours.quiet);
    pen.fillText(digits(at).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""), left - 6, y(at) + 5);
  }
  pen.fillStyle = rgb(colours.ink);
  pen.font = `600 14px ${family}`;
  pen.textAlign = "right";
  pen.fillText(names[0], width - right, height - 6);
  pen.textAlign = "left";
  pen.fillText(names[1], left + 6, top + 12);
  return { pen, x, y, left, right, top, bottom, width, height };
}

// Dots of all shown neurons; the chosen one has a ring and lines to both axes.
function drawDots(plane, dots, chosen, colours) {
  const { pen, x, y } = plane;
  dots.forEach((dot, at) => {
    if (at === chosen) return;
    pen.beginPath();
    pen.arc(x(dot.x), y(dot.y), 4, 0, TAU);
    pen.fillStyle = rgb(dot.act >= 0 ? colours.accent : colours.cool, 0.7);
    pen.fill();
  });
  const dot = dots[chosen];
  pen.strokeStyle = rgb(colours.ink, 0.8);
  pen.lineWidth = 1.5;
  pen.setLineDash([4, 4]);
  pen.beginPath();
  pen.moveTo(x(dot.x), plane.height - plane.bottom);
  pen.lineTo(x(dot.x), y(dot.y));
  pen.lineTo(plane.left, y(dot.y));
  pen.stroke();
  pen.setLineDash([]);
  pen.beginPath();
  pen.arc(x(dot.x), y(dot.y), 8, 0, TAU);
  pen.fillStyle = rgb(dot.act >= 0 ? colours.accent : colours.cool);
  pen.fill();
  pen.lineWidth = 3;
  pen.strokeStyle = rgb(colours.ink);
  pen.stroke();
}

// The curve itself, the dots on it, and below how many neurons stand where.
function drawCurve(canvas, { curve, ends, spread, bars, dots, chosen, names, colours, family }) {
  const width = Math.min(canvas.parentElement.clientWidth, 620), foot = 34;
  const edge = Math.max((spread[1] - spread[0]) / 25, 0.2);
  const xs = [Math.min(spread[0], -2) - edge, Math.max(spread[1], 1.5) + edge];
  const at = (point) => ends[0] + ((ends[1] - ends[0]) * point) / (curve.length - 1);
  const seen = [...curve.keys()].filter((point) => at(point) >= xs[0] && at(point) <= xs[1]);
  const highest = Math.max(...seen.map((point) => curve[point]), ...dots.map((dot) => dot.y));
  const lowest = Math.min(...seen.map((point) => curve[point]), ...dots.map((dot) => dot.y));
  const ys = [lowest - (highest - lowest) * 0.12, highest + (highest - lowest) * 0.1];
  const plane = layAxes(canvas, { width, height: 330, xs, ys, names, colours, family, foot });
  const { pen, x, y } = plane;
  const most = Math.max(...bars), floor = plane.height - plane.bottom + foot;
  const wide = (spread[1] - spread[0]) / bars.length;
  pen.fillStyle = rgb(colours.quiet, 0.55);
  bars.forEach((count, bin) => {
    const start = x(spread[0] + bin * wide), end = x(spread[0] + (bin + 1) * wide);
    const tall = count && Math.max(1.5, (foot - 4) * (count / most));
    pen.fillRect(start, floor - tall, Math.max(end - start - 1, 1), tall);
  });
  pen.beginPath();
  seen.forEach((point, index) => pen[index ? "lineTo" : "moveTo"](x(at(point)), y(curve[point])));
  pen.lineWidth = 3;
  pen.strokeStyle = rgb(colours.ink);
  pen.stroke();
  drawDots(plane, dots, chosen, colours);
  return dots.map((dot) => [x(dot.x), y(dot.y)]);
}

// The other branch across, what comes out upwards: the chosen neuron's gate is the slope of its line.
function drawGate(canvas, { dots, chosen, slope, names, colours, family }) {
  const width = Math.min(canvas.parentElement.clientWidth, 620);
  const reach = (values) => {
    const low = Math.min(...values, 0), high = Math.max(...values, 0), edge = (high - low || 1) * 0.1;
    return [low - edge, high + edge];
  };
  const xs = reach(dots.map((dot) => dot.x)), ys = reach(dots.map((dot) => dot.y));
  const plane = layAxes(canvas, { width, height: 330, xs, ys, names, colours, family });
  const { pen, x, y } = plane;
  pen.save();
  pen.beginPath();
  pen.rect(plane.left, plane.top, plane.width - plane.left - plane.right, plane.height - plane.top - plane.bottom);
  pen.clip();
  pen.beginPath();
  pen.moveTo(x(xs[0]), y(slope * xs[0]));
  pen.lineTo(x(xs[1]), y(slope * xs[1]));
  pen.lineWidth = 3;
  pen.strokeStyle = rgb(colours.ink);
  pen.stroke();
  pen.restore();
  drawDots(plane, dots, chosen, colours);
  return dots.map((dot) => [x(dot.x), y(dot.y)]);
}
