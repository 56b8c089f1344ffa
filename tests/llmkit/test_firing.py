"""What fires a neuron, against a brute-force reading of the same texts by the reference, one text at a time."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmkit import shelf
from llmkit.reference import open_folder
from llmkit.trace import firing
from llmkit.trace.firing import read_firing, run, sample_rows, strongest_places
from tests.llmkit.random_box import CONFIGS, random_box
from tests.llmkit.test_neurons import Theirs

TEXTS = ("bad", "a good book", "no", "so very long a text that others must be padded", "鬱", "ok ok ok ok")
TOP = 4


@dataclass
class Told:
    """A report that only remembers what it was told, and where to write."""

    folder: Path

    def __post_init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, note: str = "", partial: Any = None) -> None:
        self.calls.append((done, total))


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_box(tmp_path_factory.mktemp(request.param), request.param, seed=5)


def test_the_strongest_places_are_those_of_a_brute_force_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "_BATCH_TOKENS", 40)  # several batches, some padded
    theirs = Theirs(folder)
    encodings = [theirs.box.tokenizer.encode(text) for text in TEXTS]
    found = strongest_places(theirs.box, encodings, top=TOP)
    config = theirs.box.config
    assert found.values.shape == (config.n_layers, config.d_mlp, TOP)
    kept = theirs.hidden(torch.tensor([[1]]))  # the hooks stay: each call below writes into it
    acts = []
    for encoding in encodings:
        with torch.no_grad():
            theirs.model(torch.tensor([encoding.ids]))
        acts.append([layer["act"].numpy() for layer in kept])
    for layer in range(config.n_layers):
        loudest = np.stack([np.abs(act[layer]).max(0) for act in acts])  # [texts, d_mlp]
        expected = -np.sort(-loudest, axis=0)[:TOP].T
        np.testing.assert_allclose(np.abs(found.values[layer]), expected, atol=1e-6)
        for neuron in range(config.d_mlp):
            assert len(set(found.rows[layer, neuron])) == TOP
            for value, row, place in zip(
                found.values[layer, neuron], found.rows[layer, neuron], found.places[layer, neuron], strict=True
            ):
                assert acts[row][layer][place, neuron] == pytest.approx(value, abs=1e-6)


def test_special_tokens_are_read_but_never_win(standard_kit: tuple[str, ...]) -> None:
    from llmkit.reference import open_box

    box = open_box("minilm-l6")
    encodings = [box.tokenizer.encode(text) for text in TEXTS[:3]]
    found = strongest_places(box, encodings, top=2)
    ends = np.array([len(encoding) - 1 for encoding in encodings])
    assert (found.places > 0).all()
    assert (found.places < ends[found.rows]).all()


def test_fewer_texts_than_places_leave_them_empty(folder: Path) -> None:
    box = open_folder(folder)
    found = strongest_places(box, [box.tokenizer.encode("one")], top=3)
    assert (found.rows[..., 0] == 0).all()
    assert (found.rows[..., 1:] == -1).all()
    assert np.isnan(found.values[..., 1:]).all()


@pytest.fixture
def reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data box of made texts, one of them too long to be read."""
    rows = tuple(shelf.Row(text, 1.0, "made") for text in (*TEXTS, "x" * 60))
    monkeypatch.setattr(shelf, "open_data", lambda box_id: shelf.DataBox(box_id=box_id, rows=rows))


def test_the_same_seed_draws_the_same_whole_texts(folder: Path, reviews: None) -> None:
    box = open_folder(folder)
    drawn = sample_rows(box, ["a", "b"], each=3, max_tokens=50, seed=1)
    assert [row.source for row, _ in drawn] == ["a"] * 3 + ["b"] * 3
    assert drawn == sample_rows(box, ["a", "b"], each=3, max_tokens=50, seed=1)
    everything = sample_rows(box, ["a"], each=100, max_tokens=50, seed=1)
    assert {row.text for row, _ in everything} == set(TEXTS)
    assert all(len(encoding) <= 50 for _, encoding in everything)


def test_the_job_leaves_what_is_read_back(folder: Path, reviews: None, tmp_path: Path) -> None:
    told = Told(tmp_path)
    settings = {
        "box_id": f"folder:{folder}",
        "sources": ["reviews-en"],
        "each": 5,
        "max_tokens": 50,
        "seed": 0,
        "top": 3,
    }
    result = run(settings, told)
    assert json.loads(json.dumps(result)) == result
    assert result["texts"] == {"reviews-en": 5}
    assert told.calls[-1] == (5, 5)
    found, rows = read_firing(tmp_path)
    box = open_folder(folder)
    encodings = [box.tokenizer.encode(row.text) for row in rows]
    assert result["tokens"] == sum(map(len, encodings))
    again = strongest_places(box, encodings, top=3)
    np.testing.assert_allclose(found.values, again.values, atol=1e-6)


def test_a_cancelled_job_stops_reading(folder: Path, reviews: None) -> None:
    box = open_folder(folder)

    class StoppedError(Exception):
        pass

    def stop(_: int) -> None:
        raise StoppedError

    def stop_at_once() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        sample_rows(box, ["a"], each=3, max_tokens=50, seed=1, on_cut=stop_at_once)
    with pytest.raises(StoppedError):
        strongest_places(box, [box.tokenizer.encode(text) for text in TEXTS], top=1, on_read=stop)
