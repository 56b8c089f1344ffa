"""Tiny boxes for servers, and what waits for one to be ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import transformers

from llmkit.serve import process
from llmkit.serve.deployment import Deployment
from tests.llmkit import random_box

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LONG = 4096


def long_llama(path: Path, *, seed: int) -> str:
    """A LLaMA-like box with random weights, a long context, no token that ends a text, and a chat template."""
    with pytest.MonkeyPatch.context() as patch:
        config = transformers.LlamaConfig(
            **random_box.SIZES, intermediate_size=40, num_key_value_heads=2, max_position_embeddings=LONG
        )
        patch.setitem(random_box.CONFIGS, "llama", config)
        path.mkdir(parents=True)
        random_box.random_box(path, "llama", seed=seed)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return f"folder:{path}"


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so; fail when it does not come about."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_ready(deployment: Deployment) -> bool:
    """Whether the server answers."""
    assert process.get(deployment.id).alive, process.log(deployment.id)
    try:
        return httpx.get(f"{deployment.address}/ready").status_code == 200
    except httpx.TransportError:
        return False
