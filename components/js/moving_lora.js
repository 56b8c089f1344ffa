// What an adapter does to one text: at each strength the odds, over those without it, and what is written.

function paintStrength({ area }) {
  const odds = make("ol", { class: "odds" }), texts = make("dl", { class: "texts" });
  area.append(odds, texts);
  let data = null, probs = null, rows = [], written = [];
  const many = () => data.names.length;
  const of = (place, at) => probs[place * many() + at];
  const share = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)}%` : `${(100 * p).toFixed(1)}%`);

  return {
    take(newData) {
      data = newData;
      probs = toFloats(data.probs);
      rows = data.names.map((name) => ({ bar: make("i"), ghost: make("s"), number: make("b"), name: make("bdi", {}, name) }));
      odds.replaceChildren(...rows.map(({ bar, ghost, number, name }) => make("li", {}, name, make("span", {}, bar, ghost), number)));
      written = [0, 1].map(() => make("mark"));
      const lines = [data.words.off, data.words.at].flatMap((name, i) => [make("dt", {}, name), make("dd", {}, make("bdi", {}, data.prompt, written[i]))]);
      texts.replaceChildren(...(data.texts.length ? lines : []));
    },
    draw({ lora_strength: place }) {
      const top = Math.max(...probs) || 1, wide = (p) => `${(100 * p) / top}%`;
      rows.forEach(({ bar, ghost, number }, at) => {
        bar.style.width = wide(of(place, at));
        ghost.style.width = wide(of(0, at));
        number.textContent = share(of(place, at));
      });
      if (data.texts.length) written.forEach((node, i) => { node.textContent = data.texts[i ? place : 0]; });
    },
    tell({ lora_strength: place }) {
      let most = 0;
      for (let at = 1; at < many(); at++) if (Math.abs(of(place, at) - of(0, at)) > Math.abs(of(place, most) - of(0, most))) most = at;
      if (!place) return data.words.none_now;
      return fill(data.words.told, { name: data.names[most], before: share(of(0, most)), after: share(of(place, most)) });
    },
  };
}

export default moving({ strength: paintStrength });
