// Charts that the moving pictures share: a table as colours, lines over a number, bars. Row 0 of a table is on top.

const SIGN = 14;
const TICK = 6;

// Round numbers from low to high, at most so many.
function ticks(low, high, most) {
  const rough = (high - low) / Math.max(most, 1) || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}
const short = (value) => String(Number(value.toPrecision(6)));

// Above nothing the accent, below it the cool colour: 513 steps from -1 to 1.
function scaleOf(look) {
  look.scale ??= Array.from({ length: 513 }, (_, at) => {
    const share = (at - 256) / 256;
    return mix(look.paper, share < 0 ? look.cool : look.accent, Math.abs(share)).map(Math.round);
  });
  return look.scale;
}

// One pixel a cell; drawing a table is then only placing it.
function cellImage(look, rows, columns, at, top) {
  const scale = scaleOf(look), tile = new OffscreenCanvas(columns, rows), pen = tile.getContext("2d");
  const pixels = pen.createImageData(columns, rows);
  for (let i = 0, p = 0; i < rows; i++)
    for (let j = 0; j < columns; j++, p += 4) {
      const [r, g, b] = scale[Math.round(clamp(at(i, j) / top, -1, 1) * 256) + 256];
      pixels.data[p] = r;
      pixels.data[p + 1] = g;
      pixels.data[p + 2] = b;
      pixels.data[p + 3] = 255;
    }
  pen.putImageData(pixels, 0, 0);
  return tile;
}

function drawScale(pen, look, x, y, tall, top) {
  const scale = scaleOf(look);
  for (let at = 0; at < tall; at++) {
    pen.fillStyle = rgb(scale[512 - Math.round((512 * at) / tall)]);
    pen.fillRect(x, y + at, 12, 1.5);
  }
  pen.strokeStyle = rgb(look.quiet);
  pen.lineWidth = 1;
  pen.strokeRect(x, y, 12, tall);
  pen.fillStyle = rgb(look.ink);
  pen.font = `${SIGN}px ${look.family}`;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  const sign = Number(top.toPrecision(2));
  for (const [value, height] of [[sign, 0], [0, tall / 2], [-sign, tall]])
    pen.fillText(String(value).replace("-", "−"), x + 17, clamp(y + height, y + 6, y + tall - 6));
}

