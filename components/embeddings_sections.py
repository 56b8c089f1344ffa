"""The Embeddings page, picture by picture: each takes the sheet, asks the engine and draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import embeddings_engine as found
from components.embeddings_picture import cloud_plot, layer_lines, likeness_map, neighbour_bars, rows_strip
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section

if TYPE_CHECKING:
    from llmkit.trace.space import Analogy, Method, Neighbours

METHODS: tuple[Method, ...] = ("pca", "tsne", "umap")
AROUND = 2
"""Rows of the table drawn above and below the chosen one."""


def draw_row(page: Page) -> int:
    """Draw the row of the table that a token's id picks; return the id that the learner chose."""
    bench = page.bench
    encoding = found.encode(bench.box_id, bench.sentence)
    places = tuple(range(len(encoding)))
    if not places:
        from llmkit.trace import TraceError

        raise TraceError("text_empty", tokens=0, limit=found.MAX_TOKENS)
    st.header(page.say("embeddings.row.title"))
    first = next((place for place in places if not encoding.special[place]), 0)
    at = st.selectbox(
        page.say("embeddings.row.token"),
        places,
        index=first,
        format_func=lambda place: f"{place}: {encoding.labels[place]} → {encoding.ids[place]}",
        key=f"embeddings_token_{bench.box_id}_{bench.sentence}",
    )
    if at != first:
        page.tick("do.look_up")
    token_id = encoding.ids[at]
    with st.spinner(page.say("embeddings.opening")):
        made = found.table(bench.box_id)
    rows = made.value
    page.count("part.row", len(rows))
    page.count("part.dimension", rows.shape[1])
    start = max(token_id - AROUND, 0)
    ids = tuple(range(start, min(token_id + AROUND + 1, len(rows))))
    values = rows[ids[0] : ids[-1] + 1]
    labels = [f"{row} {found.label(bench.box_id, row)}" for row in ids]
    norm = float((rows[token_id] ** 2).sum() ** 0.5)
    alt = page.say(
        "embeddings.row.alt",
        token=encoding.labels[at],
        id=token_id,
        dims=rows.shape[1],
        low=f"{rows[token_id].min():.3f}",
        high=f"{rows[token_id].max():.3f}",
        norm=f"{norm:.3f}",
    )
    table = pd.DataFrame(values.T, columns=[str(row) for row in ids]).rename_axis("dimension").reset_index()
    page.figure(rows_strip(values, labels, chosen=token_id - start), key="row", badge=made.badge, alt=alt, data=table)
    draw_note(alt)
    return token_id


@section
def draw_neighbours(page: Page, token_id: int) -> None:
    """Draw the rows nearest to the chosen one, found in the whole table."""
    box_id = page.bench.box_id
    name = found.label(box_id, token_id)
    st.header(page.say("embeddings.near.title"))
    count = st.slider(page.say("embeddings.near.slider"), 3, found.MAX_NEIGHBOURS, 10, key="embeddings_near")
    if count != 10:
        page.tick("do.neighbours")
    made = found.neighbours(box_id, token_id)
    ids, cosines = made.value.ids[:count], made.value.cosines[:count]
    labels = [found.label(box_id, one) for one in ids]
    alt = page.say("embeddings.near.alt", token=name, listed=_listed(page, labels, cosines))
    table = pd.DataFrame({"id": ids, "token": labels, "cosine": cosines})
    page.figure(neighbour_bars(labels, cosines), key="near", badge=made.badge, alt=alt, data=table)
    draw_note(page.say("embeddings.near.note", token=name, n=len(found.table(box_id).value)))


