"""Step 2-2, the data pile: a data box, a file or a few pasted lines; how it is read; which columns count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import data_given as given
from components import material_engine as found
from components.engine import Made
from components.figure import draw_note
from components.frame import Page, section
from components.material_engine import Pile

if TYPE_CHECKING:
    from llmkit.tune.data.columns import Columns
    from llmkit.tune.data.dataset import Table
    from llmkit.tune.data.source import Reading

PAGE_ROWS = 8
CELL = 300
"""Characters of a cell that are shown."""

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_FILE, _PASTED = "_material_file", "_material_pasted"
"""Where this session keeps the source name of its file, and of what was pasted."""

_MENDINGS = "_material_mendings"


def draw_pile(page: Page) -> Pile | None:
    """Draw where the data come from and how they are read; return the pile, None as long as there is none."""
    st.header(page.say("material.pile.title"))
    source = _draw_source(page)
    if source is None:
        return None
    with st.spinner(page.say("material.pile.wait")):
        reading, made = _draw_reading(page, source)
    if made is None:
        return None
    columns = _draw_columns(page, made.value, source, reading)
    page.count("part.row", len(made.value))
    from llmkit.tune.data.source import fingerprint

    pile = Pile(source=source, fingerprint=fingerprint(source), reading=reading, columns=columns)
    pile = replace(pile, mendings=tuple(mendings(pile)))
    _draw_rows(page, pile, len(made.value))
    return pile


def mendings(pile: Pile) -> list[str]:
    """Return what this session has mended in a pile, in order; the list is the session's own."""
    kept: dict[Pile, list[str]] = st.session_state.setdefault(_MENDINGS, {})
    if pile.raw not in kept:
        kept.clear()  # another pile: its mendings are not this one's
        kept[pile.raw] = []
    return kept[pile.raw]


def _draw_source(page: Page) -> str | None:
    say = page.say
    names = {one: say(f"material.from.{one}") for one in given.KINDS}
    kind = given.draw_kind(say("material.pile.from"), names, key="material_kind", given=_FILE)
    if kind == "box":
        none = say("material.pile.no_box")
        return given.draw_box(page, say("material.pile.box"), none=none, key="material_box", bind="query-params")
    place = _FILE if kind == "file" else _PASTED
    if kind == "file":
        kept = given.draw_upload(page, say("material.pile.file", mb=given.LIMIT_MB), key="material_upload", place=place)
    else:
        words = {"use": say("material.pile.use"), "name": say("material.pile.pasted")}
        kept = given.draw_paste(page, say("material.pile.paste"), **words, key="material", place=place)
    if kept and st.button(say("material.pile.forget"), key="material_forget", type="tertiary"):
        from llmkit.tune.data.source import forget_file

        forget_file(kept)
        st.session_state.pop(place)
        st.rerun()
    return kept


def _draw_reading(page: Page, source: str) -> tuple[Reading, Made[Table] | None]:
    """Say how the file was read, and let the learner read it otherwise."""
    from llmkit.tune.data.encoding import CODECS
    from llmkit.tune.data.source import Reading

    if not source.startswith("file:"):
        return Reading(), found.table(source, Reading())
    key, say = source[5:13], page.say
    asked = st.session_state.get("_material_reading", {}).get(source, Reading())
    made = None
    with page.guard():
        made = found.table(source, asked)
    if made is not None:
        _say_how(page, made.value)
    with st.expander(say("material.read.title"), key="material_read"), st.container(horizontal=True):
        names = {"": say("material.read.auto")}
        encoding = st.selectbox(
            say("material.read.encoding"),
            ("", *CODECS),
            format_func=lambda one: names.get(one, one),
            key=f"m_enc_{key}",
        )
        delimiter = st.selectbox(
            say("material.read.delimiter"),
            ("", *DELIMITERS),
            format_func=lambda one: say(f"material.delimiter.{DELIMITERS[one]}") if one else names[""],
            key=f"m_del_{key}",
        )
        header = st.selectbox(
            say("material.read.header"),
            ("", "yes", "no"),
            format_func=lambda one: say(f"material.header.{one}") if one else names[""],
            key=f"m_head_{key}",
        )
        sheets = made.value.sheets if made is not None else ()
        sheet = None
        if len(sheets) > 1:
            sheet = st.selectbox(say("material.read.sheet"), sheets, index=None, key=f"m_sheet_{key}")
    wanted = Reading(
        encoding=encoding or None,
        delimiter=delimiter or None,
        header={"yes": True, "no": False}.get(header),
        sheet=sheet,
    )
    if wanted != asked:
        st.session_state["_material_reading"] = {source: wanted}
        st.rerun()
    return asked, made


