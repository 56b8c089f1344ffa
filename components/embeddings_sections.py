"""The Embeddings page, picture by picture: each takes the sheet, asks the engine and draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from components import embeddings_engine as found
from components.attention_engine import encode
from components.embeddings_picture import cloud_plot, layer_lines, neighbour_bars
from components.engine import Made
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.moving import Slider, draw_moving, place
from components.source import draw_source
from llmkit.tokens import Encoding

if TYPE_CHECKING:
    from llmkit.trace.space import Analogy, Method, Neighbours

METHODS: tuple[Method, ...] = ("pca", "tsne", "umap")
AROUND = 2
"""Rows of the table drawn above and below the chosen one."""

FEWEST, USUAL = 3, 10
"""Neighbours that are shown at least, and to begin with."""


@section
def draw_table(page: Page) -> None:
    """Draw the row of the table that a token's id picks, and the rows nearest to it in the whole table."""
    bench = page.bench
    encoding = found.encode(bench.box_id, bench.sentence)
    if not len(encoding):
        from llmkit.trace import TraceError

        raise TraceError("text_empty", tokens=0, limit=found.MAX_TOKENS)
    with st.spinner(page.say("embeddings.opening")):
        made = found.table(bench.box_id)
    page.count("part.row", len(made.value))
    page.count("part.dimension", made.value.shape[1])
    token = _token_slider(page, encoding)
    at = place(token)
    if at != token.start:
        page.tick("do.look_up")
    _draw_row(page, made, encoding, token)
    _draw_near(page, encoding, token)
    if len(encoding) > found.MAX_TOKENS:
        draw_note(page.say("embeddings.cloud.cut", n=found.MAX_TOKENS))


def _token_slider(page: Page, encoding: Encoding) -> Slider:
    """The sentence's tokens; the first that is not special is looked at first."""
    count = min(len(encoding), found.MAX_TOKENS)
    return Slider(
        name="embeddings_token",
        label=page.say("embeddings.row.token"),
        low=0,
        high=count - 1,
        start=next((at for at in range(count) if not encoding.special[at]), 0),
        places=tuple(f"{encoding.labels[at]} → {encoding.ids[at]}" for at in range(count)),
    )


def _draw_row(page: Page, made: Made[found.Floats], encoding: Encoding, token: Slider) -> None:
    """Draw the chosen row between those above and below it."""
    from llmkit.parts import TokenEmbedding

    st.header(page.say("embeddings.row.title"))
    rows, box_id = made.value, page.bench.box_id
    ids = encoding.ids[: token.high + 1]
    around = {one: range(max(one - AROUND, 0), min(one + AROUND + 1, len(rows))) for one in ids}
    sent = sorted({row for span in around.values() for row in span})
    order = {row: at for at, row in enumerate(sent)}
    told = [_row_told(page, label, one, rows[one]) for label, one in zip(encoding.labels, ids, strict=False)]
    chosen = around[ids[place(token)]]
    table = pd.DataFrame(rows[chosen.start : chosen.stop].T, columns=[str(row) for row in chosen])
    with page.shown(
        key="row", badge=made.badge, alt=told[place(token)], data=table.rename_axis("dimension").reset_index()
    ):
        draw_moving(
            "embeddings",
            "row",
            key="embeddings_row",
            name=page.say("embeddings.row.title"),
            sliders=[token],
            words={"dimension": page.say("embeddings.row.dimension"), "cell": page.say("embeddings.row.cell")},
            rows=encode(rows[sent].astype(np.float32)),
            dims=rows.shape[1],
            names=[f"{row} {name}" for row, name in zip(sent, found.labels(box_id, sent), strict=True)],
            shown=[[order[row] for row in around[one]] for one in ids],
            rowOf=[one - around[one].start for one in ids],
            told=told,
        )
    draw_source(page, TokenEmbedding)