@section
def draw_cloud(page: Page) -> None:
    """Draw the sentence's tokens and their neighbours in two or three dimensions."""
    bench = page.bench
    st.header(page.say("embeddings.cloud.title"))
    method = st.radio(
        page.say("embeddings.cloud.method"),
        METHODS,
        format_func=lambda one: page.say(f"embeddings.cloud.{one}"),
        horizontal=True,
        key="embeddings_method",
    )
    dims = st.radio(
        page.say("embeddings.cloud.dims"),
        (2, 3),
        format_func=lambda n: page.say("embeddings.cloud.in", n=n),
        horizontal=True,
        key="embeddings_dims",
    )
    with st.spinner(page.say("embeddings.cloud.wait")):
        made = found.cloud(bench.box_id, bench.sentence, method, dims)
    cloud = made.value
    labels = [found.label(bench.box_id, one) for one in cloud.ids]
    names = (page.say("embeddings.cloud.own"), page.say("embeddings.cloud.near"))
    alt = page.say("embeddings.cloud.alt", own=cloud.n_own, near=len(labels) - cloud.n_own, dims=dims)
    table = pd.DataFrame(cloud.layout, columns=list("xyz")[:dims]).assign(
        id=cloud.ids, token=labels, own=[at < cloud.n_own for at in range(len(labels))]
    )
    drawing = cloud_plot(cloud.layout, labels, cloud.n_own, names)
    page.figure(drawing, key=f"cloud_{dims}", badge=made.badge, alt=alt, data=table)
    kept = "" if cloud.kept is None else page.say("embeddings.cloud.kept", dims=dims, share=f"{cloud.kept:.0%}")
    draw_note(kept or page.say("embeddings.cloud.careful"))
    if cloud.cut:
        draw_note(page.say("embeddings.cloud.cut", n=found.MAX_TOKENS))


@section
def draw_arithmetic(page: Page) -> None:
    """Compute a − b + c in the table, and say honestly where the expected word stands."""
    box_id, lang = page.bench.box_id, page.bench.lang
    st.header(page.say("embeddings.sum.title"))
    texts = []
    for name, column in zip("abcd", st.columns(4), strict=True):
        usual = page.say(f"embeddings.sum.{name}.word")
        key = f"embeddings_{name}_{lang}"
        text = column.text_input(page.say(f"embeddings.sum.{name}"), value=usual, max_chars=40, key=key)
        texts.append(text.strip() or usual)
    if texts != [page.say(f"embeddings.sum.{name}.word") for name in "abcd"]:
        page.tick("do.arithmetic")
    words = [found.find_word(box_id, text) for text in texts]
    for word in words:
        if len(word.ids) > 1:
            pieces = " | ".join(found.label(box_id, one) for one in word.ids)
            key = "embeddings.sum.expected_split" if word is words[3] else "embeddings.sum.split"
            draw_note(page.say(key, word=word.text, n=len(word.ids), pieces=pieces))
    made = found.solve(box_id, *words)
    inputs = st.toggle(page.say("embeddings.sum.inputs"), value=True, key="embeddings_inputs")
    shown: Neighbours = made.value.nearest if inputs else made.value.nearest_others
    labels = [found.label(box_id, one) for one in shown.ids]
    line = _ranks(page, made.value, texts[3], len(found.table(box_id).value))
    formula = page.say("embeddings.sum.formula", a=texts[0], b=texts[1], c=texts[2])
    alt = page.say("embeddings.sum.alt", formula=formula, listed=_listed(page, labels, shown.cosines), ranks=line)
    table = pd.DataFrame({"id": shown.ids, "token": labels, "cosine": shown.cosines})
    page.figure(neighbour_bars(labels, shown.cosines), key="sum", badge=made.badge, alt=alt, data=table)
    draw_note(line)


