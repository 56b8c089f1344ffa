// A text to take away: shown as it is, and copied at a press; the server hears that it was.

export default (component) => mount(component, (root) => {
  const shown = make("pre", { tabindex: "0", role: "region" }), bar = make("div", { class: "tools" });
  root.append(bar, shown);
  let data = null, hooks = null;
  return {
    update(newData, newHooks) {
      [data, hooks] = [newData, newHooks];
      if (shown.textContent !== data.text) shown.textContent = data.text;
      shown.setAttribute("aria-label", data.words.name);
      if (bar.dataset.label === data.words.copy) return;
      bar.dataset.label = data.words.copy;
      const button = copyButton(data.words.copy, data.words, () => data.text);
      button.addEventListener("click", () => hooks.setStateValue("copied", true));
      bar.replaceChildren(button);
    },
    close() {},
  };
});
