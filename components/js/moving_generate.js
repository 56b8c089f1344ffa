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

// raw: logits from the greatest on; seen: places in it of the tokens that the text holds.
// Returns, for each of STAGE_NAMES, { logits, probs, kept }.
function filters(raw, seen, { temperature, topK, topP, minP, penalty }) {
  let now = raw, order = null;
  const made = [stageOf(raw)];
  const push = (next) => {
    made.push(next === now ? made.at(-1) : stageOf(next));
    now = next;
  };
  push(penalised(now, seen, penalty));
  order = orderOf(now, now === raw ? [] : seen);
  push(cooled(now, temperature, order));
  push(topK ? cutBelow(now, now[order[Math.min(topK, order.length) - 1]]) : now);
  push(topP < 1 ? nucleus(now, made.at(-1).probs, topP, order) : now);
  push(minP > 0 ? cutUnlikely(now, made.at(-1).probs, minP, order) : now);
  return made;
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

const share = (p) => (p >= 0.9995 ? "100%" : p >= 0.1 ? `${(100 * p).toFixed(0)}%` : p >= 0.0005 ? `${(100 * p).toFixed(1)}%` : p > 0 ? "<0.1%" : "0");
const grouped = (count) => count.toLocaleString("en");

// Six panels of bars; the outline is what the filter before has left.
function paintPipeline({ area }) {
  const panels = make("ol", { class: "pipe" });
  area.append(panels);
  let data = null, raw = null, cells = [], stages = [];

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
      panels.replaceChildren();
      build();
    },
    draw(values) {
      stages = filters(raw, data.seen, settingsOf(values));
      const all = stages.map(shown), most = Math.max(...all.flat());
      stages.forEach((stage, at) => {
        const before = all[Math.max(at - 1, 0)];
        cells[at].kept.textContent = fill(data.words.kept, { n: grouped(stage.kept) });
        cells[at].rows.forEach(({ row, bar, ghost, number }, i) => {
          bar.style.width = `${(100 * all[at][i]) / most}%`;
          ghost.style.width = `${(100 * before[i]) / most}%`;
          number.textContent = at < 3 && i < data.names.length - 1 ? stage.logits[i].toFixed(1).replace("-", "−").replace("−Infinity", "×") : share(all[at][i]);
          row.className = all[at][i] > 0 ? "" : "out";
        });
      });
    },
    tell() {
      const end = stages.at(-1);
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
