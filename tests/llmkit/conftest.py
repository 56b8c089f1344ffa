"""Fake sources that the shelf is pointed at."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from llmkit.shelf import Box
from tests.llmkit.fakes.hub import FakeHub
from tests.llmkit.fakes.package_index import FakeIndex

Shelve = Callable[..., None]


@pytest.fixture
def weights() -> bytes:
    """Two megabytes of safetensors."""
    return save({"wte.weight": np.random.default_rng(0).standard_normal((500, 1000)).astype(np.float32)})


@pytest.fixture
def hub(own_home: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes) -> Iterator[FakeHub]:
    """A hub with ``a/b``, a box of two files; this process and its children ask it."""
    with FakeHub() as hub:
        hub.put({"config.json": b'{"model_type": "gpt2"}', "model.safetensors": weights})
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()
        yield hub
    huggingface_hub.close_session()


@pytest.fixture
def package_index(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    """An empty package index that pip's own settings lead to."""
    index = importlib.import_module("llmkit.shelf.index")
    with FakeIndex() as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        index._index.cache_clear()
        yield server
    index._index.cache_clear()


@pytest.fixture
def shelve(monkeypatch: pytest.MonkeyPatch) -> Shelve:
    """Return a function that makes the catalogue hold these boxes and no other."""

    def put(*boxes: Box) -> None:
        for name in ("catalogue", "store"):
            module = importlib.import_module(f"llmkit.shelf.{name}")
            monkeypatch.setattr(module, "catalogue", lambda: {box.id: box for box in boxes})

    return put


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no notice of how full this machine's disk is."""
    monkeypatch.setattr(importlib.import_module("llmkit.shelf.get"), "require_space", lambda *_: None)
