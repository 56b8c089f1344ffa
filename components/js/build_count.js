// What a plan takes and whether it fits: the formulas of llmkit/parts/count.py and the rules of
// llmkit/assembly/fitting.py, so that a slider needs no server. Tests hold both equal to the Python.

function headDim(plan) {
  return plan.head_dim ?? plan.d_model / plan.n_heads;
}

function nearestDivisor(number, wish, most) {
  let below = Math.min(wish, most, number);
  while (number % below) below -= 1;
  for (let above = wish + 1; above < Math.min(2 * wish - below, most + 1, number + 1); above += 1)
    if (number % above === 0) return above;
  return below;
}

// Every reason why the parts on the bench do not fit: { code, slot, values, mend }.
function misfits(plan, limits) {
  const here = (slot) => !plan.missing.includes(slot), found = [];
  if (here("attention")) {
    const uneven = plan.head_dim === null && plan.d_model % plan.n_heads !== 0;
    if (uneven) {
      const heads = nearestDivisor(plan.d_model, plan.n_heads, limits.n_heads[1]);
      const kv = plan.n_kv_heads === plan.n_heads ? heads : nearestDivisor(heads, plan.n_kv_heads, heads);
      found.push({
        code: "heads", slot: "attention", mend: { n_heads: heads, n_kv_heads: kv },
        values: { d_model: plan.d_model, n_heads: plan.n_heads, rest: plan.d_model % plan.n_heads },
      });
    }
    if (plan.n_heads % plan.n_kv_heads)
      found.push({
        code: "kv_heads", slot: "attention", values: { n_heads: plan.n_heads, n_kv_heads: plan.n_kv_heads },
        mend: { n_kv_heads: nearestDivisor(plan.n_heads, plan.n_kv_heads, plan.n_heads) },
      });
    if (plan.positions === "rotary" && here("positions") && !uneven) {
      const width = headDim(plan), wider = width + 1;
      if (width % 2) {
        const mend = plan.head_dim !== null
          ? { head_dim: wider <= limits.head_dim[1] ? wider : width - 1 }
          : { d_model: plan.n_heads * (plan.n_heads * wider <= limits.d_model[1] ? wider : width - 1) };
        found.push({ code: "rotary", slot: "positions", values: { head_dim: width }, mend });
      } else if (width === 2 && plan.rope_scaling?.kind === "dynamic")
        found.push({ code: "dynamic", slot: "positions", values: { head_dim: width }, mend: { rope_scaling: null } });
    }
    if (plan.positions === "alibi" && here("positions") && !plan.causal)
      found.push({ code: "alibi", slot: "positions", values: {}, mend: { causal: true } });
  }
  if (plan.rope_scaling !== null && plan.positions !== "rotary" && here("positions"))
    found.push({ code: "scaling", slot: "positions", values: {}, mend: { rope_scaling: null } });
  return found;
}

const SLOT_OF = {
  embedding: "embedding", segments: "embedding", positions: "positions", norm_embeddings: "norm", norm_1: "norm",
  attention: "attention", add_1: "attention", norm_2: "norm", feed_forward: "feed_forward", add_2: "feed_forward",
  norm_final: "norm", unembedding: "unembedding", softmax: "unembedding",
};
const IN_BLOCK = new Set(["norm_1", "attention", "add_1", "norm_2", "feed_forward", "add_2"]);

// One row for each part that is on the bench: how often it stands, its parameters, its work for one token (with
// nothing before it, and with the context full), and the numbers that it keeps of each token. Only for what fits.
function countPlan(plan) {
  const D = plan.d_model, V = plan.vocab_size, M = plan.d_mlp, S = plan.max_seq_len;
  const width = headDim(plan), q = plan.n_heads * width, kv = plan.n_kv_heads * width, bit = (on) => (on ? 1 : 0);
  const norm = (size) => (plan.norm === "layer" ? 2 : 1) * size;
  const gated = plan.feed_forward === "swiglu" ? 1 : 0;
  const row = (name, parameters = 0, flops = 0, seen = 0, kept = 0) => ({
    name, places: IN_BLOCK.has(name) ? plan.n_layers : 1, parameters, flops: flops + seen, flopsFull: flops + seen * S, kvNumbers: kept,
  });
  const attention = row(
    "attention",
    D * (q + 2 * kv) + q * D + bit(plan.attention_bias) * (q + 2 * kv) + bit(plan.output_bias) * D + bit(plan.norm_heads) * 2 * norm(width),
    2 * D * (q + 2 * kv) + 2 * q * D, 4 * q, plan.causal ? 2 * kv : 0,
  );
  const feedForward = row("feed_forward", (2 + gated) * D * M + bit(plan.mlp_bias) * ((1 + gated) * M + D), (2 + gated) * 2 * D * M);
  const [norm1, norm2, add1, add2] = [row("norm_1", norm(D)), row("norm_2", norm(D)), row("add_1"), row("add_2")];
  const transform = bit(plan.unembedding_transform);
  const rows = [row("embedding", V * D)];
  if (plan.n_segments) rows.push(row("segments", plan.n_segments * D));
  if (plan.positions === "learned") rows.push(row("positions", S * D));
  if (plan.positions === "sinusoidal") rows.push(row("positions"));
  if (plan.norm_embeddings) rows.push(row("norm_embeddings", norm(D)));
  rows.push(...(plan.norm_order === "pre" ? [norm1, attention, add1, norm2, feedForward, add2] : [attention, add1, norm1, feedForward, add2, norm2]));
  if (plan.norm_final) rows.push(row("norm_final", norm(D)));
  if (plan.unembedding)
    rows.push(
      row("unembedding", bit(!plan.tied) * V * D + transform * (D * D + 3 * D + V), 2 * D * V + transform * 2 * D * D),
      row("softmax"),
    );
  return rows.filter(({ name }) => !plan.missing.includes(SLOT_OF[name]));
}

function totals(rows) {
  const sum = (name) => rows.reduce((all, row) => all + row.places * row[name], 0);
  return { parameters: sum("parameters"), flops: sum("flops"), flopsFull: sum("flopsFull"), kvNumbers: sum("kvNumbers") };
}

// Numbers as people read them.
function short(number) {
  if (number < 1e6) return Math.round(number).toLocaleString("en-US");
  const [size, unit] = number < 1e9 ? [1e6, "M"] : number < 1e12 ? [1e9, "B"] : [1e12, "T"];
  const value = number / size;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
}
function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) { number /= 1024; at += 1; }
  return `${number.toFixed(at === 0 || number >= 100 ? 0 : number < 10 ? 2 : 1)} ${units[at]}`;
}
function flop(number) {
  const units = ["", "k", "M", "G", "T", "P"];
  let at = 0;
  while (number >= 1000 && at < units.length - 1) { number /= 1000; at += 1; }
  return `${number.toFixed(at === 0 || number >= 100 ? 0 : number < 10 ? 2 : 1)} ${units[at]}FLOP`;
}
