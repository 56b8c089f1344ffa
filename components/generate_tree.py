"""Trees of tokens on the Generate page: the learner's own branches, and those of a beam search."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from components import embeddings_engine, how_engine, tokens_engine
from components import generate_engine as found
from components import generate_settings as settings
from components import generate_text as text
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, section
from components.generate_engine import Ids, Task
from components.source import draw_source
from llmkit.tokens import visible

if TYPE_CHECKING:
    from llmkit.generate.beams import BeamTree

ALTERNATIVES = 8
"""Likeliest tokens that can be picked."""

PATH_TOKENS = 24
"""Tokens of a way that an address can bring back."""

BEAMS = (1, 2, 3, 4, 5)
BEAM_LENGTH = 8

_JS = Path(__file__).with_name("js")
_TREE = "_generate_tree"
_PATH = "generate_path"
_KEY = "generate_steps"
_SEARCHED = "_generate_beams"


def _read(*names: str) -> str:
    return "\n".join((_JS / name).read_text(encoding="utf-8") for name in names)


_tree = st.components.v2.component(
    "llm_guide_generate_tree",
    js=_read("attention_common.js", "generate_tree.js"),
    css=_read("attention.css", "generate_tree.css"),
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A token that the learner has chosen.

    Args:
        parent: the number of the node that it follows; -1 for the prompt. token_id: the token.
        logprob: natural logarithm of the probability that the model gave it there.
    """

    parent: int
    token_id: int
    logprob: float


@dataclass(kw_only=True)
class Branches:
    """All ways that the learner has gone from one prompt.

    Args:
        task: the prompt. nodes: in the order in which they were first chosen. at: where the learner is; -1 at the
            prompt.
    """

    task: Task
    nodes: list[Node] = field(default_factory=list)
    at: int = -1

    def way(self, end: int | None = None) -> list[int]:
        """The numbers of the nodes from the prompt to `end`, or to where the learner is."""
        found: list[int] = []
        at = self.at if end is None else end
        while at >= 0:
            found.append(at)
            at = self.nodes[at].parent
        return found[::-1]

    def ids(self) -> Ids:
        """The tokens from the prompt to where the learner is."""
        return tuple(self.nodes[at].token_id for at in self.way())

    def go_on(self, token_id: int, logprob: float) -> None:
        """Go on with a token: on a new branch, or on the one that is there already."""
        for number, node in enumerate(self.nodes):
            if (node.parent, node.token_id) == (self.at, token_id):
                self.at = number
                return
        self.nodes.append(Node(parent=self.at, token_id=token_id, logprob=logprob))
        self.at = len(self.nodes) - 1

    def back(self) -> None:
        """Go back by one token; the branch stays."""
        if self.at >= 0:
            self.at = self.nodes[self.at].parent


@section
def draw_steps(page: Page, task: Task) -> None:
    """Let the learner pick each token, go back, and go another way."""
    st.header(page.say("generate.steps.title"))
    tree = _branches(task)
    with st.container(horizontal=True, gap="small"):
        st.button(
            page.say("generate.steps.back"), key="generate_back", disabled=tree.at < 0, on_click=_back, args=(task,)
        )
        st.button(
            page.say("generate.steps.dice"), key="generate_dice", disabled=_over(tree), on_click=_dice, args=(task,)
        )
    way = [tree.nodes[at] for at in tree.way()]
    data = found.bytes_of(task.box_id, tree.ids())
    st.html(text.written(settings.prompt_bytes(task), data, [node.logprob for node in way]))
    over = _over(tree)
    if over:
        draw_note(page.say("generate.steps.over", limit=task.limit))
    made = found.logits(task, tree.ids()) if not over else None
    labels = embeddings_engine.labels(task.box_id, [node.token_id for node in tree.nodes])
    total = sum(node.logprob for node in way)
    alt = page.say("generate.steps.alt", n=len(way), branches=_leaves(tree), total=f"{total:.2f}")
    table = pd.DataFrame(
        {
            "node": range(len(tree.nodes)),
            "parent": [node.parent for node in tree.nodes],
            "id": [node.token_id for node in tree.nodes],
            "token": labels,
            "logprob": [node.logprob for node in tree.nodes],
        }
    )
    with page.shown(key="steps", badge=made.badge if made else Badge.cached(), alt=alt, data=table):
        _draw(
            page,
            key=_KEY,
            name=page.say("generate.steps.title"),
            nodes=_nodes(tree, labels),
            picks=[] if over else _picks(tree),
            at=tree.at,
            on_picked=lambda: _pick(task),
            on_gone=lambda: _go(task),
        )
    if len(tree.nodes) > len(way):
        page.tick("do.branch")


