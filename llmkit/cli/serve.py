"""``python -m llmkit serve``: a box answers, in OpenAI's shapes or on NVIDIA's Triton, until Ctrl-C."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from llmkit.cli.output import Json, tell


class Engine(StrEnum):
    """What serves a box."""

    fastapi = "fastapi"
    triton = "triton"


def serve_command(
    box: Annotated[str, typer.Argument(help="A box on this machine: see python -m llmkit list.")],
    form: Annotated[
        str | None,
        typer.Option(help="Its form; one that is not here yet is made first. Usually torch-float32; on Triton onnx-…"),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="What serves it; triton wants python -m llmkit setup-triton.")] = (
        Engine.fastapi
    ),
    repository: Annotated[
        Path | None, typer.Option(help="With --engine triton: write the model repository into this folder, and end.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets the whole network ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Requests must bring the key in this file; without it the one in LLMKIT_SERVE_KEY, if any."),
    ] = None,
    max_running: Annotated[int, typer.Option(min=1, help="Texts that are written at once.")] = 16,
    max_queue: Annotated[int, typer.Option(min=0, help="Requests that may wait besides.")] = 32,
    timeout_s: Annotated[float, typer.Option(min=1, help="So long a request may take.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Serve a box: /v1/completions, /v1/chat/completions, /v1/embeddings, /classify, /health, /ready, /metrics.

    On Triton: /v2/models/box/infer, /v2/health/ready.
    """
    from llmkit import shelf
    from llmkit.serve import process
    from llmkit.serve.deployment import address_of

    if shelf.locate(box) is None:
        raise shelf.ShelfError("box_missing", box=box)
    form = form or ("onnx-float32" if engine is Engine.triton else "torch-float32")
    if repository is not None:
        _write(box, form, repository)
        return
    key = _key(key_file)
    process.bind(host, port).close()
    _make(box, form)
    if engine is Engine.triton:
        process.require_triton(box, form, key)
    limits = {"max_running": max_running, "max_queue": max_queue, "timeout_s": timeout_s}
    deployment = process.register(
        box, form, host=host, port=port, key=key, stays=True, limits=limits, engine=engine.value
    )

    def on_state(state: str, said: dict[str, Any]) -> None:
        facts = {"id": deployment, "state": state, "address": address_of(host, said.get("port", port))}
        if as_json:
            typer.echo(json.dumps({**facts, "error": said.get("error")}))
        elif not said.get("error"):
            tell(f"{state}  {facts['address']}")

    if host in ("0.0.0.0", "::") and not key:
        tell("Everyone on the network can use this server. Give it a key: --key-file FILE.")
    from llmkit.serve.errors import ServeError

    if engine is Engine.triton:
        from llmkit.serve.nvidia.server import serve as serve_triton

        status = serve_triton(deployment, on_state=on_state)
    else:
        from llmkit.serve.server import serve

        status = serve(deployment, key, on_state=on_state)
    error = process.get(deployment).error
    process.forget(deployment)
    if status and error is not None:
        raise ServeError("deployment_failed", deployment=deployment, detail=error["values"] or error["code"])


def _key(path: Path | None) -> str | None:
    from llmkit.serve.errors import ServeError
    from llmkit.serve.process import KEY_VARIABLE

    if path is None:
        return os.environ.pop(KEY_VARIABLE, None) or None
    key = path.read_text(encoding="utf-8").strip()
    if not key:
        raise ServeError("key_unreadable", detail=path.name)
    return key


def _write(box: str, form: str, place: Path) -> None:
    """Write a model repository, and say how a container serves it."""
    from llmkit.serve.nvidia import container
    from llmkit.serve.nvidia import repository as model_repository

    _make(box, form)
    tell(str(model_repository.write(box, form, place.absolute())))
    tell(container.docker_run(0))


def _make(box: str, form: str) -> None:
    """Make a form of the box that is not here yet."""
    if form == "torch-float32":
        return
    from llmkit.compress import made

    why = made.why_not(form, box)
    if why is not None:
        raise why
    if made.folder(box, form) is None:
        tell(f"{form} of {box} is made first")
        made.make(box, form, lambda done, total, note="": tell(f"{note} {done:g}/{total:g}"))
