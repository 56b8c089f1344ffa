// Guess the next token before the model does. The server hears the score after a few turns and at the end, nothing else.

function buildGame(root) {
  const view = make("div", { class: "view", role: "group" });
  const mine = make("span"), model = make("span", { class: "model" });
  const score = make("div", { class: "score" }, mine, model);
  const strip = make("div", { class: "strip" }), legend = make("div");
  const options = make("div", { class: "options" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const again = make("button", { type: "button" }), rest = make("button", { type: "button" }), hint = make("span");
  view.append(score, strip, options, readout, make("div", { class: "tools" }, rest, again, hint), legend);
  root.append(view);

  let data = null, hooks = null, told = "", at = 0, right = 0, hits = 0, guessed = 0, last = null;

  const buttons = [...Array(4).keys()].map((n) => {
    const label = make("span"), button = make("button", { type: "button" }, make("kbd", {}, String(n + 1)), label);
    button.addEventListener("click", () => guess(n));
    options.append(button);
    return { button, label };
  });

  function guess(n) {
    const turn = data.turns[at];
    if (!turn || n >= turn.options.length) return;
    if (n === turn.right) right += 1;
    if (turn.hit) hits += 1;
    guessed += 1;
    last = { turn, choice: n };
    at += 1;
    draw();
    if (guessed === data.firstTold || at === data.turns.length) tell();
  }

  function tell() {
    hooks?.setStateValue("played", [right, hits, guessed]);
  }

  function start() {
    at = 0; right = 0; hits = 0; guessed = 0; last = null;
    draw();
    buttons[0].button.focus({ preventScroll: true });
  }

  function reveal() {
    last = null;
    at = data.turns.length;
    draw();
    again.focus({ preventScroll: true });
    if (guessed > 0) tell();
  }

  function draw() {
    const { words, turns } = data, colours = readPalette(view);
    mine.textContent = fill(words.mine, { right, n: guessed });
    model.textContent = fill(words.model, { right: hits, n: guessed });
    const cells = turns.slice(0, at).map((turn) => {
      const parts = turn.pieces.map((piece, n) => tokenCell(piece, turn.each[n], data.most, colours));
      return groupCells(turn.shown, parts);
    });
    const over = at >= turns.length;
    strip.replaceChildren(tokenCell(data.first, null, data.most, colours), ...cells);
    if (!over) strip.append(make("span", { class: "cell next" }, make("b", {}, "?")));
    buttons.forEach(({ button, label }, n) => {
      const text = over ? "" : turns[at].options[n] ?? "";
      label.textContent = text;
      button.hidden = !text;
    });
    const lines = [];
    if (last) {
      const { turn, choice } = last;
      const values = { token: turn.shown, bits: turn.bits.toFixed(1), p: percent(2 ** -turn.bits), guess: turn.guess, q: percent(turn.guessP) };
      lines.push(choice === turn.right ? fill(words.right, values) : fill(words.wrong, { ...values, choice: turn.options[choice] }));
      lines.push(fill(turn.hit ? words.hit : words.miss, values));
    }
    if (over && guessed) lines.push(fill(right > hits ? words.won : right < hits ? words.lost : words.tie, { right, hits, n: guessed }));
    if (over) lines.push(words.total);
    readout.textContent = lines.join(" ") || words.start;
    readout.classList.toggle("quiet", !lines.length);
    again.textContent = words.again;
    rest.textContent = words.rest;
    rest.hidden = over;
    again.hidden = at === 0;
    hint.textContent = over ? "" : words.keys;
    legend.replaceChildren(surpriseLegend(words.low, words.high, colours));
    view.dataset.at = at;
    view.dataset.right = right;
    view.dataset.hits = hits;
  }

  view.addEventListener("keydown", (event) => {
    if (OWN_KEYS.has(event.key)) event.stopPropagation();
    if (!/^[1-4]$/.test(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation();
    event.preventDefault();
    guess(Number(event.key) - 1);
  });
  again.addEventListener("click", start);
  rest.addEventListener("click", reveal);
  const unwatch = watch(view, () => data && draw());

  return {
    update(newData, component) {
      hooks = component;
      view.setAttribute("aria-label", newData.words.name);
      if (told === newData.id) return;
      told = newData.id;
      data = newData;
      at = 0; right = 0; hits = 0; guessed = 0; last = null;
      draw();
    },
    close: unwatch,
  };
}

export default (component) => mount(component, buildGame);
