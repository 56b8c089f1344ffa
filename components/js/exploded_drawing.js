// The exploded drawing: plates on a dashed axis, numbered as in the parts list, and the stream between them.

// Where everything stands for a drawing of this width.
function layOut(data, width) {
  const narrow = width < 400, wide = width >= 540;
  const side = narrow ? 54 : wide ? 88 : 70, half = narrow ? 15 : 21;
  const at = narrow ? { bracket: 5, balloon: 25, bypass: 46, axis: 108, text: 172 }
    : wide ? { bracket: 56, balloon: 88, bypass: 122, axis: 236, text: 344 } : { bracket: 48, balloon: 74, bypass: 101, axis: 188, text: 274 };
  const thick = { attention: 16, feed_forward: 16, embedding: 9, unembedding: 9 };
  const rows = [];
  let y = 8;
  for (const plate of data.plates) {
    if (plate.inside) continue;
    const round = plate.name.startsWith("add_");
    const tall = round ? 34 : 2 * half + (thick[plate.name] ?? 5) + 10;
    rows.push({ plate, round, y, tall, middle: y + (round ? 17 : half + 3), thick: thick[plate.name] ?? 5 });
    y += tall;
    const strip = data.strips[plate.name];
    if (strip) {
      rows.push({ strip, y, tall: 30, middle: y + 15 });
      y += 30;
    }
  }
  return { narrow, side, half, at, rows, width, height: y + 8 };
}

// A flat board seen from a corner: top face and two edges.
function board(pen, x, y, side, half, thick) {
  const top = new Path2D(), edge = new Path2D();
  top.moveTo(x - side, y); top.lineTo(x, y - half); top.lineTo(x + side, y); top.lineTo(x, y + half); top.closePath();
  edge.moveTo(x - side, y); edge.lineTo(x - side, y + thick); edge.lineTo(x, y + half + thick);
  edge.lineTo(x + side, y + thick); edge.lineTo(x + side, y); edge.lineTo(x, y + half); edge.closePath();
  return { top, edge };
}

// A point of the top face: u and v from 0 to 1 along its two edges.
const onTop = (x, y, side, half, u, v) => [x + (u - v) * side, y + (u + v - 1) * half];

function dots(pen, x, y, side, half, rows, columns, size) {
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
    const [px, py] = onTop(x, y, side, half, (i + 1) / (rows + 1), (j + 1) / (columns + 1));
    pen.beginPath();
    pen.ellipse(px, py, size, size * 0.45, 0, 0, TAU);
    pen.stroke();
  }
}

function lines(pen, x, y, side, half, count) {
  pen.beginPath();
  for (let i = 1; i < count; i++) {
    pen.moveTo(...onTop(x, y, side, half, i / count, 0.06));
    pen.lineTo(...onTop(x, y, side, half, i / count, 0.94));
  }
  pen.stroke();
}

// What lies on each kind of board: the table's rows, as many holes as there are heads, a wide field of neurons.
function dress(pen, data, name, x, y, side, half) {
  pen.lineWidth = 1.4;
  if (name === "tokens") lines(pen, x, y, side, half, 4);
  if (name === "embedding" || name === "unembedding") lines(pen, x, y, side, half, 9);
  if (name === "positions" || name === "segments") lines(pen, x, y, side, half, name === "segments" ? 2 : 6);
  if (name === "attention") {
    const columns = Math.ceil(Math.sqrt(data.heads));
    dots(pen, x, y, side, half, Math.ceil(data.heads / columns), columns, Math.min(side / columns / 2.6, 12));
  }
  if (name === "feed_forward") dots(pen, x, y, side, half, 6, 6, side / 26);
  if (name === "softmax") {
    pen.beginPath();
    for (let i = 1; i < 6; i++) {
      const [px, py] = onTop(x, y, side, half, i / 6, 1 - i / 6);
      pen.moveTo(px, py); pen.lineTo(px, py - (half * 1.3) / i);
    }
    pen.stroke();
  }
}

