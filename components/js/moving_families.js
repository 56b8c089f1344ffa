// One layer of a box, every head a thumbnail; the slider says how deep, and each box has its own number of layers.

function paintFamily({ canvas, room }) {
  let data = null, bytes = null, spots = [], size = 0, images = new Map(), colours = null;

  // One small image a head, in the sheet's colours, made when it is first looked at.
  function thumb(at, look) {
    if (!images.has(at)) {
      const S = data.side, tile = new OffscreenCanvas(S, S), pen = tile.getContext("2d");
      const pixels = pen.createImageData(S, S);
      for (let p = 0; p < S * S; p++)
        pixels.data.set([...mix(look.paper, look.accent, bytes[at * S * S + p] / 255).map(Math.round), 255], p * 4);
      pen.putImageData(pixels, 0, 0);
      images.set(at, tile);
    }
    return images.get(at);
  }

  const layerAt = ({ attention_depth: depth }) => data.layerAt[depth];

  return {
    take(newData) {
      data = newData;
      bytes = toBytes(data.thumbs);
      images.clear();
    },
    draw(values, look, over) {
      if (colours !== look) images.clear();
      colours = look;
      const layer = layerAt(values), gap = 8, strip = 20, wide = room();
      size = clamp(Math.floor(wide / data.heads) - gap, 48, 118);
      const rows = Math.ceil(data.heads / clamp(Math.floor((wide + gap) / (size + gap)), 1, data.heads));
      const columns = Math.ceil(data.heads / rows), tall = size + strip + 24;
      const pen = prepare(canvas, columns * (size + gap), rows * tall);
      pen.imageSmoothingEnabled = false;
      spots = [];
      for (let head = 0; head < data.heads; head++) {
        const x = (head % columns) * (size + gap) + 2, y = Math.floor(head / columns) * tall + 20;
        const at = layer * data.heads + head, mark = data.marks[data.roles[at]];
        spots.push([x, y]);
        pen.textAlign = "center";
        pen.font = `600 14px ${look.family}`;
        pen.fillStyle = rgb(look.quiet);
        pen.fillText(`H${head}`, x + size / 2, y - 6);
        pen.drawImage(thumb(at, look), x, y, size, size);
        pen.lineWidth = over?.[1] === head ? 4 : 1.5;
        pen.strokeStyle = rgb(over?.[1] === head ? look.ink : look.quiet);
        pen.strokeRect(x, y, size, size);
        pen.fillStyle = rgb(look.ink);
        pen.font = `700 14px ${look.family}`;
        if (mark) pen.fillText(mark, x + size / 2, y + size + 15);
        if (data.group === 1) continue;
        // Query heads that share one key and value head stand over one line.
        const last = head % data.group === data.group - 1;
        pen.strokeStyle = rgb(look.accent);
        pen.lineWidth = 3;
        stroke(pen, [[x, y + size + strip], [x + size + (last ? 0 : gap), y + size + strip]]);
      }
    },
    tell(values, over) {
      const layer = layerAt(values);
      if (!over) return fill(data.words.told, { layer });
      const at = layer * data.heads + over[1], role = data.names[data.roles[at]];
      return fill(data.words.head, { layer, head: over[1], kv: Math.floor(over[1] / data.group), role, scores: data.scores[at] });
    },
    at(x, y) {
      const found = spots.findIndex(([left, top]) => x >= left && x <= left + size && y >= top && y <= top + size);
      return found < 0 ? null : [0, found];
    },
    size: () => [1, data.heads],
  };
}

export default moving({ family: paintFamily });
