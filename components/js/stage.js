// The stage: keys, timer, curtain and the room's link. All of it is the browser's own; the server hears of P alone.

const KEPT = "guide-stage-timer";
const FIELD = "input, textarea, select, [contenteditable], [role=combobox], [role=listbox]";
const MINUTES = 5, MOST_MINUTES = 180;

const make = (name, attributes = {}, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};

// Minutes that are set, and when it ends (milliseconds since 1970; null while it stands still).
function readTimer() {
  try {
    const { minutes, ends } = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    return { minutes: minutes ?? MINUTES, ends: ends ?? null };
  } catch { return { minutes: MINUTES, ends: null }; }
}
const keepTimer = (timer) => sessionStorage.setItem(KEPT, JSON.stringify(timer));

function clock(seconds) {
  const whole = Math.abs(Math.round(seconds));
  return `${seconds < -0.5 ? "−" : ""}${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// The button of the check that is nearest to the middle of the window.
function nearestCheck() {
  const middle = window.innerHeight / 2;
  const far = (one) => { const box = one.getBoundingClientRect(); return Math.abs((box.top + box.bottom) / 2 - middle); };
  return [...document.querySelectorAll('[class*="st-key-run_"] button:not(:disabled)')].sort((a, b) => far(a) - far(b))[0];
}

function build(root) {
  const time = make("span", { class: "time", role: "timer" }), room = make("span", { class: "room" });
  const counts = make("span", { class: "counts" }), keys = make("span", { class: "keys" });
  const bar = make("section", { class: "stage" }, time, room, counts, keys);
  const curtain = make("div", { class: "curtain", role: "img", hidden: "" });
  const code = make("div", { class: "code" }), address = make("div");
  const door = make("div", { class: "door", hidden: "" }, code, address);
  root.append(bar, door, curtain);
  let hooks = null, timer = readTimer();

  function tick() {
    const left = timer.ends === null ? timer.minutes * 60 : (timer.ends - Date.now()) / 1000;
    time.textContent = clock(left);
    time.classList.toggle("over", left <= 0);
    time.setAttribute("aria-label", hooks?.data.words.timer.replace("{minutes}", timer.minutes) ?? "");
  }
  const set = (change) => { timer = { ...timer, ...change }; keepTimer(timer); tick(); };
  const longer = (by) => {
    const minutes = Math.min(Math.max(timer.minutes + by, 1), MOST_MINUTES);
    const ends = timer.ends === null ? null : timer.ends + (minutes - timer.minutes) * 60_000;
    set({ minutes, ends });
  };
  const flip = (one) => { one.hidden = !one.hidden; };
  const turn = (way) => document.querySelector(`.st-key-go_${way} a`)?.click();
  const act = {
    b: () => flip(curtain), ".": () => flip(curtain),
    q: () => { if (hooks.data.link) flip(door); },
    r: () => { const button = nearestCheck(); button?.scrollIntoView({ block: "center" }); button?.click(); },
    t: () => set({ ends: timer.ends === null ? Date.now() + timer.minutes * 60_000 : null }),
    "+": () => longer(1), "=": () => longer(1), "-": () => longer(-1),
    PageDown: () => turn("next"), PageUp: () => turn("previous"),
    Escape: () => { curtain.hidden = door.hidden = true; },
  };
  function press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.target instanceof Element && event.target.closest(FIELD)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "p" && !event.shiftKey) { event.preventDefault(); hooks.setTriggerValue("turn", hooks.data.on ? "off" : "on"); return; }
    if (!hooks.data.on || !act[key] || (event.shiftKey && key !== "+")) return;
    event.preventDefault();
    act[key]();
  }
  document.addEventListener("keydown", press);
  const ticking = setInterval(tick, 500);

  return {
    update(component) {
      hooks = component;
      const { on, link, picture, words, counts: told } = component.data;
      bar.hidden = !on;
      if (!on) curtain.hidden = door.hidden = true;
      bar.setAttribute("aria-label", words.name);
      curtain.setAttribute("aria-label", words.blank);
      room.textContent = address.textContent = link;
      if (code.dataset.link !== link) { code.dataset.link = link; code.innerHTML = picture; }
      counts.textContent = told.join(" · ");
      keys.textContent = words.keys;
      tick();
    },
    close() { document.removeEventListener("keydown", press); clearInterval(ticking); },
  };
}

const stages = new WeakMap();
export default function (component) {
  const root = component.parentElement;
  if (!stages.has(root)) stages.set(root, build(root));
  const stage = stages.get(root);
  stage.update(component);
  return () => {
    if (root.isConnected) return; // newer data has overtaken this call, and is drawn by the next
    stage.close();
    stages.delete(root);
  };
}
