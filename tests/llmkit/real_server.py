"""The real Triton server for tests that have homes of their own: made once, where the tests were started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmkit.serve.errors import ServeError
from llmkit.serve.nvidia import environment

OUTER = os.environ.get("LLMKIT_HOME")


def lend_tritonserver(home: Path) -> None:
    """Link the server's environment into a home, made first where it is missing (about 110 MB are fetched).

    Where the machine cannot run it, or no source answers, the test is skipped; with CI=true the latter is a failure.
    """
    if (why := environment.why_not()) is not None:
        pytest.skip(str(why))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LLMKIT_HOME", raising=False)
        if OUTER is not None:
            patch.setenv("LLMKIT_HOME", OUTER)
        try:
            kept = environment.make(lambda _done, _total, note="": None)
        except ServeError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
    home.mkdir(parents=True, exist_ok=True)
    (home / "tritonserver").symlink_to(kept)
