"""What only the browser can do: say which language the page is in, turn pages by key, keep the address complete.

Because there is a folder called pages, Streamlit takes the first run after it started for one of a guide whose pages
lie directly in there, and says "Page not found" of any other address before app.py has named its pages
(``_mpa_v1`` in streamlit/runtime/scriptrunner/script_runner.py, 1.67). The page is then drawn all the same. That
message comes in English alone, and not always where it should; so the door takes it away and says itself, in the
page's language, when an address leads nowhere.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import streamlit as st

from components import glossary
from components.workbench import Workbench
from lessons import words

HTML_LANG = {"zh-TW": "zh-Hant-TW", "en": "en"}

_SCRIPT = """
let opened = false;

function takeAlarmAway() {
  const close = () => document.querySelector('[data-testid="stDialog"] button[aria-label="Close"]')?.click();
  const watch = new MutationObserver(close);
  watch.observe(document.body, { childList: true, subtree: true });
  setTimeout(() => watch.disconnect(), 2000);
  close();
}

export default function ({ data }) {
  if (!opened) takeAlarmAway();
  opened = true;
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


def open_door(bench: Workbench, path: str) -> None:
    """Tell the browser about the page, and the reader when the address that was asked for leads nowhere.

    The browser learns the page's language, what lies on the workbench, and the keys that turn pages.

    Args:
        bench: what lies on the workbench.
        path: where the page is in the address bar; empty for the front door.
    """
    if _asked_for() not in ("", path):
        st.warning(words(bench.lang)("common.lost"), icon=":material/signpost:")
    _door(
        key="door",
        data={
            "lang": HTML_LANG[bench.lang],
            "bench": {"lang": bench.lang, "box": bench.box_id, "sentence": bench.sentence},
        },
        height=1,
    )
    glossary.lay_out(bench.say)


def _asked_for() -> str:
    """Return the path in the address bar, below the app's own; empty where there is none."""
    path = unquote(urlsplit(st.context.url or "").path).strip("/")
    return path.removeprefix(st.get_option("server.baseUrlPath").strip("/")).strip("/")
