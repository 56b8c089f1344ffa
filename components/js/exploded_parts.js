// The parts list: one row a plate of the drawing, with what it takes and costs; a button opens its page.

function buildParts(root) {
  const view = make("div", { class: "view" });
  const head = make("tr"), body = make("tbody"), foot = make("tfoot");
  view.append(make("div", { class: "list" }, make("table", {}, make("thead", {}, head), body, foot)));
  root.append(view);
  let data = null, hooks = null, told = "", rows = new Map();

  function build() {
    rows = new Map();
    head.replaceChildren(...data.columns.map((text) => make("th", { scope: "col" }, text)));
    const line = (plate) => {
      const name = plate.opens ? make("button", { type: "button" }, plate.title) : make("span", {}, plate.title);
      if (plate.opens) name.addEventListener("click", () => hooks.setTriggerValue("open", [plate.name, lastPlace().layer, lastPlace().token]));
      const cells = plate.cells.map((text, at) => make("td", { "data-column": data.columns[at + 2], "data-none": String(text === "" || text === "0") }, text));
      const row = make("tr", { "data-part": plate.name, class: plate.block ? "block" : "" },
        make("td", {}, make("i", {}, String(plate.number))), make("th", { scope: "row" }, name), ...cells);
      for (const kind of ["pointerenter", "focusin"]) row.addEventListener(kind, () => tellPlate(plate.name, "parts"));
      for (const kind of ["pointerleave", "focusout"]) row.addEventListener(kind, () => tellPlate(null, "parts"));
      rows.set(plate.name, row);
      return row;
    };
    body.replaceChildren(...data.plates.map(line));
    foot.replaceChildren(make("tr", {}, make("td", { "data-none": "true" }), make("th", { scope: "row" }, data.total.title),
      ...data.total.cells.map((text, at) => make("td", { "data-column": data.columns[at + 2], "data-none": String(text === "") }, text))));
  }
  const light = (event) => {
    for (const [name, row] of rows) row.classList.toggle("hot", name === event.detail.name);
  };
  document.addEventListener(PLATE, light);

  return {
    update(newData, component) {
      hooks = component;
      data = newData;
      if (told !== data.id) { told = data.id; build(); }
      tellPlace(data.place[0], data.place[1], "server");
    },
    close() { document.removeEventListener(PLATE, light); },
  };
}

export default (component) => mount(component, buildParts);
