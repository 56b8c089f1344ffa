"""The Deploy page: put the box in its place, watch it there, and ask it for the first time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from html import escape

import pandas as pd
import streamlit as st

from components import deploy_engine as found
from components import deploy_triton as triton
from components import pictograms
from components.badge import Badge
from components.deploy_engine import Seen
from components.deploy_take import FORM_KEYS
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.theme import own_style
from llmkit.serve import process
from llmkit.serve.deployment import ENGINES, Deployment, Engine
from llmkit.serve.errors import ServeError
from llmkit.serve.reply import Reply, vector_of

POLL_S = 1.0
MOVING = ("starting", "loading", "stopping")
FIGURES = ("requests", "batches", "tokens", "running", "queue", "mean_ms")

_LAST = "_deploy_last"
_ANSWER = "_deploy_answer"


def draw_settings(page: Page) -> Engine:
    """Choose what serves the box, form, port, key and how long it stays; start. Returns what serves it."""
    st.html(own_style("deploy"))
    bench = page.bench
    found.require_whole(bench)
    st.header(page.say("deploy.place.title"))
    kind = _choose_engine(page)
    ready = kind == "fastapi" or triton.draw_needs(page)
    form, port, key = _draw_fields(page, kind)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        stays = st.toggle(page.say("deploy.stays"), key="deploy_stays", help=page.say("deploy.stays.help"))
        everyone = st.toggle(page.say("deploy.everyone"), key="deploy_everyone", help=page.say("deploy.everyone.help"))
    if everyone and not key:
        st.warning(page.say("deploy.exposed.keyless" if kind == "triton" else "deploy.exposed"))
    label = page.say("deploy.start", box=bench.box_id)
    if st.button(label, key="deploy_start", type="primary", disabled=not ready):
        with page.guard(), st.spinner(page.say("deploy.starting")):
            made = found.start(bench, form, port=port, key=key, stays=stays, everyone=everyone, kind=kind)
            st.session_state[_LAST] = made.id
            st.rerun()
    return kind


def _draw_fields(page: Page, kind: Engine) -> tuple[str, int | None, str]:
    """Let the learner choose form, port and key."""
    forms = found.forms_here(page.bench) if kind == "fastapi" else triton.forms_here(page.bench)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        form = st.selectbox(
            page.say("deploy.form"),
            forms,
            key=FORM_KEYS[kind],
            help=page.say("deploy.form.help"),
            persist_state="session",
        )
        port = st.number_input(
            page.say("deploy.port"),
            *found.PORTS,
            value=None,
            step=1,
            key="deploy_port",
            placeholder=page.say("deploy.port.any"),
            persist_state="session",
        )
        key = st.text_input(
            page.say("deploy.key"),
            key="deploy_key",
            type="password",
            max_chars=200,
            placeholder=page.say("deploy.key.none"),
            autocomplete="new-password",
            disabled=kind == "triton",
        )
    if kind == "triton":
        draw_note(page.say("deploy.triton.no_key"))
        return (form or "", int(port) if port else None, "")
    if len(forms) == 1:
        draw_note(page.say("deploy.form.only"))
    return (form or found.FLOAT32, int(port) if port else None, (key or "").strip())


def _choose_engine(page: Page) -> Engine:
    """Let the learner choose what serves the box."""
    kind: Engine | None = st.segmented_control(
        page.say("deploy.engine"),
        ENGINES,
        default=ENGINES[0],
        required=True,
        format_func=lambda one: page.say(f"deploy.engine.{one}"),
        key="deploy_engine",
        bind="query-params",
        persist_state="session",
    )
    kind = kind or ENGINES[0]
    draw_note(page.say(f"deploy.engine.{kind}.what"))
    return kind


def draw_running(page: Page) -> Seen | None:
    """Draw the deployment that the page is about, live, and all the others; return it as it is now."""
    seen = found.look()
    chosen = _choose(seen)
    moving = any(one.deployment.alive for one in seen)
    states = _states(seen)

    @st.fragment(run_every=POLL_S if moving else None)
    def watch() -> None:
        with page._section():
            now = found.look() if moving else seen
            if _states(now) != states:  # what stands below depends on it
                st.rerun()
            first = _choose(now)
            _draw_picture(page, first)
            ended = [one for one in now if not one.deployment.alive and one is not first]
            for one in now:
                if one not in ended:
                    _draw_one(page, one)
            if ended:
                with st.expander(page.say("deploy.ended", n=len(ended)), key="deploy_ended"):
                    for one in ended:
                        _draw_one(page, one)

    watch()
    if chosen is not None:
        if chosen.deployment.alive:
            page.tick("do.start")
        page.count("part.server", sum(one.deployment.alive for one in seen))
        page.count("part.request", int(sum(one.figures.get("requests", 0) for one in seen)))
    return chosen


def _states(seen: tuple[Seen, ...]) -> list[tuple[str, str, bool]]:
    return [(one.deployment.id, one.deployment.state, bool(one.can)) for one in seen]


def _choose(seen: tuple[Seen, ...]) -> Seen | None:
    """The one that this session started last, else the newest; one that lives before one that has ended."""
    last = st.session_state.get(_LAST)
    ordered = sorted(seen, key=lambda one: (one.deployment.id != last, not one.deployment.alive))
    return ordered[0] if ordered else None


def _draw_picture(page: Page, seen: Seen | None) -> None:
    """Draw 📦➡️🌐: the box, and where it is."""
    say, box = page.say, page.bench.box_id
    if seen is None:
        kind, name, form, address, state = "none", box, "", say("deploy.nowhere"), say("deploy.state.none")
    else:
        one = seen.deployment
        kind = one.state if one.state in (*MOVING, "ready") else "ended"
        name, form, address, state = one.box, one.form, one.address, say(f"deploy.state.{one.state}")
    alt = say("deploy.picture.alt", box=name, form=form or found.FLOAT32, address=address, state=state)
    table = pd.DataFrame(
        [{"box": name, "form": form, "address": address, "state": kind, **(seen.figures if seen else {})}]
    )
    with page.shown(key="place", badge=Badge.live(), alt=alt, data=table):
        st.html(
            f'<div class="place is-{kind}"><div>{pictograms.picture("box", size="big")}'
            f"<b>{escape(name)}</b><span>{escape(form)}</span></div>"
            f'<i aria-hidden="true">➜</i><div>{pictograms.picture("network", size="big")}'
            f"<b>{escape(state)}</b><span>{escape(address)}</span></div></div>"
        )


def _draw_one(page: Page, seen: Seen) -> None:
    """Draw one deployment: name, state, figures, log, and its end."""
    one = seen.deployment
    with st.container(border=True, key=f"deploy_one_{one.id}"):
        told = page.say("deploy.pid", pid=one.pid) if one.alive and one.pid else ""
        st.html(
            f'<p class="place-name"><b>{escape(one.box)}</b> · {escape(one.form)} · '
            f"{escape(page.say(f'deploy.engine.{one.engine}'))} · {escape(one.address)}"
            f"<em>{escape(page.say(f'deploy.state.{one.state}'))}</em> {escape(told)}</p>"
        )
        if one.error is not None:
            with page.guard():
                raise _FailedError(one)
        if one.alive and one.exposed:
            st.warning(page.say("deploy.exposed.keyless" if one.engine == "triton" else "deploy.exposed"))
        if seen.figures:
            _draw_figures(page, seen.figures)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            # on_click is heard even where this redrawing is cut off by the next one
            if one.alive:
                st.button(
                    page.say("deploy.stop"), key=f"deploy_stop_{one.id}", on_click=_end, args=(one.id, process.stop)
                )
                draw_note(page.say("deploy.goes_on" if one.stays else "deploy.ends_with_app"))
            else:
                st.button(
                    page.say("deploy.forget"),
                    key=f"deploy_forget_{one.id}",
                    on_click=_end,
                    args=(one.id, process.forget),
                )
        lines = found.log_tail(one)
        if lines:
            with st.expander(page.say("deploy.log")):
                st.code(lines, language=None, wrap_lines=True)


def _draw_figures(page: Page, figures: dict[str, float]) -> None:
    rows = "".join(
        f"<div><dt>{escape(page.say(f'deploy.figure.{name}'))}</dt><dd>{figures[name]:,.0f}</dd></div>"
        for name in FIGURES
        if name in figures
    )
    st.html(f'<dl class="place-facts">{rows}</dl>')


class _FailedError(Exception):
    """What a server says that it failed with."""

    def __init__(self, one: Deployment) -> None:
        super().__init__(one.id)
        error = one.error or {}
        self.code, self.values = str(error.get("code", "deployment_failed")), dict(error.get("values", {}))


def _end(deployment_id: str, how: Callable[[str], object]) -> None:
    """Stop or forget a deployment; one that is gone already is gone."""
    with suppress(ServeError):
        how(deployment_id)


@section
def draw_first(page: Page, seen: Seen | None) -> None:
    """Send the first request and show what comes back."""
    st.header(page.say("deploy.first.title"))
    if seen is None or not seen.can:
        draw_note(page.say("deploy.first.wait"))
        return
    one = seen.deployment
    if one.has_key and found.key_of(one) is None:
        given = st.text_input(page.say("deploy.first.key"), key=f"deploy_key_{one.id}", type="password", max_chars=200)
        if not given:
            return
        found.keep_key(one, given.strip())
    text = found.beginning(page.bench.sentence)
    if st.button(page.say("deploy.first.ask"), key="deploy_ask", type="primary"):
        st.session_state[_ANSWER] = (one.id, text, found.first_answer(one, text, seen.can))
    kept = st.session_state.get(_ANSWER)
    if kept is None or kept[:2] != (one.id, text):
        draw_note(page.say("deploy.first.ready", sentence=text[:80]))
        return
    request, reply = kept[2]
    if not reply.ok:
        if reply.status == HTTP_UNAUTHORISED:
            found.keep_key(one, "")
        st.error(page.say("deploy.first.error", status=reply.status or "–", code=plain(reply.error)))
        return
    _draw_answer(page, text, request.path, reply)
    page.tick("do.ask")


HTTP_UNAUTHORISED = 401


def _draw_answer(page: Page, text: str, path: str, reply: Reply) -> None:
    """Draw the first answer: the text gone on with, or the first numbers of its vector."""
    ms = reply.latency_ms
    if (vector := vector_of(reply.data)) is None:
        said = reply.text
        counts = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
        table = pd.DataFrame([{"prompt": text, "text": said, "ms": ms, **counts}])
        html = f'<p class="place-answer">{escape(text)}<mark>{escape(said)}</mark></p>'
    else:
        said = ", ".join(f"{one:.3f}" for one in vector[:8]) + " …"
        table = pd.DataFrame({"dimension": range(len(vector)), "value": vector})
        html = f'<p class="place-answer">{escape(text)} → <mark>{escape(said)}</mark></p>'
    alt = page.say("deploy.first.alt", text=said, ms=f"{ms:.0f}")
    with page.shown(key="first", badge=Badge.live(), alt=alt, data=table):
        st.html(html + f"<p>{escape(page.say('deploy.first.took', ms=f'{ms:,.0f}', path=path))}</p>")


STATUSES = (200, 400, 413, 500)


def draw_check(page: Page, seen: Seen | None) -> None:
    """Predict the status of a request that is far too long; the running server is asked."""

    def run() -> Verdict:
        if seen is None or not seen.can:
            raise found.DeployError("deploy_not_ready")
        reply = found.probe_too_long(seen.deployment, seen.can)
        page.tick("do.probe")
        because = page.say(
            "deploy.check.because",
            words=f"{found.LONG_WORDS:,}",
            status=reply.status or reply.error,
            message=plain(reply.message),
            ms=f"{reply.latency_ms:,.0f}",
        )
        return Verdict(answer=str(reply.status) if reply.status in STATUSES else "other", explanation=because)

    options = {str(status): page.say(f"deploy.check.{status}") for status in STATUSES}
    options["other"] = page.say("deploy.check.other")
    page.check(
        "too_long", question=page.say("deploy.check.question", words=f"{found.LONG_WORDS:,}"), options=options, run=run
    )
