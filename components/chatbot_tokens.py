"""The last answer token by token, and why one of them came: its alternatives, and what each layer would have said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import embeddings_engine, engine, how_engine
from components.badge import Badge
from components.charts import bars
from components.chatbot_engine import ChatbotError, Ids, Talk
from components.chatbot_text import MOST_BITS, mean_bits
from components.engine import Made
from components.figure import draw_note
from components.frame import Page, plain, section
from components.source import draw_source
from llmkit.chat.conversation import Answer
from llmkit.tokens import visible
from llmkit.tokens.written import pieces

if TYPE_CHECKING:
    from llmkit.generate.sampling import Sampling
    from llmkit.trace.why import Why

MOST_TOKENS = 400
"""Tokens of an answer that the strip shows."""

ALTERNATIVES = 8
LAYERS = 14
"""Rows of the lens at most; the table to take away has all."""

_KEY = "chatbot_strip"
_JS = Path(__file__).with_name("js")
_SCRIPTS = ("attention_common.js", "how_common.js", "chatbot_strip.js")
_strip = st.components.v2.component(
    "llm_guide_chatbot_strip",
    js="\n".join((_JS / name).read_text("utf-8") for name in _SCRIPTS),
    css=(_JS / "how.css").read_text("utf-8"),
)


@section
def draw_tokens(page: Page, talk: Talk) -> None:
    """Draw the tokens of the last answer, or of the one that was chosen; a press on one looks into it."""
    at = talk.last_answer
    if at is None:
        draw_note(page.say("chatbot.tokens.none"))
        return
    answer = talk.conversation.turns[at].answer
    assert answer is not None
    page.count("part.token", len(answer.tokens))
    labels = _labels(answer)
    bits = [token.bits for token in answer.tokens[:MOST_TOKENS]]
    known = mean_bits(answer)
    if known is None:
        draw_note(page.say("chatbot.tokens.untold", model=answer.by))
    mean = "–" if known is None else f"{known:.1f}"
    alt = page.say("chatbot.tokens.alt", n=len(answer.tokens), bits=mean, text=visible(_data(answer))[:400])
    table = pd.DataFrame(
        {
            "token": labels,
            "id": pd.array([token.token_id for token in answer.tokens[:MOST_TOKENS]], dtype="Int64"),
            "bits": np.array([np.nan if one is None else one for one in bits], dtype=np.float32),
        }
    )
    badge = Badge.live() if talk.fresh == at else Badge.cached()
    talk.fresh = None
    with page.shown(key="tokens", badge=badge, alt=alt, data=table):
        _draw_strip(page, talk, at, answer, labels)
    if len(answer.tokens) > MOST_TOKENS:
        draw_note(page.say("chatbot.tokens.cut", n=MOST_TOKENS, all=len(answer.tokens)))
    if talk.picked is not None and talk.picked < len(labels):
        with page.guard():
            _draw_why(page, answer, talk.picked, labels[talk.picked], close=lambda: _close(talk))


def _draw_strip(page: Page, talk: Talk, at: int, answer: Answer, labels: list[str]) -> None:
    shown = answer.tokens[:MOST_TOKENS]
    words = ("name", "point", "token", "unknown", "low", "high")
    data = {
        "tokens": labels,
        "bits": [None if token.bits is None else round(token.bits, 3) for token in shown],
        "groups": [[one.start, one.end, visible(one.data)] for one in pieces([token.data for token in shown])],
        "most": MOST_BITS,
        "words": {name: page.say(f"chatbot.strip.{name}", bits=f"{MOST_BITS:.0f}") for name in ("high",)}
        | {name: page.say(f"chatbot.strip.{name}") for name in words if name != "high"},
    }
    _strip(
        key=f"{_KEY}_{at}",
        data={**data, "id": how_engine.digest([at, data])},
        on_picked_change=lambda: _pick(talk, f"{_KEY}_{at}"),
    )


def _pick(talk: Talk, key: str) -> None:
    """Look into the token that was pressed."""
    picked = st.session_state[key].get("picked")
    if isinstance(picked, int | float) and 0 <= picked < MOST_TOKENS:
        talk.picked = int(picked)


def _close(talk: Talk) -> None:
    talk.picked = None


def _draw_why(page: Page, answer: Answer, picked: int, label: str, *, close: Callable[[], None]) -> None:
    """Draw why a token came.

    Raises:
        ChatbotError: ``chat_elsewhere``.
    """
    from llmkit.trace.why import why

    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader(page.say("chatbot.why.title", n=picked + 1, token=plain(label)), anchor=False, width="content")
        st.button(page.say("chatbot.why.close"), key="chatbot_why_close", on_click=close)
    with st.spinner(page.say("chatbot.why.wait")):
        made = look_into(answer, picked)
    page.tick("do.why")
    left, right = st.columns(2, gap="large")
    with left:
        _draw_odds(page, answer, picked, made, label)
    with right:
        _draw_lens(page, answer, made, label)
    draw_source(page, why)


def _draw_odds(page: Page, answer: Answer, picked: int, made: Made[Why], label: str) -> None:
    """Draw what else was likely, before the sampling settings and after them."""
    from llmkit.generate.next_token import filtered

    chosen = answer.tokens[picked].token_id
    assert chosen is not None
    stages = filtered(made.value.logits, _sampling(answer), ids_before(answer, picked))
    before, after = stages[0].probs, stages[-1].probs
    rows = before.argsort()[::-1][:ALTERNATIVES].tolist()
    rows += [] if chosen in rows else [chosen]
    names = embeddings_engine.labels(answer.by, rows)
    marked = [f"▸ {name}" if one == chosen else name for one, name in zip(rows, names, strict=True)]
    alt = page.say(
        "chatbot.why.alt", token=label, p=f"{before[chosen]:.1%}", q=f"{after[chosen]:.1%}", kept=f"{stages[-1].kept:,}"
    )
    groups = [
        (page.say("chatbot.why.before"), before[rows].tolist()),
        (page.say("chatbot.why.after"), after[rows].tolist()),
    ]
    table = pd.DataFrame({"id": rows, "token": names, "before": before[rows], "after": after[rows]})
    st.subheader(page.say("chatbot.why.odds"), anchor=False)
    drawing = bars(groups, marked, x=page.say("chatbot.why.axis"))
    page.figure(drawing, key="why", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


def _draw_lens(page: Page, answer: Answer, made: Made[Why], label: str) -> None:
    """Draw the logit lens at that place: how likely each layer finds the token, and what it finds likeliest."""
    one = made.value
    names = embeddings_engine.labels(answer.by, [int(token) for token in one.layers])
    depth = len(names) - 1
    shown = sorted(set(np.linspace(0, depth, min(LAYERS, depth + 1)).round().astype(int).tolist()))
    first = next((at for at in range(depth + 1) if (one.chosen_ranks[at:] == 1).all()), None)
    alt = page.say("chatbot.lens.alt", token=label, p=f"{one.chosen_probs[-1]:.1%}", layers=depth)
    alt += page.say("chatbot.lens.never") if first is None else page.say("chatbot.lens.from", layer=first)
    table = pd.DataFrame(
        {
            "layer": range(depth + 1),
            "likeliest": names,
            "p_likeliest": one.layer_probs,
            "p_token": one.chosen_probs,
            "rank_token": one.chosen_ranks,
        }
    )
    st.subheader(page.say("chatbot.lens.title"), anchor=False)
    drawing = bars(
        [(label, one.chosen_probs[shown].tolist())],
        [f"{at} · {names[at]}" for at in shown],
        x=page.say("chatbot.lens.axis"),
    )
    page.figure(drawing, key="lens", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


def look_into(answer: Answer, picked: int) -> Made[Why]:
    """Return why a token of an answer came, computed once for all sessions.

    Raises:
        ChatbotError: ``chat_elsewhere``.
    """
    chosen = answer.tokens[picked].token_id
    if not answer.prompt_ids or chosen is None:
        raise ChatbotError("chat_elsewhere")
    fingerprint = engine.fingerprint(answer.by)
    return _why(answer.by, fingerprint, engine.DTYPE, engine.device(), ids_before(answer, picked), chosen)


def ids_before(answer: Answer, picked: int) -> Ids:
    """Return all that had been read when a token was chosen."""
    return answer.prompt_ids + tuple(token.token_id or 0 for token in answer.tokens[:picked])


def _sampling(answer: Answer) -> Sampling:
    """The settings that an answer was written with."""
    from llmkit.generate.sampling import Sampling

    told: dict[str, Any] = dict(answer.sampling)
    return Sampling(**told)


def _labels(answer: Answer) -> list[str]:
    """Each token as a line of visible text; one that ends the answer by its name."""
    here = bool(answer.prompt_ids)
    return [
        embeddings_engine.label(answer.by, token.token_id)
        if here and token.token_id is not None
        else visible(token.data)[:40] or "∅"
        for token in answer.tokens[:MOST_TOKENS]
    ]


def _data(answer: Answer) -> bytes:
    return b"".join(token.data for token in answer.tokens)


@engine.remembered(max_entries=64)
def _why(box_id: str, fingerprint: str, dtype: str, device: str, ids: Ids, chosen: int) -> Why:
    from llmkit.trace.why import why

    return why(engine.open_box(box_id), ids, chosen)