def _branches(task: Task) -> Branches:
    """This session's tree for a prompt; a new one follows the way that the address holds."""
    tree = st.session_state.get(_TREE)
    if not isinstance(tree, Branches) or tree.task != task:
        first = tree is None
        tree = st.session_state[_TREE] = Branches(task=task)
        if first:
            _follow(tree, str(st.query_params.get(_PATH, "")))
        else:
            st.query_params.pop(_PATH, None)
    return tree


def _follow(tree: Branches, asked: str) -> None:
    """Go the way of an address ("12.7.301"), as far as it leads over tokens that there are."""
    if not re.fullmatch(r"\d{1,7}(\.\d{1,7})*", asked, re.ASCII):
        return
    for piece in asked.split(".")[:PATH_TOKENS]:
        if _over(tree) or int(piece) >= len(found.logits(tree.task, tree.ids()).value.values):
            return
        _go_on(tree, int(piece))


def _go_on(tree: Branches, token_id: int) -> None:
    tree.go_on(token_id, float(_logprobs(tree)[token_id]))


def _logprobs(tree: Branches) -> NDArray[np.float64]:
    """Natural logarithms of the odds where the learner is, [V] float64."""
    logits = found.logits(tree.task, tree.ids()).value.values.astype(np.float64)
    shifted = logits - logits.max()
    logprobs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return logprobs


def _over(tree: Branches) -> bool:
    """Whether nothing can follow: the text has ended itself, or the context is full."""
    ids = tree.ids()
    return len(ids) >= tree.task.room or (bool(ids) and ids[-1] in tree.task.stop_ids)


def _leaves(tree: Branches) -> int:
    """How many ways end somewhere."""
    return len(tree.nodes) - len({node.parent for node in tree.nodes} - {-1})


def _keep_address(tree: Branches) -> None:
    ids = tree.ids()[:PATH_TOKENS]
    if ids:
        st.query_params[_PATH] = ".".join(map(str, ids))
    else:
        st.query_params.pop(_PATH, None)


def _back(task: Task) -> None:
    tree = _branches(task)
    tree.back()
    _keep_address(tree)


def _dice(task: Task) -> None:
    """Let the settings draw; each draw has a seed of its own."""
    tree = _branches(task)
    if not _over(tree):
        sampling = settings.sampling_now(seed=settings.seed_now() + len(tree.nodes))
        _go_on(tree, found.drawn(task, tree.ids(), sampling))
        _keep_address(tree)


def _pick(task: Task) -> None:
    """Go on with the alternative that was pressed; a press that came while another was on its way is none."""
    picked, tree = st.session_state[_KEY].get("picked"), _branches(task)
    if not isinstance(picked, list) or len(picked) != 2 or picked[0] != tree.at or _over(tree):
        return
    rank = picked[1]
    if isinstance(rank, int) and 0 <= rank < ALTERNATIVES:
        order = found.logits(task, tree.ids()).value.order
        _go_on(tree, int(order[min(rank, len(order) - 1)]))
        _keep_address(tree)


def _go(task: Task) -> None:
    """Go to the token that was pressed in the tree."""
    gone, tree = st.session_state[_KEY].get("gone"), _branches(task)
    if isinstance(gone, int) and 0 <= gone < len(tree.nodes):
        tree.at = gone
        _keep_address(tree)


def _picks(tree: Branches) -> list[dict[str, Any]]:
    order = found.logits(tree.task, tree.ids()).value.order[:ALTERNATIVES]
    probs, taken = _logprobs(tree), {node.token_id for node in tree.nodes if node.parent == tree.at}
    return [
        {
            "label": embeddings_engine.label(tree.task.box_id, int(one)),
            "p": f"{math.exp(probs[one]):.1%}",
            "share": round(math.exp(probs[one]), 5),
            "taken": int(one) in taken,
        }
        for one in order
    ]


def _nodes(tree: Branches, labels: list[str]) -> list[dict[str, Any]]:
    way = set(tree.way())
    totals: list[float] = []
    made = []
    for number, (node, label) in enumerate(zip(tree.nodes, labels, strict=True)):
        totals.append(node.logprob + (totals[node.parent] if node.parent >= 0 else 0.0))
        state = "here" if number == tree.at else "way" if number in way else "side"
        made.append(_node(label, node.parent, node.logprob, totals[number], state))
    return made


def _node(label: str, parent: int, logprob: float, total: float, state: str) -> dict[str, Any]:
    return {
        "label": label,
        "parent": parent,
        "p": f"{math.exp(logprob):.0%}" if logprob > math.log(0.0995) else f"{math.exp(logprob):.1%}",
        "total": f"{total:.2f}".replace("-", "−"),
        "state": state,
    }


