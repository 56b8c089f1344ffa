"""The board of task A: all ways on one scale, one way's dial and confusion matrix, the rows of a cell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from components import classify_engine as found
from components.attention_engine import encode
from components.classify_engine import Answered, Choice
from lessons import Words

if TYPE_CHECKING:
    from llmkit.tune.ways.task import Task

_HERE = Path(__file__).parent
TEXT_CHARACTERS = 400
LABEL_CHARACTERS = 32
"""So much of a row's text, and of a label, is sent to the board."""

_board = st.components.v2.component(
    "llm_guide_classify_board",
    js="\n".join((_HERE / "js" / name).read_text(encoding="utf-8") for name in ("attention_common.js", "classify.js")),
    css=(_HERE / "js" / "classify.css").read_text(encoding="utf-8"),
)

_WORDS = (
    *("name", "way", "accuracy", "f1", "learn", "each", "memory", "chance"),
    *("matrix", "truth", "judged", "cell", "none", "more", "point", "sure"),
)


def draw(
    task: Task, choice: Choice, ways: Mapping[str, Answered], say: Words, *, on_settled: Callable[[], None]
) -> None:
    """Draw the board; choosing a way, a place of its dial or a cell asks nothing of the server.

    Args:
        task: the rows. choice: what was asked. ways: those that have answered.
        say: the words of the page's language.
        on_settled: called a moment after the learner has settled on something.
    """
    data = {
        "labels": [shown_label(label) for label in task.labels],
        "truth": encode(np.asarray(task.numbers(task.test), dtype=np.uint8)),
        "texts": [short(row.text, TEXT_CHARACTERS) for row in task.test],
        "chance": task.chance,
        "ways": [_way(way, choice, ways.get(way), say) for way in found.WAYS],
        "words": {name: say(f"classify.board.{name}") for name in _WORDS},
    }
    told = json.dumps(data, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
    data["id"] = hashlib.blake2b(told, digest_size=8).hexdigest()
    _board(key=found.SEEN, data=data, on_settled_change=on_settled)


def shown_label(label: str) -> str:
    """A label on one line, not long."""
    return short(" ".join(label.split()), LABEL_CHARACTERS)


def short(text: str, most: int) -> str:
    """A text's beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def seconds(value: float, say: Words) -> str:
    """A time as it is said on the board."""
    if value < 0.001:
        return say("classify.board.no_time")
    return say("classify.board.ms", n=f"{value * 1000:.3g}") if value < 1 else say("classify.board.s", n=f"{value:.1f}")


def _way(way: str, choice: Choice, one: Answered | None, say: Words) -> dict[str, Any]:
    """What the board must know of a way."""
    head = {"way": way, "title": say(f"classify.way.{way}"), "box": choice.box_of(way)}
    if one is None:
        missing = "no_box" if not choice.box_of(way) and way != "finetuned" else "not_run"
        if way == "finetuned" and not choice.tuned:
            missing = "not_made"
        return {**head, "missing": say(f"classify.board.{missing}")}
    facts = one.facts
    scores = facts["scores"]
    n = scores[0]["n"]
    judged = one.probs.argmax(-1)  # [places, N]
    sure = np.take_along_axis(one.probs, judged[..., None], -1)[..., 0]
    return {
        **head,
        "dial": say(f"classify.dial.{way}") if len(facts["dial"]) > 1 else "",
        "places": [dial_name(way, place, say) for place in facts["dial"]],
        "place": facts["place"],
        **{name: [score[name] for score in scores] for name in ("accuracy", "low", "high", "f1", "f1_low", "f1_high")},
        "judged": encode(judged.astype(np.uint8)),
        "sure": encode(np.rint(sure * 255).astype(np.uint8)),
        "cut": say("classify.board.cut", n=facts["cut"], limit=facts["limit"]) if facts["cut"] else "",
        "learn": _learning(way, facts, say),
        "each": seconds(facts["answer_s"] / n, say),
        "memory": say("classify.board.mb", n=f"{facts['peak_bytes'] / 1e6:,.0f}"),
    }


def _learning(way: str, facts: Mapping[str, Any], say: Words) -> str:
    """How long a way learned: what only takes examples or labels learns nothing, what was fine-tuned did so before."""
    if way in ("neighbours", "probe"):
        return seconds(facts["learn_s"], say)
    return say("classify.board.earlier") if way == "finetuned" else say("classify.board.no_time")


def dial_name(way: str, place: str, say: Words) -> str:
    """What a place of a way's dial is called."""
    return say(f"classify.dial.similarity.{place}") if way == "similarity" else place
