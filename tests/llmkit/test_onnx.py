"""ONNX Runtime's graph of our parts against the reference's own model code, whole and from the cache."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from llmkit.compress import FormError, form
from llmkit.compress import onnx_engine as engine
from llmkit.compress.onnx_export import DATA, MODEL
from tests.llmkit.random_box import random_box

FAMILIES = ("gpt2", "llama", "bert")
IDS = (np.arange(30, dtype=np.int64).reshape(3, 10) * 83 + 5) % 256


def silent(done: float, total: float, note: str = "") -> None:
    """Take no notice."""


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A box of each family, and its float32 graph and its 8- and 4-bit ones beside it."""
    found = {}
    for family in FAMILIES:
        room = tmp_path_factory.mktemp(family)
        found[family] = random_box(room / "box", family, seed=3)
        for form_id in ("onnx-float32", "onnx-int8", "onnx-int4"):
            (room / form_id).mkdir()
            engine.make(form(form_id), room / "box", room / form_id, silent)
            (room / form_id / "form.json").write_text("{}")
    return found


def reference(box: Path, family: str, ids: np.ndarray) -> np.ndarray:
    """Logits of Hugging Face's own module; an encoder's final states."""
    with torch.no_grad():
        if family == "bert":
            encoder = transformers.AutoModel.from_pretrained(box).eval()
            return encoder(torch.from_numpy(ids)).last_hidden_state.numpy()
        return transformers.AutoModelForCausalLM.from_pretrained(box).eval()(torch.from_numpy(ids)).logits.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_three_gives_the_reference_numbers(boxes: dict[str, Path], family: str) -> None:
    box = boxes[family]
    runner = engine.open_runner(form("onnx-float32"), box, box.parent / "onnx-float32")
    for ids in (IDS, IDS[:1, :1], IDS[:2, :7]):
        np.testing.assert_allclose(runner.scores(ids), reference(box, family, ids), atol=2e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_cached_steps_give_the_reference_numbers(boxes: dict[str, Path], family: str) -> None:
    box = boxes[family]
    runner = engine.open_runner(form("onnx-float32"), box, box.parent / "onnx-float32")
    wanted = reference(box, family, IDS)
    long, short = runner.read(IDS[:, :6]), runner.read(IDS[:1, :1])  # two at once, one of them of a single token
    np.testing.assert_allclose(long.logits, wanted[:, 5], atol=2e-4)
    for at in range(6, 10):
        long.step(IDS[:, at])
        np.testing.assert_allclose(long.logits, wanted[:, at], atol=2e-4)
    short.step(IDS[:1, 1])
    np.testing.assert_allclose(short.logits, wanted[:1, 1], atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_bits_are_smaller_and_further_away(boxes: dict[str, Path], family: str) -> None:
    room = boxes[family].parent
    ids = ("onnx-float32", "onnx-int8", "onnx-int4")
    sizes = [sum(path.stat().st_size for path in (room / name).glob(MODEL + "*")) for name in ids]
    deltas = [engine.max_delta(room / name)["whole"] for name in ids]
    assert sizes[0] > sizes[1] > sizes[2]
    assert deltas[0] < 1e-3 < deltas[1] < deltas[2]


def test_an_encoder_does_not_go_on_writing(boxes: dict[str, Path]) -> None:
    box = boxes["bert"]
    with pytest.raises(FormError, match="form_unsupported"):
        engine.open_runner(form("onnx-float32"), box, box.parent / "onnx-float32").read(IDS)


def test_too_long_a_text_is_refused(boxes: dict[str, Path]) -> None:
    box = boxes["llama"]
    with pytest.raises(ValueError, match="65 tokens"):
        engine.open_runner(form("onnx-float32"), box, box.parent / "onnx-float32").scores(np.zeros((1, 65), np.int64))


def test_a_cut_off_or_foreign_graph_is_broken(boxes: dict[str, Path], tmp_path: Path) -> None:
    box = boxes["gpt2"]
    for path in (box.parent / "onnx-float32").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / DATA).write_bytes((tmp_path / DATA).read_bytes()[:100])
    with pytest.raises(FormError, match="form_broken"):
        engine.open_runner(form("onnx-float32"), box, tmp_path)
    for path in (boxes["bert"].parent / "onnx-float32").glob(MODEL + "*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FormError, match="form_broken"):
        engine.open_runner(form("onnx-float32"), box, tmp_path)
    (tmp_path / MODEL).write_bytes(b"no graph")
    with pytest.raises(FormError, match="form_broken"):
        engine.open_runner(form("onnx-float32"), box, tmp_path)