function titles(pen, look, box, x, y) {
  pen.fillStyle = rgb(look.ink);
  pen.font = `600 ${SIGN}px ${look.family}`;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  if (x) pen.fillText(x, box.x + box.width / 2, box.y + box.height + 38);
  if (!y) return;
  pen.save();
  pen.translate(14, box.y + box.height / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(y, 0, 0);
  pen.restore();
}

// A table of numbers around 0 as colours. One keeps its own image: `table` is what changes it.
function heatOn({ canvas, room }) {
  let box = null, image = null, drawn = null, colours = null;

  // table: { rows, columns, at(i, j), top }; rowNames, columnNames: labels, else numbers with the titles x and y;
  // square: cells as wide as tall; tall: pixels; row: one outlined; mark: a cell in a ring.
  function draw(look, table, { rowNames, columnNames, x, y, square, tall = 380, row, mark, over }) {
    const { rows, columns, top } = table, wide = room();
    if (drawn !== table || colours !== look) {
      image = cellImage(look, rows, columns, table.at, top);
      [drawn, colours] = [table, look];
    }
    const named = rowNames ? clamp(longest(look, rowNames) + 14, 30, clamp(wide * 0.24, 64, 150)) : y ? 62 : 40;
    const above = columnNames ? clamp(longest(look, columnNames) + 14, 30, 92) : 8;
    const below = columnNames ? 8 : x ? 46 : 26;
    let width = Math.max(wide - named - 62, 60), height = tall;
    if (square) {
      const size = Math.max(Math.min(width / columns, tall / rows, 40), 2);
      [width, height] = [size * columns, size * rows];
    }
    box = { x: named, y: above, width, height, rows, columns, cell: width / columns, line: height / rows };
    const pen = prepare(canvas, named + width + 62, above + height + below);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, named, above, width, height);
    pen.strokeStyle = rgb(look.ink);
    pen.lineWidth = 2;
    pen.strokeRect(named, above, width, height);
    drawScale(pen, look, named + width + 12, above, Math.min(height, 180), top);
    drawNames(pen, look, { rowNames, columnNames, over });
    titles(pen, look, box, columnNames ? null : x, rowNames ? null : y);
    const outline = (i, j, many, weight) => {
      pen.strokeStyle = rgb(look.ink);
      pen.lineWidth = weight;
      const pad = box.line < 10 && many > 1 ? 3 : 0; // a frame must not hide the row that it is about
      pen.strokeRect(named + j * box.cell, above + i * box.line - pad, many * box.cell, box.line + 2 * pad);
    };
    if (row !== undefined) outline(row, 0, columns, box.line < 10 ? 2 : 4);
    if (over) outline(over[0], over[1], 1, 3);
    if (mark) {
      const middle = [named + (mark[1] + 0.5) * box.cell, above + (mark[0] + 0.5) * box.line];
      for (const [colour, weight] of [[look.paper, 7], [look.ink, 3.5]]) {
        pen.beginPath();
        pen.arc(...middle, 9, 0, TAU);
        pen.strokeStyle = rgb(colour);
        pen.lineWidth = weight;
        pen.stroke();
      }
    }
  }

  function longest(look, names) {
    const pen = canvas.getContext("2d");
    pen.font = `${SIGN + 1}px ${look.family}`;
    return Math.max(...names.map((name) => pen.measureText(name).width));
  }

  function drawNames(pen, look, { rowNames, columnNames, over }) {
    const { x, y, width, height, rows, columns, cell, line } = box;
    const size = (room) => clamp(room * 0.8, 10, SIGN + 1);
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.font = `${rowNames ? size(line) : SIGN}px ${look.family}`;
    const rowAt = rowNames ? [...rowNames.keys()] : ticks(0, rows - 1, clamp(height / 50, 2, 8));
    if (!rowNames || line >= 10)
      for (const at of rowAt) {
        pen.fillStyle = rgb(over?.[0] === at ? look.accent : look.ink);
        pen.fillText(rowNames ? fit(pen, rowNames[at], x - 10) : short(at), x - TICK, y + (at + 0.5) * line);
      }
    pen.font = `${columnNames ? size(cell) : SIGN}px ${look.family}`;
    pen.textAlign = "center";
    if (!columnNames) {
      for (const at of ticks(0, columns - 1, clamp(width / 70, 2, 12))) {
        pen.fillStyle = rgb(look.ink);
        pen.fillText(short(at), x + (at + 0.5) * cell, y + height + 13);
      }
      return;
    }
    if (cell < 10) return;
    pen.textAlign = "left";
    columnNames.forEach((name, at) => {
      pen.save();
      pen.translate(x + (at + 0.5) * cell, y - TICK);
      pen.rotate(-Math.PI / 2);
      pen.fillStyle = rgb(over?.[1] === at ? look.accent : look.ink);
      pen.fillText(fit(pen, name, 82), 0, 0);
      pen.restore();
    });
  }

  const at = (px, py) => {
    const j = Math.floor((px - box.x) / box.cell), i = Math.floor((py - box.y) / box.line);
    return i >= 0 && j >= 0 && i < box.rows && j < box.columns ? [i, j] : null;
  };
  return { draw, at, size: () => [box.rows, box.columns] };
}

