// Every head as a thumbnail, in one canvas: a row a layer, a column a head, its role below it.

function buildGallery(root) {
  const view = make("div", { class: "view" });
  const legend = make("div", { class: "legend" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const canvas = make("canvas", { tabindex: "0", role: "application" });
  view.append(legend, readout, make("div", { class: "scroll" }, canvas));
  root.append(view);

  let data = null, images = [], hovered = null, chosen = 0, only = null, spots = [], perBlock = 1;

  const roleOf = (at) => data.names[data.roles[at]];

  function say() {
    const at = hovered ?? chosen;
    const cell = { layer: Math.floor(at / data.heads), head: at % data.heads };
    readout.textContent = fill(data.words.head, { ...cell, role: roleOf(at), scores: data.scores[at], kv: Math.floor(cell.head / data.group) });
    canvas.dataset.chosen = chosen;
  }

  // One small image a head, in the sheet's colours; drawing a gallery is then only placing them.
  function paint(colours) {
    const bytes = toBytes(data.thumbs), S = data.side;
    images = data.roles.map((_, at) => {
      const tile = new OffscreenCanvas(S, S), pen = tile.getContext("2d"), pixels = pen.createImageData(S, S);
      for (let p = 0; p < S * S; p++) {
        const colour = mix(colours.paper, colours.accent, bytes[at * S * S + p] / 255);
        pixels.data.set([...colour.map(Math.round), 255], p * 4);
      }
      pen.putImageData(pixels, 0, 0);
      return tile;
    });
  }

  function draw(repaint = true) {
    if (!data) return;
    const colours = readPalette(view), family = fontOf(view);
    if (repaint) paint(colours);
    const room = canvas.parentElement.clientWidth, layers = data.roles.length / data.heads;
    const edge = 38, gap = 5, strip = 18, between = 18;
    const sizeIn = (blocks) => Math.floor(((room + between) / blocks - edge - between) / data.heads) - gap;
    let blocks = 1;
    while (blocks < layers && sizeIn(blocks + 1) >= 30) blocks++;
    const size = clamp(sizeIn(blocks), 26, 44);
    const block = edge + data.heads * (size + gap) + between;
    perBlock = Math.ceil(layers / blocks);
    const top = 22, tall = size + strip + gap;
    const pen = prepare(canvas, Math.max(blocks * block, 60), top + perBlock * tall + 8);
    pen.imageSmoothingEnabled = false;
    spots = [];
    for (let at = 0; at < data.roles.length; at++) {
      const layer = Math.floor(at / data.heads), head = at % data.heads;
      const x = Math.floor(layer / perBlock) * block + edge + head * (size + gap);
      const y = top + (layer % perBlock) * tall;
      spots.push([x, y, size, size + strip]);
      pen.font = `600 14px ${family}`;
      pen.textAlign = "center";
      pen.fillStyle = rgb(colours.quiet);
      if (layer % perBlock === 0) pen.fillText(`H${head}`, x + size / 2, 15);
      if (head === 0) {
        pen.textAlign = "right";
        pen.fillText(`L${layer}`, x - 7, y + size / 2 + 5);
      }
      pen.globalAlpha = only === null || only === data.roles[at] ? 1 : 0.18;
      pen.drawImage(images[at], x, y, size, size);
      pen.lineWidth = at === chosen || at === hovered ? 4 : 1.5;
      pen.strokeStyle = rgb(at === hovered || at === chosen ? colours.ink : colours.quiet);
      pen.strokeRect(x, y, size, size);
      const mark = data.marks[data.roles[at]];
      pen.textAlign = "center";
      pen.font = `700 14px ${family}`;
      pen.fillStyle = rgb(colours.ink);
      if (mark) pen.fillText(mark, x + size / 2, y + size + 14);
      pen.globalAlpha = 1;
      if (data.group > 1 && head % data.group === 0) {
        // A bracket below the query heads that share one key and value head.
        pen.strokeStyle = rgb(colours.accent);
        pen.lineWidth = 3;
        pen.beginPath();
        pen.moveTo(x, y + size + strip + 1);
        pen.lineTo(x + data.group * (size + gap) - gap, y + size + strip + 1);
        pen.stroke();
      }
    }
    say();
  }

  function drawLegend() {
    legend.replaceChildren(...data.names.flatMap((name, role) => {
      const count = data.roles.filter((other) => other === role).length;
      if (!count) return [];
      const button = make("button", { type: "button", "aria-pressed": String(only === role) });
      if (data.marks[role]) button.append(make("mark", {}, data.marks[role]));
      button.append(`${name} ${count}`);
      button.addEventListener("click", () => {
        only = only === role ? null : role;
        drawLegend();
        draw(false);
      });
      return [button];
    }));
  }

  function choose(at) {
    chosen = at;
    draw(false);
    tellHead(Math.floor(at / data.heads), at % data.heads, "gallery");
  }

  const cellUnder = (event) => {
    const [x, y] = pointAt(event, canvas);
    const at = spots.findIndex(([left, top, wide, tall]) => x >= left && x <= left + wide && y >= top && y <= top + tall);
    return at < 0 ? null : at;
  };
  canvas.addEventListener("pointermove", (event) => {
    const at = cellUnder(event);
    if (at !== hovered) { hovered = at; draw(false); }
  });
  canvas.addEventListener("pointerleave", () => { hovered = null; draw(false); });
  canvas.addEventListener("click", (event) => {
    const at = cellUnder(event);
    if (at !== null) choose(at);
  });
  canvas.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -data.heads, ArrowDown: data.heads }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = chosen + step;
    if (next >= 0 && next < data.roles.length) choose(next);
  });
  const follow = (event) => {
    const { layer, head, from } = event.detail;
    if (!data || from === "gallery") return;
    const at = layer * data.heads + head;
    if (at >= 0 && at < data.roles.length && at !== chosen) { chosen = at; draw(false); }
  };
  document.addEventListener(HEAD_CHOSEN, follow);
  const unwatch = watch(view, () => draw(true));

  return {
    update(newData) {
      if (data && data.id === newData.id) return;
      data = newData;
      hovered = only = null;
      chosen = Math.min(lastHead().layer * data.heads + lastHead().head, data.roles.length - 1);
      canvas.setAttribute("aria-label", data.words.name);
      drawLegend();
      draw();
    },
    close() {
      document.removeEventListener(HEAD_CHOSEN, follow);
      unwatch();
    },
  };
}

export default (component) => mount(component, buildGallery);
