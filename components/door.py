"""What only the browser can do: say which language the page is in, turn pages by key, keep the address complete."""

from __future__ import annotations

import streamlit as st

from components.workbench import Workbench

HTML_LANG = {"zh-TW": "zh-Hant-TW", "en": "en"}

_SCRIPT = """
export default function ({ data }) {
  document.documentElement.lang = data.lang;
  const url = new URL(window.location);
  for (const [key, value] of Object.entries(data.bench)) {
    if (!url.searchParams.has(key)) url.searchParams.set(key, value);
  }
  window.history.replaceState(window.history.state, "", url);
  const turn = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    const field = "input, textarea, select, canvas, iframe, [contenteditable], [role=slider], [role=radio], " +
      "[role=tab], [role=combobox], [role=listbox], [role=application], [role=grid], .js-plotly-plot";
    if (event.target instanceof Element && event.target.closest(field)) return;
    const way = { ArrowLeft: "previous", "[": "previous", ArrowRight: "next", "]": "next" }[event.key];
    const link = way && document.querySelector(`.st-key-go_${way} a`);
    if (link) { event.preventDefault(); link.click(); }
  };
  document.addEventListener("keydown", turn);
  return () => document.removeEventListener("keydown", turn);
}
"""

_door = st.components.v2.component("llm_guide_door", js=_SCRIPT)


def open_door(bench: Workbench) -> None:
    """Tell the browser about the page: its language, what lies on the workbench, and the keys that turn pages."""
    _door(
        key="door",
        data={
            "lang": HTML_LANG[bench.lang],
            "bench": {"lang": bench.lang, "box": bench.box_id, "sentence": bench.sentence},
        },
        height=1,
    )
