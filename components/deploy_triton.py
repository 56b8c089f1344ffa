"""What Triton wants before it can be started (its environment, an ONNX form), and the repository it is started on."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from components import engine
from components.figure import draw_note
from components.frame import Page
from components.job_panel import draw_job
from components.workbench import Workbench
from llmkit import jobs
from llmkit.serve.deployment import Deployment, folder_of

SETUP = "tritonserver"
"""The kind of the job that makes the environment."""


def forms_here(bench: Workbench) -> tuple[str, ...]:
    """Return the forms of the workbench's box that a model repository can be made of at once."""
    from llmkit.compress import made
    from llmkit.serve.nvidia.repository import FORMS

    return tuple(form for form in FORMS if made.folder(bench.box_id, form) is not None)


def draw_needs(page: Page) -> bool:
    """Draw what is missing, with the button that makes it; return whether Triton can be started."""
    return _draw_environment(page) and _draw_form(page)


def _draw_environment(page: Page) -> bool:
    """Draw how the server's environment is; return whether it is ready."""
    from llmkit.serve.nvidia import environment

    state = environment.state()
    if state == "ready":
        found = environment.facts() or {}
        draw_note(
            page.say(
                "deploy.triton.ready",
                pin=environment.PINS[0],
                mb=f"{found['size_bytes'] / 1e6:.0f}",
                date=found["date"],
            )
        )
        return True
    if state == "impossible":
        with page.guard():
            raise environment.why_not() or AssertionError(state)
        return False
    settings = {"pins": list(environment.PINS)}
    draw_note(page.say(f"deploy.triton.{state}", mb=f"{environment.ROOM_BYTES / 1e6:.0f}"))
    made = draw_job(page, SETUP, settings, label=page.say("deploy.triton.setup"), key="deploy_triton_setup")
    # made once, and gone or broken now: it is made again
    if made and st.button(page.say("deploy.triton.again"), key="deploy_triton_again", type="primary"):
        jobs.forget(jobs.submit(SETUP, settings).id)
        jobs.submit(SETUP, settings)
        st.rerun()
    return False


def _draw_form(page: Page) -> bool:
    """Draw the button that makes an ONNX form where there is none yet; return whether there is one."""
    from llmkit.compress import made
    from llmkit.serve.nvidia.repository import FORMS

    bench = page.bench
    if forms_here(bench):
        return True
    why = made.why_not(FORMS[0], bench.box_id)
    if why is not None:
        with page.guard():
            raise why
        return False
    draw_note(page.say("deploy.triton.no_form", form=FORMS[0]))
    settings = {"box": bench.box_id, "form": FORMS[0], "fingerprint": engine.fingerprint(bench.box_id)}
    draw_job(page, "form", settings, label=page.say("deploy.triton.make_form", form=FORMS[0]), key="deploy_triton_form")
    return bool(forms_here(bench))


def draw_repository(page: Page, one: Deployment) -> None:
    """Draw the files that a deployment's server was started on, and their configurations."""
    from llmkit.serve.nvidia.server import MODELS

    models = folder_of(one.id) / MODELS
    with st.expander(page.say("deploy.triton.repository")):
        draw_note(page.say("deploy.triton.repository.what"))
        st.code(_tree(models), language=None, wrap_lines=True)
        for path in sorted(models.glob("*/config.pbtxt")):
            draw_note(str(path.relative_to(models)))
            st.code(path.read_text(encoding="utf-8"), language=None, wrap_lines=True)
        path = models / "box" / "1" / "model.py"
        if path.is_file():
            draw_note(str(path.relative_to(models)))
            st.code(path.read_text(encoding="utf-8"), language="python", wrap_lines=True)


def _tree(folder: Path) -> str:
    """Every file with its size, folder by folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [str(path.relative_to(folder)) for path in files]
    width = max(map(len, names), default=0)
    return "\n".join(f"{name:<{width}}  {path.stat().st_size:>12,}" for name, path in zip(names, files, strict=True))