def _draw(
    page: Page, *, key: str, name: str, nodes: list[dict[str, Any]], picks: list[dict[str, Any]], at: int, **on: Any
) -> None:
    """Draw a tree; with callbacks, one that the learner grows."""
    words = {"name": name, "node": page.say("generate.tree.node"), "keys": page.say("generate.tree.keys")}
    words["start"] = page.say("generate.steps.start") if on else ""
    data = {"nodes": nodes, "picks": picks, "at": at, "open": bool(on), "words": words}
    calls = {f"{name}_change": call for name, call in on.items()}
    _tree(key=key, data={**data, "id": how_engine.digest(data)}, **calls)


# ---- beams


@section
def draw_beams(page: Page, task: Task) -> None:
    """Draw what a beam search follows and drops, beside the greedy and the drawn text of the same length."""
    from llmkit.generate.beams import beam_search

    st.header(page.say("generate.beams.title"))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        width = st.segmented_control(
            page.say("generate.beams.width"),
            BEAMS,
            default=3,
            required=True,
            key="generate_beams",
            bind="query-params",
            persist_state="session",
        )
        searched = st.session_state.get(_SEARCHED) == task
        if not searched and st.button(page.say("generate.beams.start"), key="generate_beams_start", type="primary"):
            st.session_state[_SEARCHED], searched = task, True
    if not searched:
        draw_note(page.say("generate.beams.ready", n=BEAM_LENGTH))
        return
    length = min(BEAM_LENGTH, task.room)
    with st.spinner(page.say("generate.beams.wait")):
        made = found.beams(task, int(width or 1), length)
    tree = made.value
    won, kept = set(tree.path(tree.found[0])), {at for end in tree.found for at in tree.path(end)}
    labels = embeddings_engine.labels(task.box_id, [one.token_id for one in tree.branches])
    states = ["won" if at in won else "kept" if at in kept else "pruned" for at in range(len(labels))]
    nodes = [
        _node(label, -1 if one.parent is None else one.parent, one.logprob, one.total, state)
        for label, one, state in zip(labels, tree.branches, states, strict=True)
    ]
    best = tree.found[0]
    alt = page.say(
        "generate.beams.alt",
        width=width,
        kept=len(tree.branches),
        pruned=states.count("pruned"),
        total=f"{tree.branches[best].total:.2f}",
    )
    table = pd.DataFrame(
        {
            "node": range(len(labels)),
            "parent": [one.parent for one in tree.branches],
            "token": labels,
            "logprob": [one.logprob for one in tree.branches],
            "total": [one.total for one in tree.branches],
            "state": states,
        }
    )
    with page.shown(key="beams", badge=made.badge, alt=alt, data=table):
        _draw(page, key="generate_beam_tree", name=page.say("generate.beams.title"), nodes=nodes, picks=[], at=-1)
    draw_note(page.say("generate.beams.note"))
    _draw_three(page, task, tree, length)
    page.tick("do.beams")
    draw_source(page, beam_search)


def _draw_three(page: Page, task: Task, tree: BeamTree, length: int) -> None:
    """Draw the greedy text, the drawn one and the beam's, with the probability that the model gives each whole."""
    seed = settings.seed_now()
    greedy = found.at_once(task, settings.greedy(), length)
    drawn = found.at_once(task, settings.sampling_now(seed=seed), length)
    ends = tree.path(tree.found[0])
    rows: list[tuple[str, Ids, list[float]]] = [
        (
            page.say(f"generate.way.{name}"),
            tuple(step.token_id for step in made.value.steps),
            [step.logprob for step in made.value.steps],
        )
        for name, made in (("greedy", greedy), ("sampled", drawn))
    ]
    rows.append((page.say("generate.way.beam"), tree.text_ids(ends[-1]), [tree.branches[at].logprob for at in ends]))
    prompt = settings.prompt_bytes(task)
    html = ""
    for name, ids, logprobs in rows:
        total = page.say("generate.way.total", total=f"{sum(logprobs):.2f}".replace("-", "−"), n=len(ids))
        shown = text.written(prompt, found.bytes_of(task.box_id, ids), logprobs, small=True)
        html += f'<h3 class="gen-way">{escape(name)} <small>{escape(total)}</small></h3>{shown}'
    best = max(rows, key=lambda row: sum(row[2]))
    alt = page.say("generate.way.alt", name=best[0], total=f"{sum(best[2]):.2f}")
    table = pd.DataFrame(
        {
            "way": [name for name, _, _ in rows],
            "text": [visible(b"".join(found.bytes_of(task.box_id, ids))) for _, ids, _ in rows],
            "total": [sum(logprobs) for _, _, logprobs in rows],
        }
    )
    badge = tokens_engine.origin([greedy, drawn])
    with page.shown(key="ways", badge=badge, alt=alt, data=table):
        st.html(html)
