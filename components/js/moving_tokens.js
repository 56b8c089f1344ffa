// A sentence on its way to tokens: every step is known, and a step changes one or two words.

function paintSteps({ area }) {
  const row = make("div", { class: "tok-row tok-steps" });
  area.append(row);
  let data = null, steps = [], drawn = [];

  const glyphs = (at) =>
    data.glyphs[at].map(([kind, shown]) => (kind === "text" ? shown : make("span", { class: `tok-${kind}` }, shown)));

  function piece([glyphsAt, state, rank]) {
    const node = make("span", { class: `tok tok-${state}` }, make("bdi", {}, ...glyphs(glyphsAt)));
    if (rank !== null) node.append(make("small", {}, String(rank)));
    return node;
  }

  // Pieces that share a character stand in one frame, under the character.
  function group({ whole, pieces }) {
    if (whole === null) return piece(pieces[0]);
    const name = make("bdi", { class: "tok-whole" }, ...glyphs(whole));
    return make("span", { class: "tok-group" }, name, make("span", {}, ...pieces.map(piece)));
  }

  const word = (state) => make("span", { class: "tok-word" }, ...data.states[state].map(group));

  return {
    take(newData) {
      data = newData;
      steps = [data.first];
      for (const changes of data.changes) {
        const next = steps.at(-1).slice();
        for (const [at, state] of changes) next[at] = state;
        steps.push(next);
      }
      drawn = [];
      row.replaceChildren();
    },
    draw({ tokens_step: step }) {
      const states = steps[step ?? 0];
      if (!drawn.length) row.append(...states.map(word));
      else states.forEach((state, at) => state !== drawn[at] && row.children[at].replaceWith(word(state)));
      drawn = states;
    },
    tell: ({ tokens_step: step }) => data.told[step ?? 0],
  };
}

export default moving({ steps: paintSteps });
