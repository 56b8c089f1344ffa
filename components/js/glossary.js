// The glossary in the browser: the first mention of each term is underlined, hovering or tapping explains it, and the
// key ? opens all of them. GLOSSARY, the list of entries, is put in front of this file when the component is made.
//
// The sheet's text belongs to Streamlit. It is only read: marks are ranges of CSS.highlights, which change no element.

const HIGHLIGHT = "glossary";
const STILL_MS = 350;
const SHOW_MS = 150;
const HIDE_MS = 300;
const READ = [
  ".sheet-head .sheet-title p:last-child", ".kit .parts td:first-child", ".kit .do li > span:last-child", "p.note",
  ".warning p", '[data-testid="stHeading"] h2', '[data-testid="stCaptionContainer"] p', ".tok-note",
].join();
const SKIP = "a, button, label, summary, code, pre, input, textarea, svg, iframe";
const FIELD = 'input, textarea, select, [contenteditable=""], [contenteditable="true"]';
const isChinese = (text) => /[\u3400-\u9fff]/.test(text);
const plain = (text) => text.normalize("NFKC").toLowerCase();

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// ---- Finding terms in text -----------------------------------------------------------------------------------------

// A finder knows one pattern for all marks of a page, the longest first, and whose each mark is: a term of the page's
// own step wins over one of another step.
function makeFinder(lang, slug) {
  const owners = new Map();
  for (const term of GLOSSARY) {
    if (term.pages.length && !term.pages.includes(slug)) continue;
    for (const mark of term.marks) {
      if (isChinese(mark) && lang === "en") continue;
      const before = owners.get(mark.toLowerCase());
      if (!before || (before.term.step !== slug && term.step === slug)) owners.set(mark.toLowerCase(), { term, mark });
    }
  }
  const escape = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const marks = [...owners.values()].map(({ mark }) => mark).sort((a, b) => b.length - a.length);
  const pattern = new RegExp(
    marks.map((mark) => (isChinese(mark) ? escape(mark) : `(?<![\\w-])${escape(mark)}(?:s|es)?(?![\\w-])`)).join("|"), "giu");
  const strict = (mark) => mark.length < 3 || mark !== mark.toLowerCase();
  const ownerOf = (text) => {
    for (const tail of ["", "s", "es"]) {
      if (tail && !text.endsWith(tail)) continue;
      const bare = tail ? text.slice(0, -tail.length) : text;
      const owner = owners.get(bare.toLowerCase());
      if (owner && (!strict(owner.mark) || owner.mark === bare)) return owner.term;
    }
    return null;
  };
  return function* find(text) {
    for (const match of text.matchAll(pattern)) {
      const term = ownerOf(match[0]);
      if (term) yield { term, start: match.index, end: match.index + match[0].length };
    }
  };
}

// Read the sheet and return where each term stands first: term -> its text node, from where to where.
function readSheet(find) {
  const mentions = new Map();
  for (const element of document.querySelectorAll(READ)) {
    if (element.closest("details:not([open])") || !element.checkVisibility()) continue;
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest(SKIP)) continue;
      for (const { term, start, end } of find(node.data)) {
        if (!mentions.has(term)) mentions.set(term, { term, node, start, end });
      }
    }
  }
  return mentions;
}

function rangeOf({ node, start, end }) {
  const range = document.createRange();
  range.setStart(node, start);
  range.setEnd(node, end);
  return range;
}

// ---- One entry as elements -----------------------------------------------------------------------------------------

const columns = (term, lang) => (lang === "en"
  ? { name: term.en, means: term.en_means, other: term.zh, otherMeans: term.zh_means, otherLang: "zh-Hant-TW" }
  : { name: term.zh, means: term.zh_means, other: term.en, otherMeans: term.en_means, otherLang: "en" });

function heading(term, lang, id) {
  const { name, other, otherLang } = columns(term, lang);
  const head = make("h2", id ? { id } : {}, name);
  if (other !== name) head.append(" ", make("span", { lang: otherLang }, other));
  if (term.symbol && term.symbol !== name && term.symbol !== other) head.append(" ", make("code", {}, term.symbol));
  return head;
}

