// Shared by the pictures of How it works: a token as a cell, coloured by how much it surprised.

const surpriseGround = (colours, bits, most) => mix(colours.paper, colours.accent, clamp(bits / most, 0, 1));

// bits null: nothing comes before it.
function tokenCell(label, bits, most, colours) {
  const cell = make("span", { class: bits === null ? "cell given" : "cell" }, make("b", {}, label));
  cell.append(make("small", {}, bits === null ? "–" : bits.toFixed(1)));
  paintCell(cell, bits, most, colours);
  return cell;
}

function paintCell(cell, bits, most, colours) {
  if (bits === null) return;
  const ground = surpriseGround(colours, bits, most);
  cell.style.background = rgb(ground);
  cell.style.color = inkOn(ground);
}

// Tokens that share a character stand together under it.
function groupCells(shown, cells) {
  return cells.length === 1 ? cells[0] : make("span", { class: "split" }, make("i", {}, shown), make("div", {}, ...cells));
}

function surpriseLegend(low, high, colours) {
  const bar = make("i");
  bar.style.background = `linear-gradient(to right, ${rgb(colours.paper)}, ${rgb(colours.accent)})`;
  return make("div", { class: "legend" }, make("span", {}, low), bar, make("span", {}, high));
}

const percent = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : p >= 0.001 ? `${(100 * p).toFixed(1)} %` : `${(100 * p).toPrecision(1)} %`);
