// Rows of the table, their neighbours, and how alike the sentence's tokens are, stage by stage.

// The row that the token's id picks, between those above and below it.
function paintRow(stage) {
  const heat = heatOn(stage);
  let data = null, rows = null, chosen = null, table = null;
  const number = (i, j) => rows[data.shown[chosen][i] * data.dims + j];

  return {
    take(newData) {
      data = newData;
      rows = toFloats(data.rows);
      chosen = null;
    },
    draw({ embeddings_token: token }, look, over) {
      if (token !== chosen) {
        chosen = token;
        const count = data.shown[token].length;
        let top = 0;
        for (let i = 0; i < count; i++) for (let j = 0; j < data.dims; j++) top = Math.max(top, Math.abs(number(i, j)));
        table = { rows: count, columns: data.dims, at: number, top: top || 1 };
      }
      const rowNames = data.shown[token].map((at) => data.names[at]);
      heat.draw(look, table, { rowNames, x: data.words.dimension, row: data.rowOf[token], tall: 40 * rowNames.length, over });
    },
    tell({ embeddings_token: token }, over) {
      if (!over) return data.told[token];
      const name = data.names[data.shown[token][over[0]]];
      return fill(data.words.cell, { row: name, dimension: over[1], value: number(...over).toFixed(4) });
    },
    at: heat.at,
    size: heat.size,
  };
}

function paintNear(stage) {
  const bars = barsOn(stage);
  let data = null, cosines = null;
  const of = (token) => cosines.subarray(token * data.most, (token + 1) * data.most);

  return {
    take(newData) {
      data = newData;
      cosines = toFloats(data.cosines);
    },
    draw({ embeddings_token: token, embeddings_near: count }, look, over) {
      bars.draw(look, data.ids[token].slice(0, count).map((at) => data.names[at]), of(token).slice(0, count), over);
    },
    tell({ embeddings_token: token, embeddings_near: count }, over) {
      const name = (at) => data.names[data.ids[token][at]], cosine = (at) => of(token)[at].toFixed(3);
      if (over) return fill(data.words.row, { rank: over[0] + 1, token: name(over[0]), cosine: cosine(over[0]) });
      const ends = { first: name(0), top: cosine(0), last: name(count - 1), low: cosine(count - 1) };
      return fill(data.words.told, { ...ends, token: data.tokens[token], n: count });
    },
    at: bars.at,
    size: bars.size,
  };
}

// The cosine of every token with every other; the table is the same both ways, so that half of it is sent.
function paintLike(stage) {
  const heat = heatOn(stage);
  let data = null, half = null, shown = null, table = null;
  const cosine = (i, j) => {
    const [low, high] = i < j ? [i, j] : [j, i];
    return half[(shown * data.T * (data.T + 1)) / 2 + (high * (high + 1)) / 2 + low];
  };

  return {
    take(newData) {
      data = newData;
      half = toFloats(data.cosines);
      shown = null;
    },
    draw({ embeddings_stage: at }, look, over) {
      if (at !== shown) {
        shown = at;
        table = { rows: data.T, columns: data.T, at: cosine, top: 1 };
      }
      heat.draw(look, table, { rowNames: data.labels, columnNames: data.labels, square: true, tall: 620, over });
    },
    tell({ embeddings_stage: at }, over) {
      if (over) {
        const [i, j] = over;
        return fill(data.words.pair, { one: data.labels[i], other: data.labels[j], cosine: cosine(i, j).toFixed(3) });
      }
      let sum = 0;
      for (let i = 1; i < data.T; i++) for (let j = 0; j < i; j++) sum += cosine(i, j);
      const mean = sum / Math.max((data.T * (data.T - 1)) / 2, 1);
      return fill(data.words.told, { stage: data.stages[at], n: data.T, mean: mean.toFixed(3) });
    },
    at: heat.at,
    size: heat.size,
  };
}

export default moving({ row: paintRow, near: paintNear, like: paintLike });
