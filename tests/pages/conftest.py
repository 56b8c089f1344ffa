"""Pages without a browser: Streamlit's AppTest, always started from app.py, so that the frame is there."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lessons import registry

OpenPage = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    """Caches outlive an AppTest: start each test without what another one computed."""
    st.cache_data.clear()
    st.cache_resource.clear()
    st.set_option("client.showErrorDetails", "full")


@pytest.fixture
def open_page() -> OpenPage:
    """Return a function that opens a step as a learner does: `open_page("tokens", lang="en", sentence="Hi")`.

    Keywords are what the address bar holds. The page has been drawn once when it returns.
    """

    def open_step(slug: str, **query: str) -> AppTest:
        app = AppTest.from_file(str(registry.ROOT / "app.py"), default_timeout=120)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        step = registry.step(slug)
        return app if step is registry.STEPS[0] else app.switch_page(step.script).run()

    return open_step


def shown_text(app: AppTest) -> str:
    """Return everything in words that the page shows: for looking whether something is said."""
    kinds = ("html", "markdown", "caption", "error", "warning", "success", "info")
    return "\n".join(str(element.proto) for kind in kinds for element in app.get(kind))


def seen(app: AppTest) -> str:
    """Return what `shown_text` does, as a reader sees it: without HTML's escapes."""
    return html.unescape(shown_text(app))


def done(app: AppTest) -> list[str]:
    """Return "done" or "open" for each *do* step of the page, in order."""
    return re.findall(r'<li class="(\w+)">', "\n".join(element.proto.body for element in app.get("html")))
