"""The Prompts page's pictures: accuracy against shots, one review's labels, the prompt itself, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from components.prompts_engine import Sent
from components.theme import ACCENT, QUIET, plot_text
from lessons import Words
from llmkit.tokens import glyphs
from llmkit.tokens.pieces import join

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN_TOKENS = 1_500
"""Tokens of a prompt that are drawn; the CSV holds them all."""

ROLES = ("template", "instruction", "shot", "label", "question")

_COLOURS = ("#1f77d0", "#d98200", "#1a936f")
_SYMBOLS = ("circle", "diamond", "square")
_SPREAD = 0.2
"""How far dots of different wordings stand apart, where one number of shots is 1 wide."""


def accuracy(
    runs: Sequence[Mapping[str, Any]], medians: Mapping[int, float], counts: Sequence[int], chance: float, say: Words
) -> go.Figure:
    """Draw each run as a dot, the median as a line, chance as a dashed one.

    Args:
        runs: as the job returns them. medians: of the runs with each number of shots. counts: all numbers of shots,
            in order; also those that nothing ran with. chance: accuracy of always saying one label.
        say: the words of the page's language.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    ways = list(dict.fromkeys(run["wording"] for run in runs))
    orders = 1 + max((run["order"] for run in runs), default=0)
    for at, way in enumerate(ways):
        own = [run for run in runs if run["wording"] == way]
        aside = [(at - (len(ways) - 1) / 2) * _SPREAD + (run["order"] - (orders - 1) / 2) * 0.04 for run in own]
        places = [counts.index(run["shots"]) + off for run, off in zip(own, aside, strict=True)]
        name = say(f"prompts.wording.{way}")
        figure.add_trace(
            go.Scatter(
                x=np.asarray(places, dtype=np.float32),
                y=np.asarray([run["right"] / run["n"] for run in own], dtype=np.float32),
                mode="markers",
                name=plot_text(name),
                marker={"size": 13, "color": _COLOURS[at % 3], "symbol": _SYMBOLS[at % 3], "opacity": 0.8},
                text=[_dot(run, name, say) for run in own],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=np.asarray([counts.index(k) for k in medians], dtype=np.float32),
            y=np.asarray(list(medians.values()), dtype=np.float32),
            mode="lines",
            name=plot_text(say("prompts.accuracy.median")),
            line={"color": ACCENT, "width": 4},
            hovertemplate="%{y:.0%}<extra></extra>",
        )
    )
    figure.add_hline(y=chance, line={"color": QUIET, "width": 3, "dash": "dash"})
    figure.update_xaxes(
        title={"text": say("prompts.shots")},
        tickmode="array",
        tickvals=list(range(len(counts))),
        ticktext=[str(k) for k in counts],
        range=[-0.5, len(counts) - 0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title={"text": say("prompts.accuracy.axis")}, range=[0, 1.04], tickformat=".0%")
    return figure.update_layout(height=440, legend={"orientation": "h", "y": 1.16, "x": 0})


def one(rows: Sequence[Mapping[str, Any]], names: tuple[str, ...], say: Words) -> go.Figure:
    """Draw, for each number of shots, the probability of both labels and of anything else, stacked to 1.

    Args:
        rows: shots and probs, [negative, positive]. names: of the labels. say: the words of the page's language.
    """
    import plotly.graph_objects as go

    probs = np.asarray([row["probs"] for row in rows], dtype=np.float32)  # [N, 2]
    rest = np.clip(1 - probs.sum(1), 0, 1)
    figure = go.Figure()
    layers = ((names[1], probs[:, 1], _COLOURS[0]), (names[0], probs[:, 0], _COLOURS[1]))
    for name, values, colour in (*layers, (say("prompts.one.rest"), rest, "rgba(138,133,128,0.35)")):
        figure.add_trace(
            go.Bar(
                x=[str(row["shots"]) for row in rows],
                y=values,
                name=plot_text(name),
                marker={"color": colour},
                hovertemplate="%{x}: %{y:.1%}<extra>" + plot_text(name) + "</extra>",
            )
        )
    figure.update_xaxes(title={"text": say("prompts.shots")}, type="category", showgrid=False)
    figure.update_yaxes(title={"text": say("prompts.one.axis")}, range=[0, 1], tickformat=".0%")
    return figure.update_layout(
        height=380, barmode="stack", bargap=0.12, legend={"orientation": "h", "y": 1.18, "x": 0}
    )


def prompt(sent: Sent, say: Words) -> str:
    """Draw a prompt token by token, coloured by what each is part of; special tokens are outlined. Returns HTML."""
    encoding = sent.encoding
    key = "".join(
        f'<span class="pt pt-{role}">{escape(say(f"prompts.role.{role}"))}</span>'
        for role in ROLES
        if role in sent.roles
    )
    if any(encoding.special):
        key += f'<span class="pt pt-template pt-special">{escape(say("prompts.role.special"))}</span>'
    groups = [(start, end) for start, end in encoding.groups if end <= SHOWN_TOKENS]
    tokens = [_token(sent, start) if end == start + 1 else _character(sent, start, end) for start, end in groups]
    more = ""
    if len(encoding) > SHOWN_TOKENS:
        more = f'<p class="note">{escape(say("prompts.template.more", shown=SHOWN_TOKENS, n=len(encoding)))}</p>'
    return f'<div class="pt-key">{key}</div><div class="pt-sent" tabindex="0">{"".join(tokens)}</div>{more}'


def pair(names: Sequence[str], answers: Sequence[Mapping[str, Any]], say: Words) -> str:
    """Draw two answers side by side with what they took. The box's text is escaped. Returns HTML."""
    cards = ""
    for name, answer in zip(names, answers, strict=False):
        ended = say("prompts.pair.ended" if answer["ended"] else "prompts.pair.cut")
        facts = say(
            "prompts.pair.facts",
            tokens_in=answer["tokens_in"],
            tokens_out=answer["tokens_out"],
            first=f"{answer.get('seconds_first', 0):.1f}",
            seconds=f"{answer.get('seconds', 0):.1f}",
        )
        cards += (
            f'<div class="pt-card"><h3>{escape(name)}</h3><blockquote><bdi>{escape(answer["text"])}</bdi></blockquote>'
            f"<p>{escape(facts)} {escape(ended)}</p></div>"
        )
    return f'<div class="pt-pair">{cards}</div>'


def costs(rows: Sequence[Mapping[str, Any]], limit: int, say: Words) -> str:
    """Draw what each number of shots takes: tokens, time, memory, and how much of the context. Returns HTML."""
    names = ("tokens", "time", "memory", "context")
    head = "".join(f"<th>{escape(text)}</th>" for text in (say("prompts.shots"), *_said(say, names)))
    body = ""
    for row in rows:
        share = row["tokens"] / limit
        over = share > 1
        seconds = "–" if row["seconds"] is None else say("prompts.cost.seconds", n=f"{row['seconds']:.2f}")
        fill = f'<span class="pt-track"><span class="pt-fill" style="width:{min(share, 1):.2%}"></span></span>'
        memory = say("prompts.cost.mib", n=f"{row['kv_bytes'] / 2**20:.1f}")
        used = say("prompts.cost.over") if over else f"{share:.1%}"
        body += (
            f'<tr class="{"pt-over" if over else "pt-fits"}"><td>{row["shots"]}</td><td>{row["tokens"]}</td>'
            f"<td>{escape(seconds)}</td><td>{escape(memory)}</td>"
            f"<td>{escape(used)}{fill}</td></tr>"
        )
    return f'<div class="pt-cost"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _said(say: Words, names: Sequence[str]) -> list[str]:
    return [say(f"prompts.cost.{name}") for name in names]


def _token(sent: Sent, at: int) -> str:
    """One token: blanks and controls made visible, a line break both marked and made."""
    shown = ""
    for glyph in glyphs(sent.encoding.token_bytes[at]):
        text = escape(glyph.shown)
        if glyph.kind == "text":
            shown += text
        elif glyph.shown == "⏎":
            shown += f'<span class="pt-mark">{text}</span>\n'
        elif glyph.kind == "space":
            shown += f'<span class="pt-mark">{text}</span><wbr>'
        else:
            shown += f'<span class="pt-mark">⟨{text}⟩</span>'
    return f'<span class="{_classes(sent, at)}">{shown}</span>'


def _character(sent: Sent, start: int, end: int) -> str:
    """Tokens that share a character: the character, each token's bytes above it."""
    parts = sent.encoding.token_bytes[start:end]
    above = "".join(f"<span>{part.hex().upper()}</span>" for part in parts)
    whole = escape(join(parts))
    return f'<ruby class="{_classes(sent, start)} pt-shared">{whole}<rt>{above}</rt></ruby><wbr>'


def _classes(sent: Sent, at: int) -> str:
    role, shot = sent.roles[at], sent.shots[at]
    other = " pt-other" if role == "shot" and shot is not None and shot % 2 else ""
    return f"pt pt-{role}{other}" + (" pt-special" if sent.encoding.special[at] else "")


def _dot(run: Mapping[str, Any], name: str, say: Words) -> str:
    """What a dot says: its run's result, and how far 95 % of such samples reach."""
    share, low, high = (f"{value:.0%}" for value in (run["right"] / run["n"], run["low"], run["high"]))
    order = run["order"] + 1
    told = say("prompts.accuracy.dot", shots=run["shots"], order=order, wording=name, right=share, low=low, high=high)
    return escape(told)
