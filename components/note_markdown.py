"""A note's Markdown as HTML that can do nothing: text, lists, tables, code, and links to the web.

Notes also come from others, in a file. HTML stays text, a picture is never fetched, a link leads to the web or to a
mail alone, and a heading is bold text, so that the page keeps the order of its own headings.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_SCHEMES = ("https://", "http://", "mailto:")


class _Markdown(MarkdownIt):
    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False, "breaks": True})
        self.enable(["table", "strikethrough"]).disable("image")
        self.add_render_rule("heading_open", _heading)
        self.add_render_rule("heading_close", _heading)
        self.add_render_rule("link_open", _link)

    def validateLink(self, url: str) -> bool:  # noqa: N802 - the parser's own name
        return url.lower().startswith(_SCHEMES)


def _heading(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    return "<p><strong>" if tokens[at].nesting > 0 else "</strong></p>"


def _link(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """A link opens a window of its own: this one keeps its box and its sentence."""
    tokens[at].attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
    return str(renderer.renderToken(tokens, at, options, env))


@functools.lru_cache(maxsize=256)
def as_html(text: str) -> str:
    """Return a note as HTML for `st.html`.

    >>> as_html("# Head <b>\\n![x](https://a.b/c.png) [y](javascript:z)")
    '<div class="note-text" dir="auto"><p><strong>Head &lt;b&gt;</strong></p>\\n<p>!<a href="https://a.b/c.png" \
target="_blank" rel="noopener noreferrer">x</a> [y](javascript:z)</p>\\n</div>'
    """
    return f'<div class="note-text" dir="auto">{_Markdown().render(text)}</div>'