// The slug of the step that the address names; the first step is the front door. The component is not told, so that
// its message is the same for every page and is sent once.
function currentStep(data) {
  const last = window.location.pathname.split("/").pop();
  return Object.keys(data.steps).find((slug) => data.steps[slug].path === last) ?? Object.keys(data.steps)[0];
}

// A link to the step that teaches the term, null when that is this one. Streamlit's own link turns the page without
// losing what has been done.
function stepLink(term, data, leave) {
  const step = data.steps[term.step];
  if (!step || term.step === currentStep(data)) return null;
  const target = new URL(window.location.pathname.replace(/[^/]*$/, step.path), window.location.origin);
  for (const name of ["lang", "box", "sentence"]) {
    const value = new URLSearchParams(window.location.search).get(name);
    if (value !== null) target.searchParams.set(name, value);
  }
  const link = make("a", { class: "step", href: target.href }, step.label);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    leave();
    const own = [...document.querySelectorAll('a[data-testid="stSidebarNavLink"]')]
      .find((one) => new URL(one.href).pathname.replace(/\/$/, "") === target.pathname.replace(/\/$/, ""));
    if (own) { event.preventDefault(); own.click(); }
  });
  return link;
}

function namesTable(term, words, families) {
  const rows = Object.entries(term.names);
  if (!rows.length) return null;
  const table = make("table", {}, make("caption", {}, words.names));
  for (const [field, byFamily] of rows) {
    const cell = make("td");
    for (const [family, name] of Object.entries(byFamily)) cell.append(make("span", {}, `${families[family]} `, make("code", {}, name)), " ");
    table.append(make("tr", {}, make("th", { scope: "row" }, make("code", {}, field)), cell));
  }
  return table;
}

// ---- The popover beside a term -------------------------------------------------------------------------------------

function makePopover(data, { leave, more }) {
  const box = make("div", { class: "hint", popover: "manual", role: "dialog", "aria-labelledby": "hint-name" });
  let shown = null;
  const hide = () => {
    if (shown && box.isConnected) box.hidePopover();
    shown = null;
  };
  function show(term, place) {
    if (shown === term) return;
    hide();
    const foot = make("p", { class: "foot" });
    const link = stepLink(term, data, () => { hide(); leave(); });
    if (link) foot.append(link);
    const all = make("button", { type: "button" }, data.words.more);
    all.addEventListener("click", () => { hide(); more(term); });
    foot.append(all);
    box.replaceChildren(heading(term, data.lang, "hint-name"), make("p", {}, columns(term, data.lang).means), foot);
    box.showPopover();
    shown = term;
    const own = box.getBoundingClientRect();
    const left = Math.max(8, Math.min(place.left, window.innerWidth - own.width - 8));
    const below = place.bottom + 6;
    const top = below + own.height > window.innerHeight - 8 ? Math.max(8, place.top - own.height - 6) : below;
    box.style.left = `${left}px`;
    box.style.top = `${top}px`;
  }
  return { box, show, hide, get term() { return shown; } };
}

// ---- The dialog with all terms -------------------------------------------------------------------------------------

const searched = new WeakMap();

// How well a term answers what was typed: 0 is best, Infinity not at all.
function distance(term, query) {
  if (!searched.has(term)) {
    const aliases = Object.entries(term.names).flatMap(([field, names]) => [field, ...Object.values(names)]);
    searched.set(term, {
      names: [term.zh, term.en, term.symbol, term.key].filter(Boolean).map(plain),
      aliases: [...aliases, ...term.marks, ...term.parts].map(plain),
      means: plain(`${term.zh_means} ${term.en_means}`),
    });
  }
  const { names, aliases, means } = searched.get(term);
  if (names.some((name) => name === query)) return 0;
  if (aliases.some((name) => name === query)) return 1;
  if (names.some((name) => name.startsWith(query))) return 2;
  if (names.some((name) => name.includes(query))) return 3;
  if (aliases.some((name) => name.includes(query))) return 4;
  return means.includes(query) ? 5 : Infinity;
}

