// Waves, a learned table's likeness, turning pairs and slopes: what each formula gives for where the sliders stand.

// Vaswani et al. 2017, section 3.5: sine at even dimensions, cosine at odd ones, base^(-2i / d_model) a position.
const bend = (position, pair, d_model, base) => position * base ** ((-2 * pair) / d_model);
const wave = (position, at, d_model, base) =>
  (at % 2 ? Math.cos : Math.sin)(bend(position, Math.floor(at / 2), d_model, base));

const wavesOf = (data, values) =>
  [values.positions_length, values.positions_d_model, data.bases[values.positions_base]];

function paintWaves(stage) {
  const heat = heatOn(stage);
  let data = null, seen = "", table = null;

  return {
    take(newData) { data = newData; },
    draw(values, look, over) {
      const [length, d_model, base] = wavesOf(data, values), now = [length, d_model, base].join();
      if (now !== seen) {
        seen = now;
        table = { rows: length, columns: d_model, at: (i, j) => wave(i, j, d_model, base), top: 1 };
      }
      heat.draw(look, table, { x: data.words.dimension, y: data.words.position, tall: 330, over });
    },
    tell(values, over) {
      const [length, d_model, base] = wavesOf(data, values);
      if (!over) return fill(data.words.told, { length, d_model, base });
      return fill(data.words.cell, { row: over[0], column: over[1], value: wave(...over, d_model, base).toFixed(4) });
    },
    at: heat.at,
    size: heat.size,
  };
}

// Rows of waves have one length, so that their cosine is the mean of the cosines of the angles between them.
function paintAlike(stage) {
  const lines = linesOn(stage);
  let data = null, alike = new Float32Array(1);

  return {
    take(newData) { data = newData; },
    draw(values, look, over) {
      const [length, d_model, base] = wavesOf(data, values), pairs = d_model / 2;
      alike = Float32Array.from({ length }, (_, apart) => {
        let sum = 0;
        for (let pair = 0; pair < pairs; pair++) sum += Math.cos(bend(apart, pair, d_model, base));
        return sum / pairs;
      });
      const low = Math.min(0, ...alike);
      lines.draw(look, [{ values: alike, colour: look.accent, width: 4 }],
        { x: data.words.distance, y: data.words.cosine, range: [low, 1], over });
    },
    tell(_, over) {
      if (over) return fill(data.words.place, { at: over[1], cosine: alike[over[1]].toFixed(3) });
      const last = alike.length - 1;
      return fill(data.words.told, { near: alike[1].toFixed(3), far: alike[last].toFixed(3), last });
    },
    at: lines.at,
    size: lines.size,
  };
}

// A learned table, the row that the others are compared with in a frame.
function paintTable(stage) {
  const heat = heatOn(stage);
  let data = null, rows = null, table = null;

  return {
    take(newData) {
      data = newData;
      rows = toFloats(data.rows);
      const top = rows.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
      table = { rows: data.N, columns: data.dims, at: (i, j) => rows[i * data.dims + j], top };
    },
    draw({ positions_row: row }, look, over) {
      heat.draw(look, table, { x: data.words.dimension, y: data.words.position, tall: 380, row, over });
    },
    tell(_, over) {
      if (!over) return data.words.told;
      return fill(data.words.cell, { row: over[0], column: over[1], value: table.at(...over).toFixed(4) });
    },
    at: heat.at,
    size: heat.size,
  };
}

