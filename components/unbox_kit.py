"""Step 0: the kit list. Every box of the catalogue as a card: what it is, how big, whose, and whether it is here."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from components import engine, pictograms
from components.frame import Page

if TYPE_CHECKING:
    from llmkit.shelf import Box

MEGABYTE = 1_000_000


FAMILIES = {"gpt2": "GPT-2", "bert": "BERT", "llama": "LLaMA"}


def kit_list(page: Page) -> None:
    """Draw what is here and the standard kit as cards, and write into the parts list how many boxes are here."""
    here, boxes = _shelf(page)
    for content, part in (("model", "part.model_box"), ("data", "part.data_box")):
        page.count(part, sum(box.id in here for box in boxes if box.content == content))
    _cards(page, [box for box in boxes if box.id in here or box.standard], here)


def other_boxes(page: Page) -> None:
    """Draw the rest of the catalogue: not here, and not needed for the guide."""
    here, boxes = _shelf(page)
    _cards(page, [box for box in boxes if box.id not in here and not box.standard], here)


def _shelf(page: Page) -> tuple[set[str], list[Box]]:
    """Return what is on this machine, and every box to speak of: the catalogue's, then the learner's own."""
    from llmkit import shelf

    own = [name for name in engine.boxes_here(page.bench.box_id, page.bench.box_id) if name not in shelf.catalogue()]
    here = {*shelf.boxes_here("model"), *shelf.boxes_here("data"), *own}
    return here, [*shelf.catalogue().values(), *(shelf.entry(name) for name in own)]


def _cards(page: Page, boxes: list[Box], here: set[str]) -> None:
    cards = "".join(_card(page, box, box.id in here) for box in boxes)
    st.html(f'<ul class="boxes">{cards}</ul>')


def megabytes(size_bytes: float) -> str:
    """Return a size as people read it: "542 MB", "2.2 GB".

    >>> megabytes(542_000_000), megabytes(2_200_000_000), megabytes(145_000)
    ('542 MB', '2.2 GB', '0.1 MB')
    """
    size = size_bytes / MEGABYTE
    if size >= 1_000:
        return f"{size / 1_000:.1f} GB"
    return f"{size:.0f} MB" if size >= 1 else f"{size:.1f} MB"


def _card(page: Page, box: Box, here: bool) -> str:
    """One box as HTML; its name may have been typed by anyone."""
    say = page.say
    facts = [
        FAMILIES.get(box.family, "") or page.say("unbox.kit.data" if box.content == "data" else "unbox.kit.own"),
        megabytes(box.size_bytes) if box.size_bytes else "",
        box.licence,
        " · ".join(box.languages),
    ]
    does = [say(f"unbox.does.{name}") for name in box.does]
    note = f"<p>{escape(say(f'unbox.note.{box.note}'))}</p>" if box.note else ""
    state = "here" if here else "missing"
    mark = pictograms.picture("check", size="small") if here else ""
    star = f"<em>{escape(say('unbox.kit.standard'))}</em>" if box.standard else ""
    return (
        f'<li class="{state}">{pictograms.picture("box" if box.content == "model" else "data")}'
        f"<div><b>{escape(box.id)}</b>{star}"
        f"<p>{escape(' · '.join(fact for fact in facts if fact))}</p>"
        f"<p>{escape(say('common.comma').join(does))}</p>{note}"
        f'<p class="state">{mark}{escape(say(f"unbox.kit.{state}"))}</p></div></li>'
    )