def _row_told(page: Page, label: str, token_id: int, row: found.Floats) -> str:
    return page.say(
        "embeddings.row.alt",
        token=label,
        id=token_id,
        dims=len(row),
        low=f"{row.min():.3f}",
        high=f"{row.max():.3f}",
        norm=f"{float((row**2).sum() ** 0.5):.3f}",
    )


def _draw_near(page: Page, encoding: Encoding, token: Slider) -> None:
    """Draw the rows nearest to the chosen one, found in the whole table."""
    box_id = page.bench.box_id
    st.header(page.say("embeddings.near.title"))
    ids = encoding.ids[: token.high + 1]
    made = found.neighbours(box_id, tuple(ids))
    most = min(len(near.ids) for near in made.value)
    label = page.say("embeddings.near.slider")
    few, usual = min(FEWEST, most), min(USUAL, most)
    near = Slider(name="embeddings_near", label=label, low=few, high=most, start=usual)
    count, at = place(near), place(token)
    if count != usual:
        page.tick("do.neighbours")
    sent = list(dict.fromkeys(row for one in made.value for row in one.ids))
    names = found.labels(box_id, sent)
    order = {row: number for number, row in enumerate(sent)}
    shown, cosines = made.value[at].ids[:count], made.value[at].cosines[:count]
    labels = [names[order[row]] for row in shown]
    alt = page.say("embeddings.near.alt", token=encoding.labels[at], listed=_listed(page, labels, cosines))
    table = pd.DataFrame({"id": shown, "token": labels, "cosine": cosines})
    with page.shown(key="near", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "embeddings",
            "near",
            key="embeddings_near_bars",
            name=page.say("embeddings.near.title"),
            sliders=[near, replace(token, own=False)],
            words={"told": page.say("embeddings.near.told"), "row": page.say("embeddings.near.row")},
            tokens=list(encoding.labels[: token.high + 1]),
            ids=[[order[row] for row in one.ids[:most]] for one in made.value],
            names=names,
            most=most,
            cosines=encode(np.array([one.cosines[:most] for one in made.value], dtype=np.float32)),
        )
    draw_note(page.say("embeddings.near.note", n=len(found.table(box_id).value)))


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
    labels = found.labels(bench.box_id, cloud.ids)
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
            pieces = " | ".join(found.labels(box_id, word.ids))
            key = "embeddings.sum.expected_split" if word is words[3] else "embeddings.sum.split"
            draw_note(page.say(key, word=word.text, n=len(word.ids), pieces=pieces))
    made = found.solve(box_id, *words)
    inputs = st.toggle(page.say("embeddings.sum.inputs"), value=True, key="embeddings_inputs")
    shown: Neighbours = made.value.nearest if inputs else made.value.nearest_others
    labels = found.labels(box_id, shown.ids)
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
    labels = found.encode(bench.box_id, bench.sentence).labels
    stages = [_stage(page, stage) for stage in range(len(made.value))]
    label = page.say("embeddings.like.slider")
    slider = Slider(name="embeddings_stage", label=label, low=0, high=len(stages) - 1, start=0, places=tuple(stages))
    values = made.value[place(slider)]
    count = len(labels)
    mean = (float(values.sum()) - float(values.trace())) / max(count * (count - 1), 1)
    alt = page.say("embeddings.like.alt", n=count, stage=stages[place(slider)], mean=f"{mean:.3f}")
    table = pd.DataFrame(values, columns=[f"{at}: {one}" for at, one in enumerate(labels)])
    table.insert(0, "token", labels)
    with page.shown(key="like", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "embeddings",
            "like",
            key="embeddings_like",
            name=page.say("embeddings.like.title"),
            sliders=[slider],
            words={"told": page.say("embeddings.like.alt"), "pair": page.say("embeddings.like.pair")},
            T=count,
            labels=list(labels),
            stages=stages,
            cosines=encode(made.value[:, *np.tril_indices(count)]),
        )


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