// How like each row of a learned table is to the chosen one; the table is the same both ways: half of it is sent.
function paintLearned(stage) {
  const lines = linesOn(stage);
  let data = null, half = null, own = null, row = null;

  return {
    take(newData) {
      data = newData;
      half = toFloats(data.cosines);
      row = Float32Array.from({ length: data.N }, () => 0);
    },
    draw(values, look, over) {
      own = values.positions_row;
      for (let j = 0; j < data.N; j++) {
        const [low, high] = own < j ? [own, j] : [j, own];
        row[j] = half[(high * (high + 1)) / 2 + low];
      }
      const { position, cosine } = data.words;
      lines.draw(look, [{ values: row, colour: look.accent, width: 4 }],
        { x: position, y: cosine, range: [Math.min(0, data.low), 1], marked: own, over });
    },
    tell(_, over) {
      if (over) return fill(data.words.place, { row: own, at: over[1], cosine: row[over[1]].toFixed(3) });
      let best = own ? 0 : 1;
      for (let j = 0; j < data.N; j++) if (j !== own && row[j] > row[best]) best = j;
      return fill(data.words.told, { at: own, best, cosine: (row[best] ?? 0).toFixed(3) });
    },
    at: lines.at,
    size: lines.size,
  };
}

// Turn pairs of numbers by position times frequency: [a, b] -> [a cos - b sin, b cos + a sin].
function turn(pairs, frequencies, position) {
  const turned = new Float64Array(pairs.length);
  frequencies.forEach((frequency, at) => {
    const [a, b] = [pairs[2 * at], pairs[2 * at + 1]];
    const [c, s] = [Math.cos(position * frequency), Math.sin(position * frequency)];
    turned[2 * at] = a * c - b * s;
    turned[2 * at + 1] = b * c + a * s;
  });
  return turned;
}

const placesOf = (values) =>
  [values.positions_turn + values.positions_distance, values.positions_turn];
const degrees = (angle) => (((angle * 360) / TAU) % 360 + 540) % 360 - 180;

// A few pairs as hands of clocks: the query's solid, the key's dotted, both of length 1.
function paintClocks({ canvas, room }) {
  let data = null, q = null, k = null, frequencies = null, spots = [], radius = 0, hands = [];

  function hand(pen, x, y, angle, colour, width, dash) {
    pen.strokeStyle = rgb(colour);
    pen.lineWidth = width;
    pen.setLineDash(dash);
    stroke(pen, [[x, y], [x + radius * 0.92 * Math.cos(angle), y - radius * 0.92 * Math.sin(angle)]]);
    pen.setLineDash([]);
  }

  return {
    take(newData) {
      data = newData;
      [q, k, frequencies] = [toFloats(data.q), toFloats(data.k), toFloats(data.frequencies)];
    },
    draw(values, look, over) {
      const [m, n] = placesOf(values);
      const [turnedQ, turnedK] = [turn(q, frequencies, m), turn(k, frequencies, n)];
      const columns = room() > 760 ? data.pairs.length : Math.min(data.pairs.length, 4);
      const wide = Math.min(room() / columns, 170), tall = wide + 30;
      radius = wide / 2 - 9;
      const pen = prepare(canvas, columns * wide, Math.ceil(data.pairs.length / columns) * tall);
      hands = data.pairs.map((pair) => [turnedQ, turnedK].map((one) => Math.atan2(one[2 * pair + 1], one[2 * pair])));
      spots = data.pairs.map((_, at) => [((at % columns) + 0.5) * wide, Math.floor(at / columns) * tall + wide / 2]);
      spots.forEach(([x, y], at) => {
        pen.beginPath();
        pen.arc(x, y, radius, 0, TAU);
        pen.strokeStyle = rgb(over?.[1] === at ? look.ink : look.quiet);
        pen.lineWidth = over?.[1] === at ? 4 : 1.5;
        pen.stroke();
        hand(pen, x, y, hands[at][1], look.cool, 4, [3, 5]);
        hand(pen, x, y, hands[at][0], look.accent, 5, []);
        pen.fillStyle = rgb(look.ink);
        pen.font = `${wide < 110 ? 12 : SIGN}px ${look.family}`;
        pen.textAlign = "center";
        pen.fillText(data.labels[at], x, y + radius + 22);
      });
    },
    tell(values, over) {
      const [m, n] = placesOf(values), at = { m, n, q: data.tokens[0], k: data.tokens[1] };
      if (!over) return fill(data.words.told, at);
      const [ofQ, ofK] = hands[over[1]], told = (angle) => degrees(angle).toFixed(1).replace("-", "−");
      const angles = { q_angle: told(ofQ), k_angle: told(ofK), between: told(ofQ - ofK) };
      return fill(data.words.pair, { ...angles, pair: data.pairs[over[1]] });
    },
    at(x, y) {
      const found = spots.findIndex(([left, top]) => Math.hypot(x - left, y - top) <= radius + 4);
      return found < 0 ? null : [0, found];
    },
    size: () => [1, spots.length],
  };
}

