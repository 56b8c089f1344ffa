// A tree of tokens: from the prompt at the left, one column a token. Where the learner may go on, the alternatives
// stand above it as bars; each is a button. Only a choice asks the server.

const COLUMN = 112, LINE = 58, WIDE = 92, TALL = 50, EDGE = 26;

function drawn(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function buildTree(root) {
  const view = make("div", { class: "view", role: "group" });
  const picks = make("ol", { class: "picks" }), readout = make("p", { class: "readout", "aria-live": "polite" });
  const sheet = make("div", { class: "tree" }), scroll = make("div", { class: "scroll" }, sheet), hint = make("p", { class: "hint" });
  view.append(picks, readout, scroll, hint);
  root.append(view);
  let data = null, hooks = null, nodes = [], spots = [], at = -1;

  // Leaves stand one below the other in the order in which they came; a parent beside its first child.
  function place() {
    const children = data.nodes.map(() => []), first = [];
    data.nodes.forEach(({ parent }, i) => (parent < 0 ? first : children[parent]).push(i));
    spots = data.nodes.map(() => ({ x: 0, y: 0 }));
    let line = 0;
    const stack = first.slice().reverse().map((i) => [i, 0]), path = [];
    const order = [];
    while (stack.length) {
      const [i, depth] = stack.pop();
      order.push(i);
      spots[i].x = depth;
      if (!children[i].length) spots[i].y = line++;
      for (const child of children[i].slice().reverse()) stack.push([child, depth + 1]);
    }
    for (const i of order.reverse()) if (children[i].length) spots[i].y = spots[children[i][0]].y;
    return { lines: Math.max(line, 1), columns: Math.max(0, ...spots.map(({ x }) => x + 1)), first, children };
  }

  const tell = (i) => {
    if (i < 0) return data.words.start;
    const { label, p, total } = data.nodes[i];
    return fill(data.words.node, { token: label, p, total });
  };

  function look(i) {
    at = i;
    nodes.forEach((node, k) => node.setAttribute("tabindex", k === i || (i < 0 && k === 0) ? "0" : "-1"));
    readout.textContent = tell(i);
  }

  function drawTree() {
    const { lines, columns } = place();
    const width = EDGE + columns * COLUMN + 8, height = lines * LINE + 8;
    const lineArt = drawn("svg", { width, height, "aria-hidden": "true" });
    const left = (i) => (i < 0 ? 4 : EDGE + spots[i].x * COLUMN), middle = (i) => (i < 0 ? 4 + TALL / 2 : 4 + spots[i].y * LINE + TALL / 2);
    lineArt.append(drawn("circle", { cx: 10, cy: middle(-1), r: 6, class: "root" }));
    data.nodes.forEach(({ parent, state }, i) => {
      const from = parent < 0 ? 16 : left(parent) + WIDE, bend = (from + left(i)) / 2;
      lineArt.append(drawn("path", {
        d: `M${from} ${middle(parent)}C${bend} ${middle(parent)} ${bend} ${middle(i)} ${left(i)} ${middle(i)}`, class: state,
      }));
    });
    nodes = data.nodes.map(({ label, p, state }, i) => {
      const node = make("button", { class: `node ${state}`, type: "button", tabindex: "-1", "data-node": i });
      node.append(make("bdi", {}, label), make("small", {}, p));
      node.style.left = `${left(i)}px`;
      node.style.top = `${4 + spots[i].y * LINE}px`;
      node.setAttribute("aria-label", tell(i));
      if (state.includes("here")) node.setAttribute("aria-current", "true");
      node.addEventListener("focus", () => look(i));
      node.addEventListener("pointerenter", () => (readout.textContent = tell(i)));
      node.addEventListener("pointerleave", () => (readout.textContent = tell(at)));
      if (data.open) node.addEventListener("click", () => hooks.setTriggerValue("gone", i));
      return node;
    });
    sheet.style.width = `${width}px`;
    sheet.style.height = `${height}px`;
    sheet.replaceChildren(lineArt, ...nodes);
    scroll.hidden = !nodes.length;
    const here = data.nodes.findLastIndex(({ state }) => state.includes("here") || state.includes("won"));
    look(here);
    if (here >= 0 && data.open) scroll.scrollLeft = left(here) - scroll.clientWidth / 2;
  }

  function drawPicks() {
    const most = Math.max(...data.picks.map(({ share }) => share), 1e-9);
    picks.replaceChildren(...data.picks.map(({ label, p, share, taken }, rank) => {
      const bar = make("i"), button = make("button", { type: "button", "data-rank": rank }, bar, make("bdi", {}, label), make("b", {}, p));
      bar.style.width = `${(100 * share) / most}%`;
      if (taken) button.className = "taken";
      button.addEventListener("click", () => hooks.setTriggerValue("picked", [data.at, rank]));
      return make("li", {}, button);
    }));
    picks.hidden = !data.picks.length;
  }

  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const i = nodes.indexOf(event.target);
    if (i < 0) return;
    const { parent } = data.nodes[i], { x, y } = spots[i];
    const beside = (step) => {
      const same = spots.map((spot, k) => [spot, k]).filter(([spot]) => spot.x === x).sort((a, b) => a[0].y - b[0].y).map(([, k]) => k);
      return same[same.indexOf(i) + step];
    };
    const to = {
      ArrowLeft: () => (parent < 0 ? undefined : parent),
      ArrowRight: () => data.nodes.findIndex((node) => node.parent === i),
      ArrowUp: () => beside(-1),
      ArrowDown: () => beside(1),
    }[event.key]?.();
    event.preventDefault();
    if (to !== undefined && to >= 0) nodes[to].focus();
  });

  return {
    update(newData, component) {
      hooks = component;
      if (data && data.id === newData.id) return;
      data = newData;
      view.setAttribute("aria-label", data.words.name);
      hint.textContent = data.words.keys;
      drawPicks();
      drawTree();
    },
    close() {},
  };
}

export default (component) => mount(component, buildTree);
