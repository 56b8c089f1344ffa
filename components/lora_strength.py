"""The LoRA page: the adapter off, weaker and stronger on one text; and merged against unmerged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from components import engine, pictograms
from components import lora_engine as found
from components import lora_plan as asked
from components.attention_engine import encode
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, section, short
from components.job_panel import draw_job
from components.lora_engine import STRENGTHS, Desk
from components.moving import Slider, draw_moving, moved, place
from components.source import draw_source

if TYPE_CHECKING:
    from llmkit.tune.adapter_shelf import Here

_MERGE_ASKED = "_lora_merge_asked"
NEW_TOKENS = 24
FULL_STRENGTH = STRENGTHS.index(1.0)
PROMPT_LIMIT = 2_000


@section
def draw_strength(page: Page, desk: Desk) -> None:
    """Draw what the adapter does to the workbench's sentence at each strength."""
    say, one = page.say, desk.chosen
    st.header(say("lora.strength.title"))
    if one is None:
        draw_note(say("lora.strength.none"))
        return
    sentence = page.bench.sentence
    if one.origin == "classifier":
        made = found.label_probs(one, sentence)
        names = tuple(short(str(label)) for label in one.facts["labels"])
        _draw_strengths(page, names, made.value, [], made.badge)
        return
    if not desk.writes:
        draw_note(say("lora.strength.encoder"))
        return
    settings = {
        "box_id": one.box_id,
        "fingerprint": engine.fingerprint(one.box_id),
        "adapter": one.id,
        "made_at": one.made_at,
        "prompt": sentence,
        "max_new_tokens": NEW_TOKENS,
        "strengths": list(STRENGTHS),
        "device": engine.device(),
    }
    draw_note(say("lora.strength.what", sentence=short(sentence, 80), n=NEW_TOKENS, places=len(STRENGTHS)))
    told = draw_job(page, asked.STRENGTH, settings, label=say("lora.strength.run"), key="lora_strength_job")
    if told is not None:
        answers: Sequence[Mapping[str, Any]] = told.value["answers"]
        probs = np.asarray([[p for _, p in answer["next"]] for answer in answers], dtype=np.float32)
        names = tuple(f"{token}" for token, _ in answers[0]["next"])
        _draw_strengths(page, names, probs, [str(answer["text"]) for answer in answers], told.badge)


def _draw_strengths(
    page: Page, names: Sequence[str], probs: NDArray[np.float32], texts: Sequence[str], badge: Badge
) -> None:
    """Draw the odds at a strength that a slider in the browser chooses.

    Args:
        names: of tokens or labels. probs: [S, names]. texts: what is written at each strength; none for a classifier.
    """
    say = page.say
    slider = Slider(
        name="lora_strength",
        label=say("lora.strength.slider"),
        low=0,
        high=len(STRENGTHS) - 1,
        start=FULL_STRENGTH,
        places=tuple(_strength(page, at) for at in range(len(STRENGTHS))),
    )
    at = place(slider)
    most = int(np.abs(probs[at] - probs[0]).argmax())
    alt = say(
        "lora.strength.alt",
        strength=STRENGTHS[at],
        name=names[most],
        before=f"{probs[0, most]:.1%}",
        after=f"{probs[at, most]:.1%}",
    )
    table = pd.DataFrame(probs, columns=[f"{n + 1} {name}" for n, name in enumerate(names)])
    table.insert(0, "strength", STRENGTHS)
    if texts:
        table["text"] = list(texts)
    with page.shown(key="strength", badge=badge, alt=alt, data=table):
        draw_moving(
            "lora",
            "strength",
            key="lora_strength_picture",
            name=say("lora.strength.title"),
            sliders=(slider,),
            words={name: say(f"lora.strength.{name}") for name in ("told", "none_now", "off", "at")},
            names=list(names),
            probs=encode(probs),
            texts=list(texts),
            prompt=page.bench.sentence[:PROMPT_LIMIT],
        )
    if moved(slider):
        page.tick("do.strength")


def _strength(page: Page, at: int) -> str:
    """What a place of the slider is called."""
    value = f"{STRENGTHS[at]:g}"
    if at == 0:
        return page.say("lora.strength.zero", value=value)
    return page.say("lora.strength.one", value=value) if at == FULL_STRENGTH else value


@section
def draw_merging(page: Page, desk: Desk) -> None:
    """Offer to compare the merged machine with the unmerged one, and draw what came out."""
    say, one = page.say, desk.chosen
    st.header(say("lora.merge.title"))
    draw_note(say("lora.merge.what"))
    if one is None:
        draw_note(say("lora.strength.none"))
        return
    wanted = (one.id, page.bench.sentence)
    if st.button(say("lora.merge.run"), key="lora_merge"):
        st.session_state[_MERGE_ASKED] = wanted
    if st.session_state.get(_MERGE_ASKED) == wanted:
        _draw_merged(page, one)
    from llmkit.tune.adapter import adapted

    draw_source(page, adapted)


def _draw_merged(page: Page, one: Here) -> None:
    say = page.say
    with st.spinner(say("lora.merge.wait")):
        made = found.merging(one, page.bench.sentence)
    told = made.value
    rows = [
        ("float32", told.float32, told.float32_limit),
        ("float64", told.float64, told.float64_limit),
    ]
    table = pd.DataFrame(rows, columns=["dtype", "max_abs_difference", "limit"])
    alt = say("lora.merge.alt", narrow=f"{told.float32:.1e}", wide=f"{told.float64:.1e}", changed=f"{told.changed:.2g}")
    head = "".join(f"<th>{escape(say(f'lora.merge.{name}'))}</th>" for name in ("dtype", "delta", "limit"))
    body = ""
    for dtype, delta, limit in rows:
        fits = pictograms.picture("check", size="small", label=say("common.fit.fits"))
        mark = fits if delta < limit else escape(say("common.fit.misfit"))
        body += f"<tr><td>{dtype}</td><td>{delta:.1e}</td><td>&lt; {limit:.1e}</td><td>{mark}</td></tr>"
    with page.shown(key="merge", badge=made.badge, alt=alt, data=table):
        st.html(f'<div class="fit"><table><thead><tr>{head}<td></td></tr></thead><tbody>{body}</tbody></table></div>')
    draw_note(
        say("lora.merge.told" if told.fits else "lora.merge.misfit", tokens=told.tokens, changed=f"{told.changed:.2g}")
    )