function paintScores(stage) {
  const heat = heatOn(stage);
  let data = null, scores = null, table = null;

  return {
    take(newData) {
      data = newData;
      const [q, k, frequencies] = [toFloats(data.q), toFloats(data.k), toFloats(data.frequencies)];
      const places = [...Array(data.places).keys()];
      const [qs, ks] = [q, k].map((pairs) => places.map((at) => turn(pairs, frequencies, at)));
      scores = qs.map((one) => Float32Array.from(ks, (other) =>
        one.reduce((sum, value, at) => sum + value * other[at], 0) / Math.sqrt(q.length)));
      const top = Math.max(...scores.map((row) => Math.max(...row.map(Math.abs)))) || 1;
      table = { rows: data.places, columns: data.places, at: (i, j) => scores[i][j], top };
    },
    draw(values, look, over) {
      const { query, key } = data.words;
      heat.draw(look, table, { x: key, y: query, square: true, tall: 440, mark: placesOf(values), over });
    },
    tell(values, over) {
      const [m, n] = over ?? placesOf(values), same = [];
      for (let at = 0; at < data.places; at++) {
        const other = scores[at + m - n]?.[at];
        if (other !== undefined) same.push(other);
      }
      const told = (value) => value.toFixed(4).replace("-", "−");
      const ends = { low: told(Math.min(...same)), high: told(Math.max(...same)) };
      return fill(data.words.told, { m, n, distance: Math.abs(m - n), score: told(scores[m][n]), ...ends });
    },
    at: heat.at,
    size: heat.size,
  };
}

// Press et al. 2022: a score is lowered by the head's slope times the distance.
function paintSlopes(stage) {
  const lines = linesOn(stage);
  let data = null, slopes = [];

  return {
    take(newData) { data = newData; },
    draw({ positions_heads: count }, look, over) {
      const before = (count * (count - 1)) / 2, all = toFloats(data.slopes);
      slopes = all.subarray(before, before + count);
      const [steep, flat] = [Math.max(...slopes), Math.min(...slopes)].map(Math.log);
      const series = Array.from(slopes, (slope, head) => ({
        values: Float32Array.from({ length: data.places }, (_, apart) => -slope * apart),
        colour: mix(look.accent, look.cool, steep === flat ? 0 : (steep - Math.log(slope)) / (steep - flat)),
        width: over?.[0] === head ? 6 : 3,
      }));
      const low = -Math.max(...slopes) * (data.places - 1);
      lines.draw(look, series, { x: data.words.distance, y: data.words.bias, range: [low, 0], over, tall: 300 });
    },
    tell(_, over) {
      if (over) {
        const value = (-slopes[over[0]] * over[1]).toFixed(3).replace("-", over[1] ? "−" : "");
        return fill(data.words.place, { head: over[0], at: over[1], value });
      }
      const ends = { steep: Math.max(...slopes).toFixed(4), flat: Math.min(...slopes).toFixed(4) };
      return fill(data.words.told, { n: slopes.length, ...ends });
    },
    at: lines.at,
    size: lines.size,
  };
}

export default moving({
  waves: paintWaves,
  alike: paintAlike,
  table: paintTable,
  learned: paintLearned,
  clocks: paintClocks,
  scores: paintScores,
  slopes: paintSlopes,
});
