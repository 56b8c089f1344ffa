"""Let a box read a column: which way, with which box, how many texts; the answers become columns of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from components import analysis_engine as found
from components import engine, prompts_engine
from components.analysis_engine import Added, Work
from components.figure import draw_note
from components.frame import Page, short
from components.job_panel import draw_job, duration
from llmkit import jobs

WAYS = ("classify", "tag", "extract", "cluster", "summary")
EXTRACTS = ("number", "date", "email", "url", "answer")
SAMPLES = (20, 50, 100, 200, 500, 1_000, 5_000)
FIRST_SLOW = 20
THRESHOLD = 0.25
MOST_CLUSTERS = 12
LABELS_SHOWN = 30


def draw_reading(page: Page, kept: Work) -> tuple[dict[str, Any], Added] | None:
    """Draw the settings and the job; return the settings and the columns, None as long as nothing was read."""
    say, table = page.say, found.whole(kept)
    st.header(say("analysis.read.title"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kinds = found.columns(found.base(kept))
        names = sorted(kinds, key=lambda name: (kinds[name] != "text", kinds[name] != "category"))
        column = st.selectbox(
            say("analysis.read.column"), names, format_func=short, key=f"analysis_column_{kept.table}", width=220
        )
        asked = st.query_params.get("way")
        way = st.segmented_control(
            say("analysis.read.way"),
            WAYS,
            default=asked if asked in WAYS else WAYS[0],
            format_func=lambda one: say(f"analysis.way.{one}"),
            required=True,
            key="analysis_way",
            persist_state="session",
        )
    if way != asked and (asked or way != WAYS[0]):
        st.query_params["way"] = str(way)  # by its name: a bound widget would write its words, which a language changes
    draw_note(say(f"analysis.way.{way}.what"))
    settings = _settings(page, kept, str(column), str(way))
    if settings is None:
        return None
    settings["most"] = _draw_most(page, kept, settings)
    label = say("analysis.read.run", n=f"{settings['most'] or found.different(kept, str(column)):,}")
    made = draw_job(
        page, found.READ, settings, label=label, key="analysis_read", partial=lambda one: _so_far(page, one)
    )
    if made is None:
        return None
    job = jobs.find(found.READ, settings)
    assert job is not None
    page.tick("do.read")
    threshold = _draw_threshold(page) if way == "tag" else 0.0
    added = _added(page, kept, settings, job, threshold)
    _keep(page, kept, added, table.columns.tolist())
    _draw_result(page, made.value, settings)
    return settings, added


def _settings(page: Page, kept: Work, column: str, way: str) -> dict[str, Any] | None:
    """All that changes the result, but for how much is read; None where something is missing."""
    say = page.say
    base: dict[str, Any] = {"table": kept.table, "column": column, "way": way}
    if way == "extract":
        what = st.segmented_control(
            say("analysis.extract"),
            EXTRACTS,
            default="number",
            format_func=lambda one: say(f"analysis.extract.{one}"),
            required=True,
            key="analysis_extract",
        )
        base["way"] = str(what)
        if what != "answer":
            return base
        asked = st.text_input(
            say("analysis.answer.question"),
            say("analysis.answer.first"),
            max_chars=200,
            key=f"analysis_answer_{page.bench.lang}",
        )
        return _with_box(page, {**base, "question": asked, "lang": _language(asked)}, asks=True)
    if way == "summary":
        return _with_box(page, {**base, "lang": page.bench.lang}, asks=True)
    if way == "cluster":
        k = st.slider(say("analysis.cluster.k"), 2, MOST_CLUSTERS, 5, key="analysis_k", width=320)
        return _with_box(page, {**base, "k": k}, asks=False)
    base["labels"] = _draw_labels(page, kept)
    if way == "tag":
        return _with_box(page, base, asks=False)
    by = st.segmented_control(
        say("analysis.by"),
        ("similarity", "prompt"),
        default="similarity",
        format_func=lambda one: say(f"analysis.by.{one}"),
        required=True,
        key="analysis_by",
    )
    more = {"by": by, **({"wording": "field"} if by == "prompt" else {})}
    return _with_box(page, {**base, **more}, asks=by == "prompt")


def _language(text: str) -> str:
    from llmkit.tune.ways.task import language

    return language([text])


def _draw_labels(page: Page, kept: Work) -> list[str]:
    """The labels, one a line: those of a column, or the learner's own."""
    say, table = page.say, found.base(kept)
    truth = _truth_columns(kept)
    own = kept.table == found.sample(page.bench.lang).id
    with st.container(horizontal=True, vertical_alignment="bottom"):
        usual = say("analysis.sample.label")
        at = truth.index(usual) + 1 if own and usual in truth else min(len(truth), 1)
        chosen = st.selectbox(
            say("analysis.truth"),
            ["", *truth],
            index=at,
            format_func=lambda name: short(name) or say("analysis.truth.none"),
            key=f"analysis_truth_{kept.table}",
            width=260,
        )
        if own and chosen == usual:
            first = say("analysis.sample.labels")
        elif chosen:
            first = "\n".join(short(str(one), 60) for one in table[chosen].cat.categories[:LABELS_SHOWN])
        else:
            first = say("analysis.labels.first")
        typed = st.text_area(
            say("analysis.labels"),
            first,
            key=f"analysis_labels_{kept.table}_{chosen}_{page.bench.lang}",
            height=150,
            max_chars=2_000,
            help=say("analysis.labels.help"),
            width=360,
        )
    return [line.strip() for line in (typed or "").splitlines() if line.strip()]


def _truth_columns(kept: Work) -> list[str]:
    kinds = found.columns(found.base(kept))
    return [name for name, kind in kinds.items() if kind == "category"]


