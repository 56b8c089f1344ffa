"""The page of the socket: one request with what it took, and the same request to take away."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import deploy_engine
from components import socket_engine as found
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, section
from components.socket_engine import Target
from components.theme import ACCENT
from llmkit.serve.reply import vector_of
from llmkit.serve.request import Ask, Request
from llmkit.serve.snippets import KEY_VARIABLE, Language, snippet

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from llmkit.serve.reply import Reply

MOST_TOKENS = (8, 16, 32, 64, 128)
USUAL_TOKENS = 32
PROMPT_CHARACTERS = 20_000
REPAINT_S = 0.05
"""A stream is drawn so often at most: each drawing goes to the browser."""

TABS: tuple[tuple[Language, str, str], ...] = (
    ("curl", "curl", "bash"),
    ("openai", "Python · openai", "python"),
    ("httpx", "Python · httpx", "python"),
    ("javascript", "JavaScript", "javascript"),
)


@section
def draw_send(page: Page, target: Target) -> None:
    """Send one request, show it as it comes, what it took, and how to send it from elsewhere."""
    st.header(page.say("socket.send.title"))
    request = _settings(page, target)
    fresh = st.button(page.say("socket.send.run"), key="socket_send", type="primary")
    place = st.container()
    if fresh:
        with place:
            reply = _ask(page, target, request)
        found.keep("reply", target, (request, reply))
        found.keep("count", target, (found.sent("count", target) or 0) + 1)
        page.tick("do.send")
    page.count("part.request", found.sent("count", target) or 0)
    kept = found.sent("reply", target)
    if kept is None:
        draw_note(page.say("socket.send.first"))
    else:
        with place:
            _draw_reply(page, *kept, fresh=fresh)
    _draw_snippets(page, target, request)


def _settings(page: Page, target: Target) -> Request:
    asks = target.asks
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        ask: Ask = st.segmented_control(
            page.say("socket.send.ask"),
            asks,
            default=asks[0],
            required=True,
            format_func=lambda one: page.say(f"socket.ask.{one}"),
            key=f"socket_ask_{target.identity}",
        )
        writes = ask in ("completion", "chat")
        streams = writes and target.protocol == "openai"
        most = st.select_slider(
            page.say("socket.send.most"), MOST_TOKENS, USUAL_TOKENS, key="socket_most", disabled=not writes, width=280
        )
        stream = st.toggle(page.say("socket.send.stream"), True, key="socket_stream", disabled=not streams)
    text = st.text_area(
        page.say("socket.send.text"),
        deploy_engine.beginning(page.bench.sentence),
        key="socket_text",
        max_chars=PROMPT_CHARACTERS,
        persist_state="session",
        height=100,
    )
    return target.request(ask, text or "", max_tokens=most, stream=stream)


def _ask(page: Page, target: Target, request: Request) -> Reply:
    """Send it; what comes in pieces is drawn as it comes."""
    place, pieces, painted = st.empty(), [], 0.0
    place.html(f'<p class="socket-answer">{escape(page.say("socket.send.waiting"))}</p>')

    def piece(text: str) -> None:
        nonlocal painted
        pieces.append(text)
        now = time.perf_counter()
        if now - painted > REPAINT_S:
            painted = now
            place.html(f'<p class="socket-answer"><bdi>{escape("".join(pieces)[: found.SHOWN_CHARACTERS])}</bdi></p>')

    reply = target.client().send(request, on_piece=piece)
    place.empty()
    return reply


def _draw_reply(page: Page, request: Request, reply: Reply, *, fresh: bool) -> None:
    """Draw an answer, or why there is none, and what it took."""
    _draw_answer(page, request, reply)
    badge = Badge.live() if fresh else Badge.cached()
    facts = _facts(page, reply)
    table = pd.DataFrame([{name: value for name, _, value in facts}])
    if len(reply.arrivals_ms) < 2:
        alt = page.say("common.comma").join(f"{page.say(f'socket.fact.{name}')} {text}" for name, text, _ in facts)
        with page.shown(key="facts", badge=badge, alt=alt, data=table):
            st.html(_facts_html(page, facts, reply))
        return
    st.html(_facts_html(page, facts, reply))
    came = np.asarray(reply.arrivals_ms, dtype=np.float32)
    alt = page.say("socket.send.alt", first=f"{came[0]:,.0f}", n=len(came), all=f"{reply.latency_ms:,.0f}")
    data = pd.DataFrame({"ms": came, "pieces": np.arange(1, len(came) + 1)})
    page.figure(_arrivals(page, came), key="arrivals", badge=badge, alt=alt, data=data)


def _draw_answer(page: Page, request: Request, reply: Reply) -> None:
    if not reply.ok:
        named = escape(found.error_words(page, reply.error or ""))
        said = f"<small><bdi>{escape(reply.message)}</bdi></small>" if reply.message else ""
        text = f'<p class="socket-answer"><bdi>{escape(reply.text)}</bdi></p>' if reply.text else ""
        st.html(f'{text}<p class="socket-answer bad"><b>{named}</b>{said}</p>')
        return
    text = _said(page, request, reply)
    more = len(text) - found.SHOWN_CHARACTERS
    cut = f"<small>{escape(page.say('socket.send.cut', n=more))}</small>" if more > 0 else ""
    st.html(f'<p class="socket-answer"><bdi>{escape(text[: found.SHOWN_CHARACTERS])}</bdi>{cut}</p>')


def _said(page: Page, request: Request, reply: Reply) -> str:
    """An answer as one text; whatever a server puts where a vector or a label belongs, it is only shown."""
    if (vector := vector_of(reply.data)) is not None:
        head = page.say("common.comma").join(f"{value:+.3f}" for value in vector[:4] if isinstance(value, int | float))
        return page.say("socket.send.dimensions", n=len(vector), head=head + " …")
    if request.path not in ("/v1/embeddings", "/classify"):
        return reply.text or page.say("socket.send.empty")
    listed = reply.data.get("data") if isinstance(reply.data, dict) else None
    first: Any = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    label, probs = first.get("label"), first.get("probs")
    if isinstance(label, str) and isinstance(probs, dict) and isinstance(probs.get(label), int | float):
        return page.say("socket.send.label", label=label[:200], p=f"{probs[label]:.1%}")
    return str(reply.data)


def _facts(page: Page, reply: Reply) -> list[tuple[str, str, float | int | None]]:
    """Name, words and value of what an answer took; what the server does not say is left out."""
    facts: list[tuple[str, str, float | int | None]] = [("status", found.status_words(page, reply), reply.status)]
    if reply.first_token_ms is not None:
        facts.append(("first_token", f"{reply.first_token_ms:,.0f} ms", reply.first_token_ms))
    facts.append(("latency", f"{reply.latency_ms:,.0f} ms", reply.latency_ms))
    for name, value in (("prompt_tokens", reply.prompt_tokens), ("completion_tokens", reply.completion_tokens)):
        if value is not None:
            facts.append((name, f"{value:,}", value))
    if reply.completion_tokens:
        rate = reply.completion_tokens / reply.latency_ms * 1000
        facts.append(("rate", f"{rate:,.1f}", rate))
    return facts


def _facts_html(page: Page, facts: list[tuple[str, str, float | int | None]], reply: Reply) -> str:
    cells = "".join(
        f'<div class="{"bad" if name == "status" and not reply.ok else ""}">'
        f"<dt>{escape(page.say(f'socket.fact.{name}'))}</dt><dd>{escape(text)}</dd></div>"
        for name, text, _ in facts
    )
    return f'<dl class="socket-facts">{cells}</dl>'


def _arrivals(page: Page, came: np.ndarray[Any, np.dtype[np.float32]]) -> go.Figure:
    """When each piece of a stream came, as a staircase."""
    import plotly.graph_objects as go

    x = np.concatenate([np.zeros(1, dtype=np.float32), came])
    figure = go.Figure(
        go.Scatter(
            x=x,
            y=np.arange(len(x)),
            mode="lines",
            line={"shape": "hv", "width": 4, "color": ACCENT},
            hovertemplate="%{x:.0f} · %{y}<extra></extra>",
        )
    )
    figure.update_xaxes(title={"text": page.say("socket.send.axis.ms")}, rangemode="tozero")
    figure.update_yaxes(title={"text": page.say("socket.send.axis.pieces")}, rangemode="tozero")
    return figure.update_layout(height=260)


def _draw_snippets(page: Page, target: Target, request: Request) -> None:
    """The same request as lines to copy."""
    st.subheader(page.say("socket.copy.title"))
    for tab, (language, _, colours) in zip(st.tabs([name for _, name, _ in TABS]), TABS, strict=True):
        with tab:
            code = snippet(language, target.address, request, key=target.wants_key)
            if code is None:
                draw_note(page.say("socket.copy.none"))
            else:
                st.code(code, language=colours, wrap_lines=True)
    if target.wants_key:
        draw_note(page.say("socket.copy.key", variable=KEY_VARIABLE))
