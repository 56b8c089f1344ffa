// One machine and its papers: the year slider lets papers appear, the paper slider (or a balloon) opens one of them.

const YEAR = "papers_year";
const PAPER = "papers_paper";

function paintMilestones({ area, room, move }) {
  const root = svg("svg", { class: "history", role: "group" });
  const card = make("article", { class: "card", "aria-live": "polite" });
  area.append(root, card);
  let data = null, plan = null, drawn = null, hovered = null, values = {}, told = "";

  const chosen = () => hovered ?? values[PAPER];

  function showCard() {
    const paper = data.papers[chosen()], { words } = data, now = `${data.id} ${chosen()}`;
    if (told === now) return;
    told = now;
    const link = make("a", { href: paper.address, target: "_blank", rel: "noopener noreferrer" }, `${words.read} ↗`);
    const full = make("p", { class: "cited" }, paper.citation), bibtex = make("pre", { tabindex: "0" }, paper.bibtex);
    card.replaceChildren(
      make("h2", {}, make("i", {}, String(chosen() + 1)), make("span", {}, paper.title)),
      make("p", { class: "by" }, `${paper.authors} · ${paper.year} · ${paper.venue}`),
      make("p", { class: "said" }, make("b", {}, paper.partTitle), paper.said),
      make("div", { class: "tools" }, link, copyButton(words.cite, words, () => paper.citation),
        copyButton(words.copy_bibtex, words, () => `${paper.bibtex}\n`)),
      make("details", {}, make("summary", {}, words.bibtex), full, bibtex)
    );
  }

  function paint() {
    const year = values[YEAR], counts = new Map();
    data.papers.forEach((paper) => paper.year <= year && counts.set(paper.part, (counts.get(paper.part) ?? 0) + 1));
    const most = Math.max(1, ...data.parts.filter(({ whole }) => !whole).map(({ name }) => counts.get(name) ?? 0));
    for (const [name, { board, count }] of drawn.parts) {
      const many = counts.get(name) ?? 0;
      board.style.setProperty("--share", `${Math.round(60 * Math.min(many / most, 1))}%`);
      count.textContent = `${many}×`;
    }
    const after = year === data.last ? plan.right + 20 : (plan.x(year) + plan.x(year + 1)) / 2;
    drawn.shade.setAttribute("x", after);
    drawn.shade.setAttribute("width", Math.max(plan.width - after, 0));
    for (const end of ["x1", "x2"]) drawn.rule.setAttribute(end, after);
    drawn.balloons.forEach((balloon, at) => {
      balloon.classList.toggle("to-come", data.papers[at].year > year);
      balloon.classList.toggle("chosen", at === chosen());
      balloon.setAttribute("aria-pressed", String(at === values[PAPER]));
      balloon.setAttribute("tabindex", at === values[PAPER] ? "0" : "-1");
    });
    showCard();
  }

  const indexOf = (event) => {
    const balloon = event.target.closest?.(".balloon");
    return balloon ? Number(balloon.dataset.at) : null;
  };
  const hover = (at) => {
    if (at === hovered) return;
    hovered = at;
    if (data) paint();
  };
  root.addEventListener("pointerover", (event) => event.pointerType === "mouse" && hover(indexOf(event)));
  root.addEventListener("pointerleave", () => hover(null));
  root.addEventListener("click", (event) => {
    const at = indexOf(event);
    if (at === null) return;
    hover(null);
    move(PAPER, at);
  });
  // Left and right: earlier and later. Up and down: the next part's paper of the nearest year.
  root.addEventListener("keydown", (event) => {
    const at = indexOf(event);
    if (at === null) return;
    let next = null;
    if (event.key === "Enter" || event.key === " ") next = at;
    if (event.key === "ArrowLeft") next = Math.max(at - 1, 0);
    if (event.key === "ArrowRight") next = Math.min(at + 1, data.papers.length - 1);
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = data.papers.length - 1;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const step = event.key === "ArrowUp" ? -1 : 1, lane = data.parts.findIndex(({ name }) => name === data.papers[at].part);
      const part = data.parts[clamp(lane + step, 0, data.parts.length - 1)].name;
      const apart = (one) => Math.abs(data.papers[one].year - data.papers[at].year);
      next = [...data.papers.keys()].filter((one) => data.papers[one].part === part).sort((a, b) => apart(a) - apart(b))[0];
    }
    if (next === null) return;
    event.preventDefault();
    hover(null);
    move(PAPER, next);
    drawn.balloons[next].focus();
  });

  return {
    take(newData) {
      data = newData;
      plan = null;
      hovered = null;
      root.setAttribute("aria-label", data.name);
    },
    draw(newValues) {
      values = newValues;
      const width = Math.max(Math.floor(room()), 280);
      if (plan?.width !== width) {
        plan = layOutPapers(data, width);
        drawn = drawPapers(root, data, plan);
      }
      paint();
    },
    tell: ({ [YEAR]: year }) => fill(data.words.told, { year, n: data.papers.filter((paper) => paper.year <= year).length }),
  };
}

export default moving({ milestones: paintMilestones });