function makeDialog(data, { mentioned }) {
  const { lang, words } = data;
  const field = make("input", {
    type: "search", role: "combobox", "aria-label": words.search, placeholder: words.search, "aria-controls": "terms",
    "aria-expanded": "true", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false",
  });
  const list = make("div", { id: "terms", role: "listbox", "aria-label": words.title, tabindex: "-1" });
  const told = make("p", { class: "told", role: "status" });
  const entry = make("article", { "aria-live": "polite", tabindex: "0", "aria-label": words.title });
  const close = make("button", { type: "button", class: "close", "aria-label": words.close }, "×");
  const dialog = make("dialog", { "aria-labelledby": "glossary-title" },
    make("header", {}, make("h2", { id: "glossary-title" }, words.title), close), field, told,
    make("div", { class: "columns" }, list, entry));
  let shown = [];
  let chosen = null;

  function choose(term, { scroll = true } = {}) {
    chosen = term;
    for (const option of list.querySelectorAll("[role=option]")) {
      const on = option.id === `term-${term?.key}`;
      option.setAttribute("aria-selected", String(on));
      if (on && scroll) option.scrollIntoView({ block: "nearest" });
    }
    if (!term) {
      field.removeAttribute("aria-activedescendant");
      entry.replaceChildren();
      return;
    }
    field.setAttribute("aria-activedescendant", `term-${term.key}`);
    const { means, otherMeans, otherLang } = columns(term, lang);
    const parts = term.parts.map((part) => make("code", {}, `llmkit.parts.${part}`));
    entry.replaceChildren(...[
      heading(term, lang), make("p", {}, means), make("p", { class: "other", lang: otherLang }, otherMeans),
      parts.length ? make("p", {}, `${words.parts} `, ...parts.flatMap((part) => [part, " "])) : null,
      namesTable(term, words, data.families), stepLink(term, data, () => dialog.close()),
    ].filter(Boolean));
    entry.scrollTop = 0;
    setAddress(term.key);
  }

  function group(name, terms) {
    if (!terms.length) return null;
    const title = make("div", { class: "group", role: "presentation" }, name);
    const options = terms.map((term) => {
      const { name: own, other, otherLang } = columns(term, lang);
      const option = make("div", { role: "option", id: `term-${term.key}`, "aria-selected": "false" }, make("b", {}, own));
      if (other !== own) option.append(" ", make("span", { lang: otherLang }, other));
      option.addEventListener("click", () => choose(term, { scroll: false }));
      return option;
    });
    return make("div", { role: "group", "aria-label": name }, title, ...options);
  }

  function search(wanted = null) {
    const query = plain(field.value.trim());
    const here = query ? [] : [...mentioned().keys()];
    const rest = query
      ? GLOSSARY.map((term, at) => ({ term, at, far: distance(term, query) })).filter(({ far }) => far < Infinity)
        .sort((a, b) => a.far - b.far || a.at - b.at).map(({ term }) => term)
      : GLOSSARY.filter((term) => !here.includes(term));
    shown = [...here, ...rest];
    const found = words.found.replace("{n}", shown.length);
    list.replaceChildren(...[group(words.here, here), group(query ? found : words.all, rest)].filter(Boolean));
    told.textContent = !shown.length ? words.none : query ? found : "";
    told.classList.toggle("away", shown.length > 0);
    choose(wanted && shown.includes(wanted) ? wanted : shown[0] ?? null);
    if (!wanted) list.scrollTop = 0;
  }

  function open(term = null) {
    if (dialog.open) return;
    field.value = "";
    dialog.showModal();
    search(term);
    field.focus();
  }

  field.addEventListener("input", () => search());
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.composedPath()[0] !== field || event.isComposing) return;
    const at = shown.indexOf(chosen);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 8, PageUp: at - 8 };
    if (event.key in moves && shown.length) {
      event.preventDefault();
      choose(shown[Math.min(Math.max(moves[event.key], 0), shown.length - 1)]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      (entry.querySelector("a.step") ?? entry).focus();
    } else if (event.key === "Escape") {
      event.preventDefault();
      dialog.close();
    }
  });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.composedPath()[0] === dialog) dialog.close(); });
  dialog.addEventListener("close", () => setAddress(null));
  return { dialog, open };
}

// The address names the term that is looked at, so that a link opens it there.
function setAddress(key) {
  const url = new URL(window.location);
  if (url.searchParams.get("term") === key) return;
  if (key) url.searchParams.set("term", key);
  else url.searchParams.delete("term");
  window.history.replaceState(window.history.state, "", url);
}

