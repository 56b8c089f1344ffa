"""The Deploy page: the same as commands, and as a container for another machine."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from components import deploy_engine as found
from components import deploy_triton as triton
from components.deploy_engine import Seen
from components.figure import draw_note
from components.frame import Page, section
from llmkit.serve.deployment import Engine

FORM_KEYS: dict[Engine, str] = {"fastapi": "deploy_form", "triton": "deploy_form_onnx"}
"""Where the chosen form stands; each kind of server has forms of its own to choose from."""


@section
def draw_commands(page: Page, seen: Seen | None, kind: Engine) -> None:
    """Draw commands and container of the kind of server that was chosen; requests where one of that kind lives."""
    st.header(page.say("deploy.take.title"))
    alive = seen is not None and seen.deployment.alive and seen.deployment.engine == kind
    if kind == "triton":
        _draw_triton(page, seen if alive else None)
    else:
        _draw_ours(page, seen if alive else None)


def _draw_ours(page: Page, seen: Seen | None) -> None:
    from llmkit.serve import recipe

    bench = page.bench
    form = st.session_state.get(FORM_KEYS["fastapi"]) or found.FLOAT32
    with st.expander(page.say("deploy.commands")):
        st.code(recipe.command(bench.box_id, form), language="bash", wrap_lines=True)
        if seen is not None:
            st.code(recipe.curl(seen.deployment), language="bash", wrap_lines=True)
            st.code(recipe.python(seen.deployment), language="python", wrap_lines=True)
        else:
            draw_note(page.say("deploy.commands.later"))
    with st.expander(page.say("deploy.container")):
        draw_note(page.say("deploy.container.how"))
        files = {
            "Dockerfile": recipe.dockerfile(form),
            "compose.yaml": recipe.compose(st.session_state.get("deploy_port") or 0),
            "requirements-serve.txt": recipe.requirements(form),
        }
        _draw_downloads(files)
        st.code(recipe.steps(found.box_folder(bench)), language="bash", wrap_lines=True)
        _draw_files(files)


def _draw_triton(page: Page, seen: Seen | None) -> None:
    from llmkit.serve.nvidia import container
    from llmkit.serve.nvidia.repository import FORMS

    box = page.bench.box_id
    form = st.session_state.get(FORM_KEYS["triton"]) or FORMS[0]
    port = st.session_state.get("deploy_port") or 0
    with st.expander(page.say("deploy.commands")):
        st.code(container.serve_command(box, form), language="bash", wrap_lines=True)
        if seen is not None:
            output = "text" if "completions" in seen.can else "embedding"
            st.code(container.curl(seen.deployment), language="bash", wrap_lines=True)
            st.code(container.python(seen.deployment, output), language="python", wrap_lines=True)
        else:
            draw_note(page.say("deploy.commands.later"))
    if seen is not None:
        triton.draw_repository(page, seen.deployment)
    with st.expander(page.say("deploy.container")):
        draw_note(page.say("deploy.triton.container"))
        files = {"Dockerfile": container.dockerfile(), "compose.yaml": container.compose(port)}
        _draw_downloads(files)
        st.code(f"{container.write_command(box, form)}\n{container.docker_run(port)}", language="bash", wrap_lines=True)
        _draw_files(files)


def _draw_downloads(files: Mapping[str, str]) -> None:
    with st.container(horizontal=True, gap="small"):
        for name, text in files.items():
            st.download_button(
                name, data=text, file_name=name, mime="text/plain", key=f"deploy_{name}", on_click="ignore"
            )


def _draw_files(files: Mapping[str, str]) -> None:
    st.code(files["Dockerfile"], language="dockerfile", wrap_lines=True)
    st.code(files["compose.yaml"], language="yaml", wrap_lines=True)
