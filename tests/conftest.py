"""What tests of every kind share: an empty shelf, and the standard kit.

Boxes are looked for in ``LLMKIT_HOME``, as everywhere; a test that writes to the shelf takes ``own_home``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmkit import jobs, shelf

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # workers that share the cores do not each compute with all of them, nor do the servers they start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty shelf of its own, and a network that is allowed."""
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LLMKIT_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def own_jobs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give every test a folder of jobs of its own (made when the first job is), and leave no process behind."""
    place = tmp_path_factory.getbasetemp() / f"jobs-{uuid.uuid4().hex}"
    monkeypatch.setenv("LLMKIT_JOBS", str(place))
    yield place
    monkeypatch.setenv("LLMKIT_JOBS", str(place))  # whatever the test has set meanwhile
    try:
        jobs.stop()
    except jobs.JobError:  # a test of broken databases: without its database the worker ends by itself
        jobs.set_aside()


@pytest.fixture(autouse=True)
def own_journal(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a learner's journal of its own; it is made when it is first opened."""
    place = tmp_path_factory.getbasetemp() / f"journal-{uuid.uuid4().hex}"
    monkeypatch.setenv("LLMKIT_JOURNAL", str(place))


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
