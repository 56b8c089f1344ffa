"""What tests of every kind share: an empty shelf, and the standard kit.

Boxes are looked for in ``LLMKIT_HOME``, as everywhere; a test that writes to the shelf takes ``own_home``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmkit import shelf


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty shelf of its own, and a network that is allowed."""
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LLMKIT_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def standard_kit() -> tuple[str, ...]:
    """Fetch what is missing of the standard kit; skip where no source answers, fail where CI=true."""
    for box_id in shelf.standard_kit():
        try:
            shelf.get(box_id)
        except shelf.ShelfError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
    return shelf.standard_kit()
