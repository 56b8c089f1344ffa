// The cliff: what is lost, the more is gone, in both orders; and what is gone, cell by cell.

const ORDER_NAMES = ["size", "importance"];
const NEVER_GONE = 255;
const percent = (share) => `${Math.round(100 * share)} %`;
const grouped = (value) => value.toLocaleString("en-US");
const digits = (value) => value.toPrecision(4).replace("-", "−");

// A value at each whole percent, straight from point to point.
function between(shares, values) {
  const last = Math.round(100 * shares[values.length - 1]), found = new Float32Array(last + 1);
  for (let at = 0, step = 0; at <= last; at++) {
    while (step < values.length - 2 && at > Math.round(100 * shares[step + 1])) step++;
    const from = Math.round(100 * shares[step]), to = Math.round(100 * shares[Math.min(step + 1, values.length - 1)]);
    const part = to > from ? (at - from) / (to - from) : 0;
    found[at] = values[step] + part * (values[Math.min(step + 1, values.length - 1)] - values[step]);
  }
  return found;
}

function paintCliff({ canvas, area, room }) {
  const chart = linesOn({ canvas, room });
  const written = ORDER_NAMES.map((order) => make("p", { class: `written ${order}` }, make("b"), make("span")));
  let data = null, lines = [], range = [0, 1];
  const stepOf = (values) => values[data.slider];

  return {
    take(newData) {
      data = newData;
      lines = ORDER_NAMES.map((order) => between(data.shares, data[order]));
      const all = ORDER_NAMES.flatMap((order) => data[order]);
      const low = Math.min(...all), high = Math.max(...all), pad = 0.04 * (high - low || 1);
      range = [low - pad, high + pad];
      written.forEach((node) => area.append(node));
    },
    draw(values, look) {
      const step = stepOf(values), at = Math.round(100 * data.shares[step]);
      const series = [
        { values: lines[0], colour: look.quiet, width: 4 },
        { values: lines[1], colour: look.accent, width: 4 },
      ];
      chart.draw(look, series, { x: data.words.x, y: data.words.y, range, marked: at, over: [1, at] });
      written.forEach((node, order) => {
        node.firstChild.textContent = data.words[ORDER_NAMES[order]];
        node.lastChild.textContent = data.texts[ORDER_NAMES[order]][step];
      });
    },
    tell(values) {
      const step = stepOf(values);
      return fill(data.words.told, {
        share: percent(data.shares[step]), size: digits(data.size[step]),
        importance: digits(data.importance[step]), first: digits(data.size[0]),
      });
    },
    at: () => null,
    size: () => [1, data.shares.length],
  };
}

function paintGone({ canvas, room }) {
  let data = null, values = null, gone = [], top = 1, spots = [];
  const stepOf = (places) => places[data.slider];
  const isGone = (panel, cell, step) => gone[panel][cell] !== NEVER_GONE && gone[panel][cell] <= step;

  // A cell that is gone is paper; one that stays is never quite.
  function imageOf(look, panel, step) {
    const tile = new OffscreenCanvas(data.columns, data.rows), pen = tile.getContext("2d");
    const pixels = pen.createImageData(data.columns, data.rows);
    for (let cell = 0; cell < values.length; cell++) {
      const share = 0.3 + 0.7 * Math.sqrt(Math.min(Math.abs(values[cell]) / top, 1));
      const colour = isGone(panel, cell, step) ? look.paper : mix(look.paper, values[cell] < 0 ? look.cool : look.accent, share);
      pixels.data.set([...colour.map(Math.round), 255], cell * 4);
    }
    pen.putImageData(pixels, 0, 0);
    return tile;
  }

  return {
    take(newData) {
      data = newData;
      values = toFloats(data.values);
      gone = [data.gone, data.goneImportance].filter(Boolean).map(toBytes);
      top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    },
    draw(places, look, over) {
      const step = stepOf(places), space = 18, head = 26, wide = room() - 4;
      const side = gone.length > 1 && wide > 640, each = side ? (wide - space) / 2 : wide;
      const cell = Math.min(each / data.columns, 30), width = cell * data.columns;
      const tall = clamp(cell, 4, 30) * data.rows, room_y = head + tall + 12;
      const pen = prepare(canvas, wide + 4, side ? room_y : room_y * gone.length);
      spots = [];
      gone.forEach((_, panel) => {
        const x = 2 + (side ? panel * (each + space) : 0), y = head + (side ? 0 : panel * room_y);
        pen.fillStyle = rgb(look.ink);
        pen.font = `600 15px ${look.family}`;
        pen.textAlign = "left";
        pen.textBaseline = "alphabetic";
        pen.fillText(fit(pen, data.words[ORDER_NAMES[panel]], each), x, y - 9);
        pen.imageSmoothingEnabled = cell < 1;
        pen.drawImage(imageOf(look, panel, step), x, y, width, tall);
        pen.strokeStyle = rgb(look.ink);
        pen.lineWidth = 2;
        pen.strokeRect(x, y, width, tall);
        spots.push([x, y, width, tall]);
        if (!over) return;
        const line = tall / data.rows;
        pen.lineWidth = 3;
        pen.strokeRect(x + over[1] * cell - 2, y + over[0] * line - 2, cell + 4, line + 4);
      });
    },
    tell(places, over) {
      const step = stepOf(places);
      if (over) {
        const cell = over[0] * data.columns + over[1];
        const from = gone.map((steps) => (steps[cell] === NEVER_GONE ? data.words.never : percent(data.shares[steps[cell]])));
        const words = from.map((one, panel) => fill(data.words.from, { order: data.words[ORDER_NAMES[panel]], from: one }));
        return [fill(data.words.cell, { row: over[0], column: over[1], value: digits(values[cell]) }), ...words].join(data.words.and);
      }
      let zero = 0;
      for (let cell = 0; cell < values.length; cell++) zero += isGone(0, cell, step);
      return fill(data.words.told, { share: percent(data.shares[step]), gone: grouped(zero), all: grouped(values.length) });
    },
    at(x, y) {
      const found = spots.find(([left, above, wide, tall]) => x >= left && y >= above && x < left + wide && y < above + tall);
      if (!found) return null;
      const [left, above, wide, tall] = found;
      return [Math.floor(((y - above) / tall) * data.rows), Math.floor(((x - left) / wide) * data.columns)];
    },
    size: () => [data.rows, data.columns],
  };
}

export default moving({ cliff: paintCliff, gone: paintGone });
