// A picture with sliders of its own: each step is drawn here, from numbers that were sent once. The server hears, a
// moment later, where the learner has settled. Pictures that share a slider's name move together.
//
// A picture is a function of { canvas, area, room, move } that returns (`move(name, value)` moves a slider of its own)
//   take(data)                 new numbers
//   draw(values, look, over)   values: slider's name → number; over: [row, column] that is pointed at, or null
//   tell(values, over)         the picture in one line
//   at(x, y), size()           what lies under the pointer, and [rows, columns]: only where cells can be pointed at

const MOVED = "guide-moved";
const SETTLE_MS = 300;

function buildMoving(root, pictures) {
  const view = make("div", { class: "view", role: "group" });
  const controls = make("div", { class: "controls" }), area = make("div", { class: "moved" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const canvas = make("canvas", { tabindex: "0", role: "application" });
  view.append(controls, readout, area);
  root.append(view);

  const memory = (document.guideMoved ??= {});
  let data = null, picture = null, hooks = null, look = null, seen = "", timer = 0, over = null;
  let values = {}, inputs = {}, shown = {};

  const room = () => area.clientWidth;
  const textOf = (one) => one.places?.[values[one.name] - one.low] ?? String(values[one.name]);

  function draw() {
    if (!data) return;
    look ??= { ...readPalette(view), family: fontOf(view) };
    for (const one of data.sliders.filter(({ own }) => own)) {
      inputs[one.name].value = values[one.name];
      inputs[one.name].setAttribute("aria-valuetext", textOf(one));
      shown[one.name].textContent = textOf(one);
    }
    view.dataset.values = JSON.stringify(values);
    picture?.draw(values, look, over);
    const told = picture?.tell(values, over) ?? "";
    if (readout.textContent !== told) readout.textContent = told;
    readout.hidden = !told;
  }

  // Where room or theme has changed; a picture that has only grown taller stays as it is.
  function refresh() {
    if (!data) return;
    const fresh = { ...readPalette(view), family: fontOf(view) }, now = JSON.stringify([fresh, room()]);
    if (now === seen) return;
    seen = now;
    look = fresh;
    draw();
  }

  function settle() {
    timer = 0;
    const url = new URL(window.location);
    for (const one of data.sliders.filter(({ own }) => own)) url.searchParams.set(one.name, values[one.name]);
    window.history.replaceState(window.history.state, "", url);
    hooks.setStateValue("settled", { ...values });
  }

  function move(name, value) {
    if (values[name] === value) return;
    values[name] = memory[name] = value;
    over = null;
    draw();
    document.dispatchEvent(new CustomEvent(MOVED, { detail: { name, value, from: view } }));
    clearTimeout(timer);
    timer = setTimeout(settle, SETTLE_MS);
  }

  function follow(event) {
    const { name, value, from } = event.detail;
    if (from === view || !(name in values)) return;
    const one = data.sliders.find((slider) => slider.name === name);
    values[name] = clamp(value, one.low, one.high);
    over = null;
    draw();
  }

  function buildControls() {
    controls.replaceChildren();
    [inputs, shown] = [{}, {}];
    for (const one of data.sliders.filter(({ own }) => own)) {
      const input = make("input", { type: "range", name: one.name, min: one.low, max: one.high, step: one.step });
      input.addEventListener("input", () => move(one.name, Number(input.value)));
      inputs[one.name] = input;
      shown[one.name] = make("b");
      controls.append(make("label", {}, make("span", {}, one.label), input, shown[one.name]));
    }
    controls.hidden = !controls.childElementCount;
  }

  function point(cell) {
    if (String(cell) === String(over)) return;
    over = cell;
    draw();
  }
  for (const kind of ["pointermove", "click"])
    canvas.addEventListener(kind, (event) => point(picture.at(...pointAt(event, canvas))));
  for (const kind of ["pointerleave", "blur"]) canvas.addEventListener(kind, () => data && point(null));
  view.addEventListener("keydown", (event) => {
    if (!OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.target !== canvas || !step) return;
    event.preventDefault();
    const [rows, columns] = picture.size();
    const [row, column] = over ?? [0, 0];
    point(over ? [clamp(row + step[0], 0, rows - 1), clamp(column + step[1], 0, columns - 1)] : [0, 0]);
  });
  // Whoever lets a slider go has settled.
  controls.addEventListener("pointerup", () => {
    if (!timer) return;
    clearTimeout(timer);
    settle();
  });
  document.addEventListener(MOVED, follow);
  const unwatch = watch(view, refresh);

  return {
    update(newData, component) {
      hooks = component;
      if (data && data.id === newData.id) return;
      data = newData;
      if (!picture && pictures[data.picture]) {
        picture = pictures[data.picture]({ canvas, area, room, move });
        if (picture.at) area.append(canvas);
      }
      over = null;
      values = Object.fromEntries(
        data.sliders.map(({ name, low, high, start }) => [name, clamp(memory[name] ?? start, low, high)])
      );
      view.setAttribute("aria-label", data.name);
      canvas.setAttribute("aria-label", data.name);
      buildControls();
      picture?.take(data);
      draw();
    },
    close() {
      clearTimeout(timer);
      document.removeEventListener(MOVED, follow);
      unwatch();
    },
  };
}

const moving = (pictures) => (component) => mount(component, (root) => buildMoving(root, pictures));