// ---- All together --------------------------------------------------------------------------------------------------

function watch(data, signal) {
  let find = null;
  let slug = "";
  let mentions = new Map();
  let parents = new WeakSet();
  let timer = 0;
  const canMark = "highlights" in CSS && "Highlight" in window;

  function read() {
    if (slug !== currentStep(data)) {
      slug = currentStep(data);
      find = makeFinder(data.lang, slug);
    }
    mentions = readSheet(find);
    parents = new WeakSet([...mentions.values()].map(({ node }) => node.parentElement));
    if (canMark) CSS.highlights.set(HIGHLIGHT, new Highlight(...[...mentions.values()].map(rangeOf)));
  }
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 0));
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (!signal.aborted) idle(read, { timeout: 1000 }); }, STILL_MS);
  };
  const observer = new MutationObserver(soon);
  observer.observe(document.querySelector('[data-testid="stMain"]') ?? document.body,
    { childList: true, characterData: true, subtree: true });
  signal.addEventListener("abort", () => { observer.disconnect(); clearTimeout(timer); CSS.highlights?.delete(HIGHLIGHT); });
  soon();

  function hit(event) {
    if (!canMark || !parents.has(event.target)) return null;
    for (const mention of mentions.values()) {
      if (mention.node.parentElement !== event.target || mention.end > mention.node.length) continue;
      for (const place of rangeOf(mention).getClientRects()) {
        const inside = event.clientX >= place.left && event.clientX <= place.right &&
          event.clientY >= place.top && event.clientY <= place.bottom;
        if (inside) return { term: mention.term, place };
      }
    }
    return null;
  }
  return { hit, mentioned: () => (read(), mentions) };
}

function settle(parentElement, data) {
  const stop = new AbortController();
  const { signal } = stop;
  let seen = null;
  const dialog = makeDialog(data, { mentioned: () => seen.mentioned() });
  const open = (term) => { popover.hide(); dialog.open(term); };
  const popover = makePopover(data, { leave: () => {}, more: open });
  const opener = make("button", { type: "button", class: "opener", "aria-label": data.words.open, title: data.words.open }, "?");
  opener.addEventListener("click", () => open(null));
  const view = make("div", { class: "glossary" }, opener, popover.box, dialog.dialog);
  parentElement.append(view);
  seen = watch(data, signal);

  let wait = 0;
  const later = (work, ms) => { clearTimeout(wait); wait = setTimeout(work, ms); };
  let over = null;
  document.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const found = seen.hit(event);
    if (!found && !over && !popover.term) return;
    const inside = event.composedPath().includes(popover.box);
    if (found?.term === over && found) return;
    over = found?.term ?? null;
    document.documentElement.style.cursor = found ? "help" : "";
    if (found) later(() => popover.show(found.term, found.place), SHOW_MS);
    else if (inside) clearTimeout(wait);
    else if (popover.term) later(popover.hide, HIDE_MS);
    else clearTimeout(wait);
  }, { passive: true, signal });
  document.addEventListener("click", (event) => {
    if (event.composedPath().includes(popover.box)) return;
    const found = seen.hit(event);
    if (found) popover.show(found.term, found.place);
    else popover.hide();
  }, { signal });
  document.addEventListener("scroll", popover.hide, { capture: true, passive: true, signal });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") popover.hide();
    if (event.key !== "?" || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const from = event.composedPath()[0];
    if (from instanceof Element && from.closest(FIELD)) return;
    event.preventDefault();
    open(popover.term);
  }, { signal });

  const asked = new URLSearchParams(window.location.search).get("term");
  const linked = GLOSSARY.find((term) => term.key === asked);
  if (linked) dialog.open(linked);
  return () => { stop.abort(); clearTimeout(wait); view.remove(); };
}

const settled = new WeakMap();

export default function ({ data, parentElement }) {
  const before = settled.get(parentElement);
  const now = JSON.stringify(data);
  if (before?.now !== now) {
    before?.leave();
    settled.set(parentElement, { now, leave: settle(parentElement, data) });
  }
  return () => {
    if (parentElement.isConnected) return; // newer data has overtaken this call, and is drawn by the next
    settled.get(parentElement)?.leave();
    settled.delete(parentElement);
  };
}