@section
def draw_likeness(page: Page) -> None:
    """Draw how alike the sentence's tokens are, from the table's rows through every layer."""
    bench = page.bench
    st.header(page.say("embeddings.like.title"))
    made = found.likeness(bench.box_id, bench.sentence)
    last = len(made.value) - 1
    stage = st.slider(page.say("embeddings.like.slider"), 0, last, 0, key=f"embeddings_stage_{bench.box_id}")
    values = made.value[stage]
    labels = found.encode(bench.box_id, bench.sentence).labels
    name = _stage(page, stage)
    count = len(labels)
    mean = (float(values.sum()) - float(values.trace())) / max(count * (count - 1), 1)
    alt = page.say("embeddings.like.alt", n=count, stage=name, mean=f"{mean:.3f}")
    table = pd.DataFrame(values, columns=[f"{at}: {one}" for at, one in enumerate(labels)])
    table.insert(0, "token", labels)
    page.figure(likeness_map(values, labels), key="like", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


@section
def draw_two_uses(page: Page) -> None:
    """Follow one word through the layers in two sentences, then ask where its two uses differ most."""
    st.header(page.say("embeddings.uses.title"))
    lang, box_id = page.bench.lang, page.bench.box_id
    texts = []
    for name in ("word", "first", "second"):
        usual = page.say(f"embeddings.uses.{name}.text")
        key = f"embeddings_use_{name}_{lang}"
        text = st.text_input(page.say(f"embeddings.uses.{name}"), value=usual, max_chars=200, key=key)
        texts.append(text.strip() or usual)
    word, first, second = texts
    try:
        _draw_uses(page, word, first, second)
    except found.UseError as error:
        st.error(page.say("embeddings.uses.missing", word=plain(error.word), sentence=plain(error.sentence)))
        return
    page.check(
        "uses",
        question=page.say("embeddings.check.question", word=plain(word), box=plain(box_id)),
        options={name: page.say(f"embeddings.check.{name}") for name in ("table", "early", "middle", "late")},
        run=lambda: _verdict(page, word, first, second),
    )


def _draw_uses(page: Page, word: str, first: str, second: str) -> None:
    made = found.two_uses(page.bench.box_id, word, first, second)
    uses = made.value
    stages = [_stage(page, stage, short=True) for stage in range(len(uses.word))]
    lines: list[tuple[str, Sequence[float]]] = [(page.say("embeddings.uses.same", word=word), uses.word)]
    if uses.others:
        lines.append((page.say("embeddings.uses.others"), uses.others))
    low = min(range(len(uses.word)), key=uses.word.__getitem__)
    alt = page.say(
        "embeddings.uses.alt",
        word=word,
        table=f"{uses.word[0]:.3f}",
        low=f"{uses.word[low]:.3f}",
        stage=_stage(page, low),
        last=f"{uses.word[-1]:.3f}",
    )
    table = pd.DataFrame({"stage": stages, "same_word": uses.word})
    if uses.others:
        table["other_tokens_mean"] = uses.others
    page.figure(layer_lines(lines, stages), key="uses", badge=made.badge, alt=alt, data=table)
    draw_note(alt)
    if max(uses.pieces) > 1:
        draw_note(page.say("embeddings.uses.pieces", word=word, first=uses.pieces[0], second=uses.pieces[1]))


def _verdict(page: Page, word: str, first: str, second: str) -> Verdict:
    """Find the stage where the two uses differ most; stage 0 is the table, the rest is cut into thirds."""
    path = found.two_uses(page.bench.box_id, word, first, second).value.word
    low = min(range(len(path)), key=path.__getitem__)
    third = (low - 1) * 3 // max(len(path) - 1, 1)
    answer = "table" if low == 0 else ("early", "middle", "late")[third]
    text = page.say("embeddings.check.because", stage=_stage(page, low), low=f"{path[low]:.3f}", table=f"{path[0]:.3f}")
    return Verdict(answer=answer, explanation=text)


def _ranks(page: Page, solved: Analogy, expected: str, rows: int) -> str:
    if solved.rank is None:
        return page.say("embeddings.sum.no_rank", word=expected)
    key = "embeddings.sum.is_input" if solved.rank_others is None else "embeddings.sum.ranks"
    return page.say(
        key, word=expected, rank=solved.rank, others=solved.rank_others, rows=rows, cosine=f"{solved.cosine:.3f}"
    )


def _stage(page: Page, stage: int, *, short: bool = False) -> str:
    """A stage's name: the table, what enters, or a layer."""
    if stage < 2:
        return page.say(f"embeddings.stage.{stage}")
    return str(stage - 2) if short else page.say("embeddings.stage.layer", n=stage - 2)


def _listed(page: Page, labels: Sequence[str], cosines: Sequence[float]) -> str:
    return page.say("common.comma").join(f"{label} {cosine:.3f}" for label, cosine in zip(labels, cosines, strict=True))
