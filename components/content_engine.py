"""What the Content page asks for: the brief, its prompt as a box reads it, drafts written in the shared batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import engine
from components import generate_engine as generating
from components.generate_engine import Asked, Task, Told
from components.generate_sections import Run
from llmkit import shelf
from llmkit.write import Brief, Demand, check, lines
from llmkit.write.brief import FIELD_LIMIT, KINDS, LANGS, STRUCTURES, TONES, split_words

if TYPE_CHECKING:
    from llmkit.generate.live import Written

LENGTHS = (5, 150)
"""Words that can be asked for, least and most."""

USUAL_LENGTH = (20, 60)

TOKENS_A_WORD = {"en": 2, "zh-TW": 3}
"""Tokens that a word may take: a draft may go on a little longer than it should, so that the check can see it."""

MOST_TOKENS = 320
PENALTY = 1.1
"""Repetition penalty of every draft; without it small boxes say one sentence again and again."""

TEMPERATURES = (0.0, 0.7, 1.0, 1.5)
TOP_P = 0.95

ADDRESS = "brief"
"""The address's name for a brief that is not the usual one."""

_CHOICES: Mapping[str, Sequence[str]] = {"lang": LANGS, "kind": KINDS, "tone": TONES, "structure": STRUCTURES}


class DraftError(ValueError):
    """The check's answer needs a box that writes.

    Args:
        code: ``draft_no_writer``, ``draft_not_written``. values: the box.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


def usual(lang: str, topic: str, must: str, must_not: str) -> Brief:
    """Return the brief that lies there first."""
    least, most = USUAL_LENGTH
    return Brief(
        lang="en" if lang == "en" else "zh-TW",
        topic=topic,
        least=least,
        most=most,
        must_have=split_words(must),
        must_not=split_words(must_not),
    )


def from_address(first: Brief) -> Brief:
    """Return the brief of the address where there is one that can be, else `first`."""
    try:
        given: dict[str, Any] = json.loads(st.query_params.get(ADDRESS, "{}"))
        taken = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        if any(taken.get(name, some[0]) not in some for name, some in _CHOICES.items()):
            return first
        made = Brief(**{**asdict(first), **taken})
        words = all(isinstance(word, str) for word in (*made.must_have, *made.must_not, made.topic, made.audience))
        sizes = all(isinstance(size, int) for size in (made.least, made.most))
        inside = sizes and LENGTHS[0] <= made.least and made.most <= LENGTHS[1]
    except (ValueError, TypeError, AttributeError):
        return first
    return made if words and inside else first


def keep_address(brief: Brief, first: Brief) -> None:
    """Write into the address what differs from the usual brief, so that a link opens the same one."""
    changed = {name: value for name, value in asdict(brief).items() if value != asdict(first)[name]}
    if not changed:
        st.query_params.pop(ADDRESS, None)
        return
    written = json.dumps(changed, ensure_ascii=False, separators=(",", ":"))
    if st.query_params.get(ADDRESS) != written:
        st.query_params[ADDRESS] = written


def topic_of(sentence: str) -> str:
    """Return the workbench's sentence as a topic: on one line, as long as a field may be."""
    return " ".join(sentence.split())[:FIELD_LIMIT] or "…"


def writes(box_id: str) -> bool:
    """Return whether a box goes on with a text.

    Raises:
        Exception: with a ``.code``, where it is missing or broken.
    """
    config = engine.open_box(box_id).config
    return config.causal and config.unembedding


def task(box_id: str, content: str) -> Task:
    """Return what is asked, as the box reads it: in its chat template where it has one.

    Raises:
        GenerateError: ``prompt_empty``, ``prompt_too_long``. TokenizerError: ``text_not_unicode``.
    """
    return _task(box_id, engine.fingerprint(box_id), content).value


def length_of(task: Task, brief: Brief) -> int:
    """Return how many tokens a draft may have: what its length needs, within the box's context."""
    return max(1, min(brief.most * TOKENS_A_WORD[brief.lang] + 8, MOST_TOKENS, task.room))


def asked(task: Task, brief: Brief, temperature: float, seed: int) -> Asked:
    """Return the key of a draft."""
    from llmkit.generate.sampling import Sampling

    top_p = 1.0 if temperature == 0 else TOP_P
    sampling = Sampling(temperature=temperature, top_p=top_p, repetition_penalty=PENALTY, seed=seed)
    return generating.asked(task, sampling, length_of(task, brief))


def write(asked: Asked) -> Run:
    """Return a draft: found where the app remembers it, else begun."""
    made = generating.write(asked)
    told = made if isinstance(made, Told) else None
    return Run(asked=asked, live=None if isinstance(made, Told) else made, told=told)


def is_writing(draft: Run) -> bool:
    """Return whether more of a draft may come."""
    return draft.read().state == "writing"


def stop(draft: Run) -> None:
    """Let a draft go no further."""
    if draft.live is not None:
        draft.live.stop()


def text_of(task: Task, written: Written) -> str:
    """Return what is written so far; bytes that are no character are named as bytes.

    Raises:
        Exception: what went wrong while it was written.
    """
    from llmkit.generate.reasoning import as_text

    if written.error is not None:
        raise written.error
    ids = tuple(step.token_id for step in written.steps)
    return as_text(b"".join(generating.bytes_of(task.box_id, ids))).strip()


def compared(box_id: str, brief: Brief) -> tuple[Asked, Asked]:
    """Return the keys of what the check compares: the first line of the brief alone, and the whole brief, greedily."""
    whole = lines(brief)
    prompts = (whole[0].text, "\n".join(line.text for line in whole))
    first, second = (asked(task(box_id, one), brief, 0.0, 0) for one in prompts)
    return first, second


def compare(box_id: str, brief: Brief) -> tuple[tuple[Demand, ...], tuple[Demand, ...]]:
    """Return what the text of the first line alone meets, and that of the whole brief.

    Raises:
        DraftError: ``draft_no_writer``; ``draft_not_written`` where they are not both finished.
    """
    if not writes(box_id):
        raise DraftError("draft_no_writer", box=box_id)
    told = [generating.finished(one) for one in compared(box_id, brief)]
    first, second = told
    if first is None or second is None:
        raise DraftError("draft_not_written")
    texts = [text_of(one.asked.task, one.written) for one in (first, second)]
    return check(texts[0], brief), check(texts[1], brief)


@engine.remembered(max_entries=64)
def _task(box_id: str, fingerprint: str, content: str) -> Task:
    from llmkit.generate.decode import require_prompt
    from llmkit.generate.reasoning import stop_ids
    from llmkit.generate.score import kv_bytes
    from llmkit.tokens import ChatTemplate

    box = engine.open_box(box_id)
    folder = shelf.locate(box_id)
    template = None if folder is None else ChatTemplate.from_folder(folder)
    text = f"{content}\n" if template is None else template.render([{"role": "user", "content": content}])
    ids = box.tokenizer.encode(text, specials=template is None).ids
    require_prompt(box, ids)
    return Task(
        box_id=box_id,
        fingerprint=fingerprint,
        text=text,
        ids=tuple(ids),
        stop_ids=tuple(sorted(stop_ids(box))),
        limit=box.config.max_seq_len,
        kv_per_token=kv_bytes(box, 1),
    )
