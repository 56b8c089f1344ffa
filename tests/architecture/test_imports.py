"""Imports run one way, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT, python_files

LOADED = """
import json, sys
{code}
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""

FIRST_PAGE = """
import logging
logging.disable(logging.WARNING)
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("app.py", default_timeout=60).run()
assert not app.exception, app.exception
"""


def loaded_by(code: str) -> set[str]:
    """Return the top-level packages that are loaded after a fresh interpreter has run `code`."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_contracts_of_the_house() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ran = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_imports_the_door() -> None:
    for path in python_files("pages", "components", "lessons", "llmkit"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.split()[:2] in (["import", "app"], ["from", "app"])], path


def test_llmkit_is_light() -> None:
    assert not loaded_by("import llmkit") & {"torch", "transformers", "streamlit", "plotly", "numpy"}


@pytest.mark.parametrize("room", ["llmkit.tokens", "llmkit.shelf"])
def test_rooms_that_need_no_torch(room: str) -> None:
    assert not loaded_by(f"import {room}") & {"torch", "transformers", "streamlit", "plotly"}


def test_lessons_are_data() -> None:
    assert not loaded_by("import lessons.registry") & {"torch", "streamlit", "plotly", "numpy", "pandas"}


def test_first_page_is_drawn_without_torch() -> None:
    assert not loaded_by(FIRST_PAGE) & {"torch", "transformers"}
