"""Sections of the build bench: the bench, the machine built, a plan kept and opened again, what was learned."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import streamlit as st

from components import build_bench, build_engine
from components.badge import Badge
from components.engine import Made
from components.figure import draw_note
from components.frame import Page, Verdict, plain
from components.job_panel import draw_job
from components.source import draw_source
from components.theme import own_style
from llmkit.assembly import saved
from llmkit.assembly.errors import PlanError
from llmkit.assembly.fitting import misfits
from llmkit.assembly.plan import EMPTY, SLOTS, Plan

_FILE = "_build_file"
_BUILD = "_build_asked"


def draw_bench(page: Page) -> Plan:
    """Draw the bench and return what lies on it."""
    st.html(own_style("build"))
    error = build_bench.complaint()
    if error is not None:
        with page.guard():
            raise error
    plan = build_bench.current_plan()
    build_bench.keep_in_address(plan)
    counted = build_engine.rows(plan)
    total = sum(row.places * row.parameters for row in counted)
    page.count("part.placed", len(SLOTS) - len(plan.missing))
    page.count("part.layer", plan.n_layers if {"attention", "feed_forward"}.isdisjoint(plan.missing) else 0)
    page.count("part.parameter", total)
    alt = page.say("build.alt.empty") if plan == EMPTY else _in_words(page, plan, total)
    with page.shown(key="bench", badge=Badge.live(), alt=alt, data=build_engine.rows_frame(counted)):
        build_bench.draw_canvas(page)
    _draw_parts_source(page)
    if ready(plan):
        page.tick("do.choose")
    return plan


def ready(plan: Plan) -> bool:
    """Whether nothing is missing and everything fits."""
    return not plan.missing and not misfits(plan)


def _in_words(page: Page, plan: Plan, total: int) -> str:
    placed = [page.say(f"build.bench.card.{slot}") for slot in SLOTS if slot not in plan.missing]
    wrong = [page.say(f"build.bench.misfit.{one.code}", **one.values) for one in misfits(plan)]
    line = page.say("build.alt", parts=page.say("common.comma").join(placed), n=plan.n_layers, parameters=f"{total:,}")
    return " ".join([page.say("build.alt.misfit", reasons=" ".join(wrong)) if wrong else line])


def _draw_parts_source(page: Page) -> None:
    from llmkit.parts import Attention, Block, TransformerConfig, assemble
    from llmkit.parts.count import count_parts

    draw_source(page, assemble, TransformerConfig, Block, Attention, count_parts)


def draw_built(page: Page, plan: Plan) -> None:
    """Offer to build the plan with fresh weights, and hold what was counted against what was made."""
    from llmkit.assembly.size import parameters, require_room
    from llmkit.doctor import describe_machine

    st.header(page.say("build.built.title"))
    if not ready(plan):
        draw_note(page.say("build.built.not_yet"))
        return
    with page.guard():
        require_room(plan, free_bytes=describe_machine().memory_free_bytes)
        made = _build(page, plan, large=parameters(plan) > build_engine.LIVE_PARAMETERS)
        if made is not None:
            _draw_made(page, made)


def _build(page: Page, plan: Plan, *, large: bool) -> Made[dict[str, object]] | None:
    """Build now, or as a job; None while it is not built."""
    link, label = saved.to_link(plan), page.say("build.built.run")
    if large:
        return draw_job(page, "assemble", {"plan": link}, label=label, key="build_assemble")
    if st.button(label, key="build_assemble", type="primary"):
        st.session_state[_BUILD] = link
    return build_engine.built(plan) if st.session_state.get(_BUILD) == link else None


def _draw_made(page: Page, made: Made[dict[str, object]]) -> None:
    found = made.value
    same = found["built"] == found["counted"]
    shape = "[" + ", ".join(map(str, found["shape"])) + "]"  # type: ignore[call-overload]
    lines = [
        page.say(
            "build.built.same" if same else "build.built.other",
            built=f"{found['built']:,}",
            counted=f"{found['counted']:,}",
            shape=shape,
            seconds=f"{found['seconds']:.2f}",
        )
    ]
    if found["surprise"] is not None:
        lines.append(
            page.say("build.built.fresh", loss=f"{found['surprise']:.2f}", ignorance=f"{found['ignorance']:.2f}")
        )
    st.html("".join(f'<p class="note">{escape(line)}</p>' for line in lines) + made.badge.html(page.bench.say))


def draw_keep(page: Page, plan: Plan) -> None:
    """Save the plan, share it, open one, show it as code."""
    st.header(page.say("build.keep.title"))
    save, bring = st.columns(2, gap="large")
    with save:
        name = st.text_input(
            page.say("build.keep.name"), key="build_name", max_chars=saved.MOST_NAME, persist_state="session"
        )
        st.download_button(
            page.say("build.keep.save"),
            data=saved.to_json(saved.Saved(name=name or "", plan=plan)),
            file_name="assembly.json",
            mime="application/json",
            key="build_save",
            on_click="ignore",
        )
        st.caption(page.say("build.keep.link"))
        st.code(link_to(page, plan), language=None, wrap_lines=True)
    label = page.say("build.keep.open", kib=saved.MOST_BYTES // 1024)
    with bring, st.expander(label, key="build_open"):
        given = st.file_uploader(
            label, type=["json"], key="build_file", max_upload_size=1, label_visibility="collapsed"
        )
        if given is not None:
            with page.guard():
                _open(page, given.file_id, given.size, given.getvalue)
        opened: str | None = st.session_state.get(f"{_FILE}_name")
        if given is not None and opened is not None:
            st.success(page.say("build.keep.opened", name=plain(opened) or page.say("build.keep.nameless")))
    with st.expander(page.say("build.code.title"), key="build_code"):
        if ready(plan):
            draw_note(page.say("build.code.note"))
            st.code(saved.to_python(plan), language="python")
        else:
            draw_note(page.say("build.built.not_yet"))


def link_to(page: Page, plan: Plan) -> str:
    """Return the address that reopens this bench, on this box."""
    base = (st.context.url or "").split("?")[0]
    bench = page.bench
    return f"{base}?lang={bench.lang}&box={quote(bench.box_id, safe='')}&plan={quote(saved.to_link(plan), safe='~')}"


def _open(page: Page, file_id: str, size: int, read: object) -> None:
    """Lay a file's plan on the bench, once for each file that is brought.

    Raises:
        PlanError: the file is too big, no JSON, or no plan.
    """
    if st.session_state.get(_FILE) == file_id:
        return
    st.session_state.pop(f"{_FILE}_name", None)
    if size > saved.MOST_BYTES:
        raise PlanError("plan_big_file", size=f"{size / 1024:,.0f}", limit=saved.MOST_BYTES // 1024)
    found = saved.from_json(read())  # type: ignore[operator]
    st.session_state[_FILE] = file_id
    st.session_state[f"{_FILE}_name"] = found.name
    build_bench.lay(found.plan)
    st.rerun()


def draw_checks(page: Page, plan: Plan) -> None:
    """Ask what this very plan takes, and which part takes the most."""
    if not ready(plan):
        return
    counted = build_engine.rows(plan)
    total = sum(row.places * row.parameters for row in counted)
    blocks = [row for row in counted if row.name in ("norm_1", "norm_2", "attention", "feed_forward")]
    layers = sum(row.places * row.parameters for row in blocks)
    wide = {"total": total, "layers": layers, "twice": 2 * total, "tenth": total // 10}
    options = dict(sorted(wide.items(), key=lambda item: item[1]))
    page.check(
        "parameters",
        question=page.say("build.check.parameters", n=plan.n_layers, d=plan.d_model, vocab=f"{plan.vocab_size:,}"),
        options={name: f"{number:,}" for name, number in options.items() if name == "total" or number != total},
        run=lambda: Verdict(
            answer="total",
            explanation=page.say("build.check.parameters.because", total=f"{_numel(plan):,}", layers=f"{layers:,}"),
        ),
    )
    page.check(
        "most",
        question=page.say("build.check.most"),
        options={
            name: page.say(f"build.bench.part.{name}")
            for name in ("embedding", "attention", "feed_forward", "unembedding")
        },
        run=lambda: _most(page, plan),
    )


def _numel(plan: Plan) -> int:
    from llmkit.assembly.build import numel

    return sum(numel(plan).values())


def _most(page: Page, plan: Plan) -> Verdict:
    """Ask the machine's own tensors which kind of part holds the most numbers."""
    from llmkit.assembly.build import numel

    found = numel(plan)
    names = ("embedding", "attention", "feed_forward", "unembedding")
    most = max(names, key=lambda name: found.get(name, 0))
    share = 100 * found.get(most, 0) / sum(found.values())
    return Verdict(
        answer=most,
        explanation=page.say(
            "build.check.most.because",
            part=page.say(f"build.bench.part.{most}"),
            n=f"{found[most]:,}",
            share=f"{share:.0f}",
        ),
    )
