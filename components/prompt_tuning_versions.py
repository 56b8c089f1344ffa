"""The Prompt tuning page's second part: two versions of a prompt, what changed between them, and versions kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from components import kept as learner
from components import prompt_tuning_engine as found
from components import prompt_tuning_picture as picture
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, plain, short
from components.prompt_tuning_engine import Version
from components.source import draw_source
from llmkit.journal import JournalError
from llmkit.write import Kept, WriteError, changes, forget, keep, kept
from llmkit.write.kept_texts import Place

if TYPE_CHECKING:
    from llmkit.generate.trial_rows import TrialSet

PLACE: Place = "prompts"
SIDES = ("a", "b")
_STATE = "_prompt_tuning_versions"


def draw_versions(page: Page, trial: TrialSet) -> tuple[Version, Version]:
    """Draw two versions to be edited, what changed from one to the other, and what was kept; return the two."""
    st.header(page.say("prompt_tuning.versions.title"))
    variables = page.say("common.comma").join(f"{{{name}}}" for name in trial.variables)
    draw_note(page.say("prompt_tuning.variables", listed=variables))
    texts = [_draw_side(page, trial, side, column) for side, column in zip(SIDES, st.columns(2), strict=True)]
    state = _state()
    if "error" in state:
        with page.guard():
            raise state.pop("error")
    with page.guard():
        _draw_kept(page, trial)
    _draw_difference(page, texts[0], texts[1])
    names = [page.say(f"prompt_tuning.side.{side}") for side in SIDES]
    if state.get("edited"):
        page.tick("do.edit")
    if state.get("kept"):
        page.tick("do.keep")
    return (Version(name=names[0], template=texts[0]), Version(name=names[1], template=texts[1]))


def versions_kept(trial: TrialSet) -> tuple[Version, ...]:
    """Return the versions that were kept for this test set, each text once, the newest first.

    Raises:
        WriteError: ``kept_broken``. JournalError: the journal cannot be opened.
    """
    texts: dict[str, Version] = {}
    for one in _kept_for(trial):
        texts.setdefault(one.text, Version(name=one.name, template=one.text))
    return tuple(texts.values())


def _draw_side(page: Page, trial: TrialSet, side: str, column: Any) -> str:
    """Draw one version's editor, with its first row filled in, and the button that keeps it."""
    from llmkit.generate.prompt_variables import fill, require

    key = _key(trial, side)
    with column:
        text = st.text_area(
            page.say(f"prompt_tuning.side.{side}"),
            trial.vague if side == "a" else trial.precise,
            key=key,
            persist_state="session",
            height=170,
            max_chars=found.TEXT_LIMIT,
            on_change=_edited,
        )
        text = text or ""
        with page.guard():
            require(text, trial.variables)
            with st.expander(page.say("prompt_tuning.filled")):
                st.code(fill(text, trial.rows[0].values), language=None, wrap_lines=True)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input(
                page.say("prompt_tuning.name"),
                key=f"prompt_tuning_name_{side}",
                max_chars=40,
                persist_state="session",
                width=200,
            )
            st.button(
                page.say("prompt_tuning.keep"),
                key=f"prompt_tuning_keep_{side}",
                disabled=not text.strip(),
                on_click=_keep,
                args=(
                    name or page.say("prompt_tuning.name.kept", at=f"{learner.now():%m-%d %H:%M}"),
                    text,
                    _place(trial),
                ),
            )
    return text


def _draw_difference(page: Page, before: str, after: str) -> None:
    """Draw what changed from the first version to the second."""
    found_changes = changes(before, after)
    new = sum(len(one.text) for one in found_changes if one.kind == "new")
    gone = sum(len(one.text) for one in found_changes if one.kind == "gone")
    alt = page.say("prompt_tuning.diff.alt", new=new, gone=gone)
    table = pd.DataFrame([{"change": one.kind, "text": one.text} for one in found_changes])
    with page.shown(key="diff", badge=Badge.live(), alt=alt, data=table):
        st.html(picture.difference(found_changes, page.bench.say))
    draw_note(alt)
    draw_source(page, changes)


def _draw_kept(page: Page, trial: TrialSet) -> None:
    """Draw what was kept for this test set: lay it into A or B, or delete it; the last deletion can be taken back."""
    texts = _kept_for(trial)
    page.count("part.version", len(SIDES) + len(texts))
    gone: Kept | None = _state().get("gone")
    if gone is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            draw_note(page.say("prompt_tuning.deleted", name=gone.name))
            st.button(page.say("prompt_tuning.back"), key="prompt_tuning_back", on_click=_bring_back)
    if not texts:
        return
    with st.expander(page.say("prompt_tuning.kept", n=len(texts))):
        for one in texts:
            with st.container(horizontal=True, vertical_alignment="center", key=f"prompt_tuning_kept_{one.id}"):
                st.markdown(
                    f"**{plain(one.name)}** · {plain(one.at[:16].replace('T', ' '))} · {plain(short(one.text, 60))}"
                )
                for side in SIDES:
                    st.button(
                        page.say("prompt_tuning.restore", side=page.say(f"prompt_tuning.side.{side}")),
                        key=f"prompt_tuning_restore_{side}_{one.id}",
                        on_click=_restore,
                        args=(_key(trial, side), one.text),
                    )
                st.button(
                    page.say("prompt_tuning.delete"),
                    key=f"prompt_tuning_delete_{one.id}",
                    on_click=_delete,
                    args=(one.id,),
                )


def _kept_for(trial: TrialSet) -> tuple[Kept, ...]:
    return tuple(one for one in kept(learner.whose().id, PLACE) if one.about.get("set") == _place(trial))


def _place(trial: TrialSet) -> str:
    return f"{trial.id} {trial.lang}"


def _key(trial: TrialSet, side: str) -> str:
    return f"prompt_tuning_{side}_{trial.id}_{trial.lang}"


def _state() -> dict[str, Any]:
    """What this session remembers: whether something was edited or kept, what was deleted or went wrong."""
    state: dict[str, Any] = st.session_state.setdefault(_STATE, {})
    return state


def _edited() -> None:
    _state()["edited"] = True


def _restore(key: str, text: str) -> None:
    st.session_state[key] = text
    _edited()


def _keep(name: str, text: str, set_id: str) -> None:
    state = _state()
    try:
        keep(learner.whose().id, PLACE, name=name, text=text, now=learner.now(), about={"set": set_id})
        state["kept"] = True
    except (WriteError, JournalError) as error:
        state["error"] = error


def _delete(kept_id: str) -> None:
    state = _state()
    try:
        state["gone"] = forget(learner.whose().id, PLACE, kept_id)
    except (WriteError, JournalError) as error:
        state["error"] = error


def _bring_back() -> None:
    gone: Kept = _state().pop("gone")
    _keep(gone.name, gone.text, str(gone.about.get("set", "")))