def _with_box(page: Page, settings: dict[str, Any], *, asks: bool) -> dict[str, Any] | None:
    """Let the learner choose the box; say what it was not made for."""
    say, own = page.say, page.bench.box_id
    with st.spinner(say("analysis.wait")):
        boxes = prompts_engine.promptable(own) if asks else found.readers(own)
    if not boxes:
        st.info(say("analysis.read.no_box"))
        page.lead("unbox")
        return None
    name = "asked" if asks else "reader"
    box = str(st.selectbox(say(f"analysis.{name}"), boxes, key=f"analysis_{name}_{own}", width=320))
    if asks and not prompts_engine.facts(box).instruct:
        draw_note(say("analysis.read.no_chat", box=box))
    if not asks and "embed" not in found.does(box):
        draw_note(say("analysis.read.no_embed", box=box))
    return {**settings, "box_id": box, "fingerprint": engine.fingerprint(box), "device": engine.device()}


def _draw_most(page: Page, kept: Work, settings: Mapping[str, Any]) -> int:
    """How many different texts are read: all, or a sample; with what that is likely to take. 0 for all."""
    from llmkit.analyse.reading import MOST_SLOW, is_slow

    say, total, slow = page.say, found.different(kept, settings["column"]), is_slow(settings)
    if "box_id" not in settings:
        return 0
    sizes = [size for size in SAMPLES if size < total and (size <= MOST_SLOW or not slow)]
    if not slow or total <= MOST_SLOW:
        sizes.append(total)
    usual = max((size for size in sizes if size <= FIRST_SLOW), default=sizes[0]) if slow else sizes[-1]
    size = sizes[0]
    if len(sizes) > 1:
        size = st.select_slider(
            say("analysis.most"), sizes, usual, key=f"analysis_most_{kept.table}_{slow}_{total}", width=420
        )
    pace = found.pace(dict(settings))
    told = say("analysis.most.of", n=f"{size:,}", all=f"{total:,}", rows=f"{len(found.whole(kept)):,}")
    draw_note(told)
    if pace is None:
        draw_note(say("analysis.most.unknown"))
    else:
        draw_note(say("analysis.most.pace", time=duration(pace * size, page.bench.say)))
    if slow and total > MOST_SLOW:
        draw_note(say("analysis.most.slow", limit=f"{MOST_SLOW:,}"))
    return 0 if size == total else int(size)


def _draw_threshold(page: Page) -> float:
    """From which nearness on a tag is given; what was read is not read again."""
    label = page.say("analysis.threshold")
    return float(st.slider(label, 0.0, 0.8, THRESHOLD, 0.01, key="analysis_threshold", width=420))


def _added(page: Page, kept: Work, settings: Mapping[str, Any], job: jobs.Job, threshold: float) -> Added:
    """The columns that this reading makes."""
    from llmkit.analyse.ways import labels_of

    way, say = str(settings["way"]), page.say
    column = short(str(settings["column"]), 30)
    wanted = [say(f"analysis.new.{way}", column=column)]
    if "box_id" in settings:
        wanted.append(say("analysis.new.sure", name=wanted[0]))
    if way == "answer":
        wanted.append(say("analysis.new.in_text", name=wanted[0]))
    others = [name for one in kept.readings if one.job_id != job.id for name in one.names]
    names = found.free_names([*found.base(kept).columns, *others], wanted)
    return Added(
        job_id=job.id,
        ended_at=job.ended_at or 0.0,
        column=str(settings["column"]),
        way=way,
        names=names,
        labels=labels_of(settings)[0],
        threshold=threshold,
    )


def _keep(page: Page, kept: Work, added: Added, taken: list[str]) -> None:
    """Put new columns into the table by themselves, once; afterwards the learner does."""
    here = [at for at, one in enumerate(kept.readings) if one.job_id == added.job_id]
    if here:
        if kept.readings[here[0]] != added:  # another threshold
            kept.readings[here[0]] = added
            st.rerun()
        return
    first = added.job_id not in kept.seen
    kept.seen.add(added.job_id)
    if first or st.button(page.say("analysis.read.again"), key="analysis_again"):
        kept.readings.append(added)
        st.rerun()


def _so_far(page: Page, partial: Mapping[str, Any]) -> None:
    """Draw what was read so far, while the job runs."""
    say = page.say
    listed = say("common.comma").join(
        say("analysis.read.count", answer=short(name, 40) or "–", n=n) for name, n in partial["counts"].items()
    )
    draw_note(say("analysis.read.so_far", listed=listed))
    for one in partial["latest"]:
        sure = "" if one["confidence"] is None else f" ({one['confidence']:.0%})"
        draw_note(f"{short(one['text'], 70)} → {short(one['answer'], 60) or '–'}{sure}")


def _draw_result(page: Page, result: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Say what was read, and what was known before."""
    say = page.say
    values = {name: f"{result[name]:,}" for name in ("rows", "filled", "read", "different", "fresh")}
    draw_note(say("analysis.read.done", **values))
    if "box_id" in settings:
        draw_note(say(f"analysis.sure.{settings['way']}"))
    if result["fresh"] and result["seconds"] > 0 and "box_id" in settings:
        draw_note(say("analysis.read.pace", n=f"{result['fresh'] / result['seconds']:,.3g}"))
    if result["limit"]:
        draw_note(say("analysis.read.limit", n=result["limit"]))


def map_of(job_id: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a clustering's points [n, 2], their texts' numbers and their groups."""
    return _map(job_id).value


@engine.remembered(max_entries=8)
def _map(job_id: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from llmkit.analyse.reading import MAP

    with np.load(jobs.folder(job_id) / MAP, allow_pickle=False) as file:
        return file["xy"], file["text"], file["group"]
