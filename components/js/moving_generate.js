// From one set of logits to the odds of the next token, filter by filter; and what a length costs. The filters compute
// in single precision, as the model's own do, so that page and generation keep the same tokens.

const STAGE_NAMES = ["raw", "repetition", "temperature", "top_k", "top_p", "min_p"];
const OUT = -Infinity;

// A slider's whole number stands for hundredths, but for the count that top-k keeps.
const settingsOf = (values) => ({
  temperature: values.generate_temperature / 100,
  topK: values.generate_top_k,
  topP: values.generate_top_p / 100,
  minP: values.generate_min_p / 100,
  penalty: values.generate_penalty / 100,
});

// raw: logits from the greatest on; seen: places in it of the tokens that the text holds; before: what this has
// returned for other settings. Returns { settings, order, stages }: for each of STAGE_NAMES { logits, probs, kept }.
// What comes before the first filter that is set otherwise stays as it was.
function filters(raw, seen, settings, before = null) {
  const { temperature, topK, topP, minP, penalty } = settings;
  const same = (...names) => before && names.every((name) => before.settings[name] === settings[name]);
  const stages = [before ? before.stages[0] : stageOf(raw)];
  const push = (next) => stages.push(next === stages.at(-1).logits ? stages.at(-1) : stageOf(next));
  let order = before?.order;
  if (same("penalty")) stages.push(before.stages[1]);
  else {
    push(penalised(raw, seen, penalty));
    order = orderOf(stages[1].logits, stages[1] === stages[0] ? [] : seen);
  }
  if (same("penalty", "temperature")) stages.push(before.stages[2]);
  else push(cooled(stages[1].logits, temperature, order));
  const logits = () => stages.at(-1).logits, probs = () => stages.at(-1).probs;
  push(topK ? cutBelow(logits(), logits()[order[Math.min(topK, order.length) - 1]]) : logits());
  push(topP < 1 ? nucleus(logits(), probs(), topP, order) : logits());
  push(minP > 0 ? cutUnlikely(logits(), probs(), minP, order) : logits());
  return { settings, order, stages };
}

function stageOf(logits) {
  const probs = new Float32Array(logits.length);
  let top = OUT, sum = 0, kept = 0;
  for (const logit of logits) if (logit > top) top = logit;
  for (let at = 0; at < logits.length; at++) {
    if (logits[at] === OUT) continue;
    kept++;
    sum += probs[at] = Math.exp(logits[at] - top);
  }
  for (let at = 0; at < probs.length; at++) probs[at] /= sum;
  return { logits, probs, kept };
}

function penalised(logits, seen, penalty) {
  if (penalty === 1 || !seen.length) return logits;
  const next = logits.slice(), by = Math.fround(penalty);
  for (const at of seen) next[at] = logits[at] < 0 ? logits[at] * by : logits[at] / by;
  return next;
}

// Places from the likeliest on: what the penalty has not touched still stands in order.
function orderOf(logits, touched) {
  const places = Uint32Array.from({ length: logits.length }, (_, at) => at);
  if (!touched.length) return places;
  const pushed = new Set(touched), moved = [...pushed].sort((a, b) => logits[b] - logits[a]);
  let into = 0, next = 0;
  for (let at = 0; at < logits.length; at++) {
    if (pushed.has(at)) continue;
    while (next < moved.length && logits[moved[next]] > logits[at]) places[into++] = moved[next++];
    places[into++] = at;
  }
  while (next < moved.length) places[into++] = moved[next++];
  return places;
}

function cooled(logits, temperature, order) {
  if (temperature === 1) return logits;
  if (temperature === 0) {
    const next = new Float32Array(logits.length).fill(OUT);
    next[order[0]] = logits[order[0]];
    return next;
  }
  const by = Math.fround(temperature);
  return logits.map((logit) => logit / by);
}

function cutBelow(logits, least) {
  return logits.map((logit) => (logit < least ? OUT : logit));
}

// The least likely go first, as long as what they sum up to is not more than 1 - p; the likeliest stays.
function nucleus(logits, probs, topP, order) {
  const next = logits.slice(), share = Math.fround(1 - topP);
  let sum = 0;
  for (let rank = order.length - 1; rank > 0; rank--) {
    sum += probs[order[rank]];
    if (Math.fround(sum) > share) break;
    next[order[rank]] = OUT;
  }
  return next;
}

function cutUnlikely(logits, probs, minP, order) {
  const least = Math.fround(Math.fround(minP) * probs[order[0]]);
  return logits.map((logit, at) => (probs[at] < least ? OUT : logit));
}

const written = (logit) => (logit === OUT ? "×" : logit.toFixed(1).replace("-", "−"));
function share(p) {
  if (p <= 0) return "0";
  if (p < 0.0005) return "<0.1%";
  return `${(100 * p).toFixed(p >= 0.0995 ? 0 : 1)}%`;
}
const grouped = (count) => count.toLocaleString("en");

