// See the code: real source with its own line numbers, the part alone or its whole file scrolled to it.

const TOKENS = new RegExp([
  String.raw`(?<text>[rbfu]{0,2}(?:"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))`,
  String.raw`(?<remark>#[^\n]*)`,
  String.raw`(?<named>(?<=\b(?:def|class)\s)\w+)`,
  String.raw`(?<word>\b(?:and|as|assert|async|await|break|case|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|match|nonlocal|not|or|pass|raise|return|try|while|with|yield|None|True|False|self)\b)`,
  String.raw`(?<number>\b\d[\w.]*)`,
].join("|"), "gi");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A file as one element a line. Text goes in as text nodes only.
function linesOf(text) {
  const lines = [make("span", { class: "line", "data-n": "1" })];
  const put = (piece, kind) => piece.split("\n").forEach((part, at) => {
    if (at) lines.push(make("span", { class: "line", "data-n": String(lines.length + 1) }));
    if (part) lines[lines.length - 1].append(kind ? make("span", { class: kind }, part) : part);
  });
  let done = 0;
  for (const match of text.replace(/\n$/, "").matchAll(TOKENS)) {
    put(text.slice(done, match.index), "");
    put(match[0], Object.keys(match.groups).find((kind) => match.groups[kind] !== undefined));
    done = match.index + match[0].length;
  }
  put(text.slice(done).replace(/\n$/, ""), "");
  return lines;
}

function draw(root, { files, parts, words }) {
  let part = parts[0];
  let whole = false;
  const drawn = new Map();
  const place = () => `${part.path}:${part.line}`;
  const where = make("code", {});
  const title = make("summary", {}, make("b", {}, words.title), " ", where);
  const tabs = make("div", { class: "tabs", role: "group" });
  const bar = make("div", { class: "bar" });
  const paper = make("p", { class: "paper" });
  const code = make("code", {});
  const shelf = make("pre", { tabindex: "0", role: "region" }, code);
  const told = make("span", { class: "place", role: "status" });
  const box = make("details", {}, title, tabs, make("div", { class: "bar" }, told, bar), paper, shelf);

  function show() {
    if (!drawn.has(part.path)) drawn.set(part.path, linesOf(files[part.path]));
    const lines = drawn.get(part.path);
    lines.forEach((line, at) => line.classList.toggle("own", whole && at + 1 >= part.line && at + 1 <= part.end));
    code.replaceChildren(...(whole ? lines : lines.slice(part.line - 1, part.end)));
    const first = lines[part.line - 1];
    shelf.scrollTop = whole ? first.offsetTop - 4 : 0;
    shelf.setAttribute("aria-label", place());
    told.textContent = words.place.replace("{path}", part.path).replace("{line}", part.line);
    paper.textContent = part.paper ? `${words.paper} ${part.paper}` : "";
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.value === part.name));
    toggle.setAttribute("aria-pressed", String(whole));
  }
  const name = () => { where.textContent = parts.map((one) => `${one.path}:${one.line}`).join(" · "); };

  const toggle = make("button", { type: "button", "aria-pressed": "false" }, words.whole);
  toggle.addEventListener("click", () => { whole = !whole; show(); });
  const ownText = () => files[part.path].split("\n").slice(part.line - 1, part.end).join("\n");
  bar.append(toggle, copyButton(words.copy, words, () => (whole ? files[part.path] : `${ownText()}\n`)),
    copyButton(words.where, words, place));
  if (parts.length > 1) {
    for (const one of parts) {
      const tab = make("button", { type: "button", value: one.name, "aria-pressed": "false" }, one.name);
      tab.addEventListener("click", () => { part = one; show(); });
      tabs.append(tab);
    }
  }
  name();
  box.addEventListener("toggle", () => { if (box.open) show(); });
  root.append(box);
  return box;
}

const drawn = new WeakMap();

export default function ({ data, parentElement }) {
  const before = drawn.get(parentElement);
  const now = JSON.stringify(data);
  if (before?.now === now) return;
  const open = before?.box.open ?? false;
  before?.box.remove();
  const box = draw(parentElement, data);
  box.open = open;
  drawn.set(parentElement, { now, box });
}