def _say_how(page: Page, table: Table) -> None:
    """One line: what the file turned out to be."""
    say = page.say
    pieces = [table.name, table.format, say("material.read.size", rows=f"{len(table):,}", columns=len(table.columns))]
    if table.encoding:
        pieces.append(say("material.read.sure", encoding=table.encoding, sure=f"{table.sure:.0%}"))
    if table.delimiter in DELIMITERS:
        pieces.append(say(f"material.delimiter.{DELIMITERS[table.delimiter]}"))
    if table.sheet:
        pieces.append(say("material.read.of", sheet=table.sheet))
    pieces.append(say("material.read.named" if table.header else "material.read.unnamed"))
    draw_note(" · ".join(pieces))


def _draw_columns(page: Page, table: Table, source: str, reading: Reading) -> Columns:
    """Choose the columns of text and label, and where a rating turns."""
    from llmkit.tune.data.columns import Columns, guess_threshold
    from llmkit.tune.data.source import fingerprint

    guess = found.guessed(source, fingerprint(source), reading).value
    key, say, names = f"{source}_{hash(table.columns)}", page.say, list(table.columns)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.selectbox(
            say("material.column.text"),
            names,
            index=names.index(guess.text),
            format_func=shown,
            key=f"m_text_{key}",
            persist_state="session",
        )
        others = ["", *(name for name in names if name != text)]
        label = st.selectbox(
            say("material.column.label"),
            others,
            index=others.index(guess.label) if guess.label in others else 0,
            format_func=lambda name: shown(name) or say("material.column.none"),
            key=f"m_label_{key}_{names.index(text)}",
            persist_state="session",
        )
        turn = guess_threshold(table.frame[label]) if label else None
        if turn is not None:
            turn = st.number_input(
                say("material.column.turn"),
                value=turn,
                key=f"m_turn_{key}_{names.index(label)}",
                persist_state="session",
            )
    part = guess.part if guess.part not in (text, label) else None
    return Columns(text=text, label=label or None, threshold=turn, part=part)


def shown(text: str | None) -> str:
    """Return a column's name as a list of choices may show it: on one line, its length bounded."""
    return " ".join(text.split())[:60] if text else ""


@section
def _draw_rows(page: Page, pile: Pile, before: int) -> None:
    """Draw a few rows at a time, as they are now."""
    rows = found.frame(pile).value
    pages = max(-(-len(rows) // PAGE_ROWS), 1)
    with st.expander(page.say("material.rows.title", n=f"{len(rows):,}", before=f"{before:,}"), key="material_rows"):
        at = 1
        if pages > 1:
            at = int(st.number_input(page.say("material.rows.page", n=pages), 1, pages, key="material_page"))
        part = rows.iloc[(at - 1) * PAGE_ROWS : at * PAGE_ROWS]
        labels = found.labels(pile).value.loc[part.index]
        view = pd.DataFrame(
            {
                page.say("material.rows.number"): part.index,
                page.say("material.column.text"): _cut(part[pile.columns.text]),
                page.say("material.column.label"): _cut(labels),
            }
        )
        st.html("<style>.st-key-material_rows [data-testid=stElementToolbar] { display: none; }</style>")
        st.dataframe(view, hide_index=True, key=f"material_table_{at}", alt=page.say("material.rows.alt"))


def _cut(cells: pd.Series[str]) -> Sequence[str]:
    return [(cell or "")[:CELL] + ("…" if len(cell or "") > CELL else "") for cell in cells]