// Six panels of bars; the outline is what the filter before has left.
function paintPipeline({ area }) {
  const panels = make("ol", { class: "pipe" });
  area.append(make("div", { class: "pipe-room" }, panels));
  let data = null, raw = null, cells = [], found = null;

  function build() {
    cells = STAGE_NAMES.map((name, at) => {
      const kept = make("small"), rows = data.names.map((label) => {
        const bar = make("i"), ghost = make("s"), number = make("b");
        const row = make("li", {}, ghost, bar, make("bdi", {}, label), number);
        return { row, bar, ghost, number };
      });
      const head = make("h3", {}, make("span", {}, String(at)), data.stages[at]);
      panels.append(make("li", { class: `stage-${name}` }, head, kept, make("ol", {}, ...rows.map(({ row }) => row))));
      return { kept, rows };
    });
  }

  // One more row stands for all tokens that have none.
  const shown = (stage) => {
    const rows = data.names.length - 1, probs = Array.from(stage.probs.subarray(0, rows));
    const rest = Math.max(0, 1 - probs.reduce((sum, p) => sum + p, 0));
    return [...probs, rest < 1e-6 ? 0 : rest];
  };

  return {
    take(newData) {
      data = newData;
      raw = toFloats(data.logits);
      found = null;
      panels.replaceChildren();
      build();
    },
    draw(values) {
      found = filters(raw, data.seen, settingsOf(values), found);
      const { stages } = found;
      const all = stages.map(shown), rows = data.names.length - 1;
      const most = Math.max(...all.flatMap((shares) => shares.slice(0, rows))), wide = (p) => `${Math.min(100, (100 * p) / most)}%`;
      stages.forEach((stage, at) => {
        const before = all[Math.max(at - 1, 0)];
        cells[at].kept.textContent = fill(data.words.kept, { n: grouped(stage.kept) });
        cells[at].rows.forEach(({ row, bar, ghost, number }, i) => {
          bar.style.width = wide(all[at][i]);
          ghost.style.width = wide(before[i]);
          number.textContent = at < 3 && i < rows ? written(stage.logits[i]) : share(all[at][i]);
          row.className = all[at][i] > 0 ? "" : "out";
        });
      });
    },
    tell() {
      const { stages } = found, end = stages.at(-1);
      let best = 0;
      for (let at = 1; at < end.probs.length; at++) if (end.probs[at] > end.probs[best]) best = at;
      const name = best < data.names.length - 1 ? data.names[best] : data.words.other;
      return fill(data.words.told, {
        token: name, before: share(stages[0].probs[best]), after: share(end.probs[best]), kept: grouped(end.kept), all: grouped(raw.length),
      });
    },
  };
}

// The context as one line: what is read, what is to be written, what is left; too long wears the sign.
function paintLength({ area }) {
  const read = make("i", { class: "read" }), write = make("i", { class: "write" }), left = make("i", { class: "left" });
  const sign = make("span", { class: "no", hidden: "" }), costs = make("dl", { class: "costs" });
  const line = make("div", { class: "context" }, read, write, left);
  area.append(make("div", { class: "length" }, sign, make("div", {}, line, costs)));
  let data = null;

  const many = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  function costsOf(values) {
    const asked = values.generate_length, count = Math.min(asked, data.limit - data.prompt + 1);
    const left = Math.max(data.limit - data.prompt - count, 0);
    const time = data.speed ? `${(data.speed[1] + (count - 1) / data.speed[0]).toFixed(1)} s` : data.words.unmeasured;
    return { asked, count, left, time, bytes: many(data.kv * (data.prompt + count - 1)), prompt: data.prompt, limit: data.limit };
  }

  return {
    take(newData) {
      data = newData;
      line.setAttribute("aria-hidden", "true");
    },
    draw(values) {
      const found = costsOf(values), span = Math.min(data.limit, Math.max(data.prompt + data.most, 1)), part = (n) => `${(100 * n) / span}%`;
      read.style.width = part(data.prompt);
      write.style.width = part(found.count);
      left.style.width = part(Math.max(span - data.prompt - found.count, 0));
      sign.hidden = found.asked <= data.band[1];
      write.className = sign.hidden ? "write" : "write long";
      costs.replaceChildren(...["count", "time", "bytes", "left"].map((name) =>
        make("div", {}, make("dt", {}, data.words[name]), make("dd", {}, typeof found[name] === "number" ? grouped(found[name]) : found[name]))));
    },
    tell(values) {
      const found = costsOf(values);
      const told = found.count < found.asked ? "full" : found.asked > data.band[1] ? "long" : found.asked < data.band[0] ? "brief" : "good";
      return fill(data.words[told], { ...found, low: data.band[0], high: data.band[1] });
    },
  };
}

export default moving({ pipeline: paintPipeline, length: paintLength });