function drawAxis(pen, colours, plan) {
  pen.setLineDash([6, 6]);
  pen.lineWidth = 1.6;
  pen.strokeStyle = rgb(colours.quiet);
  pen.beginPath();
  pen.moveTo(plan.at.axis, 4);
  pen.lineTo(plan.at.axis, plan.height - 4);
  pen.stroke();
  pen.setLineDash([]);
}

function drawBracket(pen, colours, plan, data, family, layer) {
  const inside = plan.rows.filter((row) => row.plate?.block || row.strip?.block);
  const top = inside[0].y, bottom = inside.at(-1).y + inside.at(-1).tall - 4, x = plan.at.bracket;
  pen.strokeStyle = rgb(colours.ink);
  pen.lineWidth = 3;
  pen.beginPath();
  pen.moveTo(x + 8, top); pen.lineTo(x, top); pen.lineTo(x, bottom); pen.lineTo(x + 8, bottom);
  pen.stroke();
  pen.fillStyle = rgb(colours.ink);
  pen.textBaseline = "middle";
  if (plan.narrow) {
    // No room beside it: the rows of the first and the last strip have no balloon.
    pen.textAlign = "left";
    pen.font = `800 15px ${family}`;
    pen.fillText(`${data.layers}×`, x + 5, inside[0].middle);
    pen.fillStyle = rgb(colours.accent);
    pen.fillText(`L${layer}`, x + 5, inside.at(-1).middle - 2);
    return;
  }
  pen.textAlign = "right";
  pen.font = `800 25px ${family}`;
  pen.fillText(`${data.layers}×`, x - 8, (top + bottom) / 2 - 15);
  pen.font = `700 14px ${family}`;
  pen.fillStyle = rgb(colours.accent);
  pen.fillText(`L${layer}`, x - 8, (top + bottom) / 2 + 12);
}

function drawBalloon(pen, colours, family, x, y, reach, number, hot, small) {
  const radius = small ? 11 : 14;
  pen.lineWidth = 1.6;
  pen.strokeStyle = rgb(hot ? colours.accent : colours.ink);
  pen.beginPath();
  pen.moveTo(x + radius, y); pen.lineTo(reach, y);
  pen.stroke();
  pen.beginPath();
  pen.arc(x, y, radius, 0, TAU);
  pen.fillStyle = rgb(hot ? colours.accent : colours.paper);
  pen.fill();
  pen.lineWidth = 2.4;
  pen.stroke();
  pen.fillStyle = hot ? inkOn(colours.accent) : rgb(colours.ink);
  pen.font = `800 ${small ? 13 : 15}px ${family}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(number, x, y + 0.5);
}

function drawPlate(pen, colours, plan, data, family, row, lit, hot) {
  const { plate } = row, { axis, text } = plan.at;
  const face = lit ? mix(colours.paper, colours.accent, 0.28) : colours.paper;
  pen.strokeStyle = rgb(hot ? colours.accent : colours.ink);
  pen.lineJoin = "round";
  let reach = axis - plan.side;
  if (row.round) {
    pen.beginPath();
    pen.arc(axis, row.middle, 13, 0, TAU);
    pen.fillStyle = rgb(face);
    pen.fill();
    pen.lineWidth = 3;
    pen.moveTo(axis - 7, row.middle); pen.lineTo(axis + 7, row.middle);
    pen.moveTo(axis, row.middle - 7); pen.lineTo(axis, row.middle + 7);
    pen.stroke();
    reach = axis - 14;
  } else {
    const wide = plate.name === "feed_forward" ? plan.side * 1.12 : plate.kind === "norm" ? plan.side * 0.78 : plan.side;
    const { top, edge } = board(pen, axis, row.middle, wide, plan.half, row.thick);
    pen.fillStyle = rgb(mix(face, colours.ink, 0.14));
    pen.fill(edge);
    pen.fillStyle = rgb(face);
    pen.fill(top);
    pen.lineWidth = hot ? 3.6 : 2.6;
    pen.stroke(edge);
    pen.stroke(top);
    dress(pen, data, plate.name, axis, row.middle, wide, plan.half);
    if (plate.turns) drawTurn(pen, colours, family, axis + plan.side * 0.98, row.middle + row.thick + 7, data.turns.number);
    reach = axis - wide;
  }
  drawBalloon(pen, colours, family, plan.at.balloon, row.middle, reach, String(plate.number), hot, plan.narrow);
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillStyle = rgb(hot ? colours.accent : colours.ink);
  const room = plan.width - text - 2;
  pen.font = `700 ${plan.narrow ? 14 : plan.side > 80 ? 16 : 15}px ${family}`;
  const more = !row.round && plate.line;
  pen.fillText(fit(pen, plate.title, room), text, row.middle - (more ? 9 : 0));
  if (!more) return;
  pen.fillStyle = rgb(colours.quiet);
  pen.font = `13px ${family}`;
  pen.fillText(fit(pen, plate.line, room), text, row.middle + 10);
}

// Positions that rotate (or lower scores) sit inside attention: their balloon hangs on its edge, an arrow around it.
function drawTurn(pen, colours, family, x, y, number) {
  pen.beginPath();
  pen.arc(x, y, 9.5, 0, TAU);
  pen.fillStyle = rgb(colours.paper);
  pen.fill();
  pen.strokeStyle = rgb(colours.accent);
  pen.lineWidth = 2.4;
  pen.beginPath();
  pen.arc(x, y, 9.5, -1, 4.4);
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x - 7, y - 14); pen.lineTo(x - 2, y - 9.5); pen.lineTo(x - 8, y - 5);
  pen.stroke();
  pen.fillStyle = rgb(colours.ink);
  pen.font = `800 12px ${family}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(String(number), x, y + 0.5);
}