// Lines over the whole numbers 0 to n - 1, the place that is pointed at marked on the nearest line.
function linesOn({ canvas, room }) {
  let box = null, lines = [], count = 0, low = 0, high = 1;
  const px = (at) => box.x + (box.width * at) / Math.max(count - 1, 1);
  const py = (value) => box.y + box.height * (1 - (value - low) / (high - low || 1));

  // series: [{ values, colour, width }]; range: [low, high]; marked: a place on the x axis.
  function draw(look, series, { x, y, range, marked, over, tall = 250 }) {
    [lines, [low, high]] = [series, range];
    count = series[0].values.length;
    box = { x: 70, y: 12, width: Math.max(room() - 90, 60), height: tall };
    const pen = prepare(canvas, box.x + box.width + 20, box.y + tall + 48);
    pen.font = `${SIGN}px ${look.family}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    pen.fillStyle = rgb(look.ink);
    pen.strokeStyle = rgb(look.quiet, 0.35);
    pen.textAlign = "right";
    for (const value of ticks(low, high, 5)) {
      pen.fillText(short(value).replace("-", "−"), box.x - TICK, py(value));
      stroke(pen, [[box.x, py(value)], [box.x + box.width, py(value)]]);
    }
    pen.textAlign = "center";
    for (const at of ticks(0, count - 1, clamp(box.width / 70, 2, 12))) pen.fillText(short(at), px(at), box.y + tall + 14);
    titles(pen, look, box, x, y);
    if (marked !== undefined) {
      pen.strokeStyle = rgb(look.quiet);
      pen.lineWidth = 2;
      pen.setLineDash([6, 5]);
      stroke(pen, [[px(marked), box.y], [px(marked), box.y + tall]]);
      pen.setLineDash([]);
    }
    pen.lineJoin = "round";
    for (const { values, colour, width } of series) {
      pen.strokeStyle = rgb(colour);
      pen.lineWidth = width;
      stroke(pen, Array.from(values, (value, at) => [px(at), py(value)]));
    }
    if (over) {
      pen.beginPath();
      pen.arc(px(over[1]), py(series[over[0]].values[over[1]]), 7, 0, TAU);
      pen.fillStyle = rgb(look.paper);
      pen.fill();
      pen.strokeStyle = rgb(look.ink);
      pen.lineWidth = 3;
      pen.stroke();
    }
  }

  const at = (x, y) => {
    const place = Math.round(((x - box.x) / box.width) * (count - 1));
    if (place < 0 || place >= count) return null;
    const apart = lines.map(({ values }) => Math.abs(py(values[place]) - y));
    return [apart.indexOf(Math.min(...apart)), place];
  };
  return { draw, at, size: () => [lines.length, count] };
}

function stroke(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

// Numbers from -1 to 1 as bars from left to right, the first on top.
function barsOn({ canvas, room }) {
  const line = 31;
  let rows = 0;

  function draw(look, names, values, over) {
    rows = values.length;
    const wide = room(), named = clamp(wide * 0.24, 90, 190), low = Math.min(0, ...values);
    const width = wide - named - 66, zero = named + (width * -low) / (1 - low);
    const pen = prepare(canvas, wide, rows * line + 6);
    pen.textBaseline = "middle";
    for (let at = 0; at < rows; at++) {
      const y = 3 + at * line, long = (width * values[at]) / (1 - low), end = zero + long;
      pen.fillStyle = rgb(over?.[0] === at ? look.ink : look.accent);
      pen.fillRect(Math.min(zero, end), y + 4, Math.abs(long), line - 8);
      pen.fillStyle = rgb(look.ink);
      pen.font = `${over?.[0] === at ? 700 : 400} 16px ${look.family}`;
      pen.textAlign = "right";
      pen.fillText(fit(pen, names[at], named - 12), named - 10, y + line / 2);
      pen.textAlign = "left";
      pen.fillText(values[at].toFixed(3).replace("-", "−"), Math.max(zero, end) + 8, y + line / 2);
    }
    pen.strokeStyle = rgb(look.ink);
    pen.lineWidth = 2;
    stroke(pen, [[zero, 0], [zero, rows * line + 6]]);
  }

  const at = (_, y) => (y >= 3 && y < 3 + rows * line ? [Math.floor((y - 3) / line), 0] : null);
  return { draw, at, size: () => [rows, 1] };
}
