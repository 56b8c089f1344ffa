"""What fires a neuron: a job reads reviews once; then every neuron's strongest places are looked up."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from components import embeddings_engine, engine
from components import feed_forward_engine as found
from components.engine import Made
from components.feed_forward_sections import signed
from components.figure import draw_note
from components.frame import Page, section
from components.job_panel import draw_job

if TYPE_CHECKING:
    from llmkit.trace.firing import Firing, SampledRow

KIND = "firing"
SOURCES = ("reviews-en", "reviews-zh-tw")
TOP = 8
MAX_TOKENS = 64
"""Tokens of a review at most: whole reviews only, none is cut."""

EACH, EACH_LARGE, LARGE = 300, 100, 50_000_000
"""Reviews from each set; of a box with more parameters than LARGE, EACH_LARGE: it reads that much slower."""

AROUND = 70
"""Characters shown on either side of the token that fires."""


@section
def draw_firing(page: Page, layer: int, neuron: int) -> None:
    """Draw the places in the review sets where a neuron's activation is greatest."""
    bench = page.bench
    st.header(page.say("feed_forward.firing.title", layer=layer, neuron=neuron))
    sources = sources_here()
    if len(sources) < len(SOURCES):
        missing = page.say("common.comma").join(one for one in SOURCES if one not in sources)
        draw_note(page.say("feed_forward.firing.missing", missing=missing))
        page.lead("unbox")
    if not sources:
        return
    asked = settings(bench.box_id, sources)
    n = asked["each"] * len(sources)
    made = draw_job(page, KIND, asked, label=page.say("feed_forward.firing.run", n=n), key="feed_forward_firing")
    if made is None:
        draw_note(page.say("feed_forward.firing.note", n=n, top=TOP, tokens=MAX_TOKENS))
        return
    _draw_places(page, made, _read(_folder(asked)).value, layer, neuron)


def sources_here() -> tuple[str, ...]:
    """Return the review sets that are on this machine."""
    from llmkit import shelf

    return tuple(one for one in SOURCES if shelf.locate(one) is not None)


def settings(box_id: str, sources: tuple[str, ...]) -> dict[str, Any]:
    """Return the job's settings: everything that changes what it finds."""
    from llmkit import shelf

    large = found.counts(box_id, 1).value.parameters > LARGE
    return {
        "box_id": box_id,
        "fingerprint": engine.fingerprint(box_id),
        "sources": list(sources),
        "source_fingerprints": [shelf.fingerprint(one) for one in sources],
        "each": EACH_LARGE if large else EACH,
        "max_tokens": MAX_TOKENS,
        "seed": 0,
        "top": TOP,
    }


@engine.remembered(max_entries=4)
def _read(folder: str) -> tuple[Firing, tuple[SampledRow, ...]]:
    from llmkit.trace.firing import read_firing

    return read_firing(Path(folder))


def _folder(asked: dict[str, Any]) -> str:
    from llmkit import jobs

    job = jobs.find(KIND, asked)
    if job is None:
        raise jobs.JobError("job_unknown")
    return str(jobs.folder(job.id))


def _draw_places(
    page: Page, made: Made[Any], read: tuple[Firing, tuple[SampledRow, ...]], layer: int, neuron: int
) -> None:
    firing, rows = read
    table = []
    for value, row, place in zip(
        firing.values[layer, neuron], firing.rows[layer, neuron], firing.places[layer, neuron], strict=True
    ):
        if row >= 0:
            table.append((float(value), rows[row], int(place)))
    items, data = [], []
    for value, row, place in table:
        encoding = embeddings_engine.encode(page.bench.box_id, row.text)
        items.append(_item(row, encoding.text, encoding.offsets[place], value))
        token = encoding.labels[place]
        data.append({"activation": value, "token": token, "place": place, "source": row.source, "text": row.text})
    first = data[0]
    texts = sum(made.value["texts"].values())
    alt = page.say(
        "feed_forward.firing.alt",
        layer=layer,
        neuron=neuron,
        token=first["token"],
        act=signed(first["activation"], 2),
        n=texts,
    )
    with page.shown(key="firing", badge=made.badge, alt=alt, data=pd.DataFrame(data)):
        st.html(f'<ol class="firing">{"".join(items)}</ol>')
    draw_note(page.say("feed_forward.firing.read", n=texts, tokens=f"{made.value['tokens']:,}"))


def _item(row: SampledRow, text: str, span: tuple[int, int], value: float) -> str:
    """One review with the token that fires marked in it; all of it is text, none of it markup."""
    start, end = span
    before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    left = "…" if start > AROUND else ""
    right = "…" if len(text) > end + AROUND else ""
    return (
        f"<li><b>{escape(signed(value, 2))}</b><p><bdi>{left}{escape(before)}<mark>{escape(text[start:end])}</mark>"
        f"{escape(after)}{right}</bdi></p><small>{escape(row.source)}</small></li>"
    )