// A state as stripes, one a drawn dimension; as wide as the vector is long, beside the longest of the layer.
function drawStrip(pen, colours, plan, row, values, share, caption, family, alpha) {
  const wide = Math.max((2 * plan.side - 6) * Math.min(share, 1), 12), left = plan.at.axis - wide / 2, tall = 16;
  pen.globalAlpha = alpha;
  pen.fillStyle = rgb(colours.paper);
  pen.fillRect(left, row.middle - tall / 2, wide, tall);
  const each = wide / values.length;
  for (let i = 0; i < values.length; i++) {
    pen.fillStyle = rgb(signColour(colours, values[i]));
    pen.fillRect(left + i * each, row.middle - tall / 2, each + 0.4, tall);
  }
  pen.lineWidth = 2;
  pen.strokeStyle = rgb(row.strip.added ? colours.accent : colours.ink);
  pen.strokeRect(left, row.middle - tall / 2, wide, tall);
  pen.fillStyle = rgb(colours.quiet);
  pen.font = `13px ${family}`;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(fit(pen, caption, plan.width - plan.at.text - 2), plan.at.text, row.middle);
  pen.globalAlpha = 1;
}

// The stream runs past a part and meets it at the plus: both lines as thick as their share.
function drawMeeting(pen, colours, plan, from, part, add, share, alpha) {
  const { bypass, axis } = plan.at;
  pen.globalAlpha = alpha;
  pen.lineJoin = "round";
  pen.strokeStyle = rgb(colours.ink);
  pen.lineWidth = 1.5 + 9 * (1 - share);
  pen.beginPath();
  pen.moveTo(axis - 8, from); pen.lineTo(bypass, from); pen.lineTo(bypass, add); pen.lineTo(axis - 14, add);
  pen.stroke();
  pen.strokeStyle = rgb(colours.accent);
  pen.lineWidth = 1.5 + 9 * share;
  pen.beginPath();
  pen.moveTo(axis, part); pen.lineTo(axis, add - 14);
  pen.stroke();
  pen.globalAlpha = 1;
}

function drawMarker(pen, colours, x, y) {
  pen.beginPath();
  pen.moveTo(x - 11, y - 13); pen.lineTo(x + 11, y - 13); pen.lineTo(x, y + 3); pen.closePath();
  pen.fillStyle = rgb(colours.accent);
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = rgb(colours.paper);
  pen.stroke();
}
