"""Forms of a box, made and opened, against the reference library's own numbers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from llmkit import jobs, shelf
from llmkit.compress import FormError, made, quanto_engine, shelved, torchao_engine
from llmkit.compress.form import FORMS, form
from llmkit.reference import open_box
from tests.llmkit.random_box import random_box

FAMILIES = ("gpt2", "bert", "llama")
MADE = ("quanto-int8", "quanto-float8", "torchao-int8", "torch-bfloat16")
IDS = np.random.default_rng(0).integers(0, 256, (8, 20))


@pytest.fixture(params=FAMILIES)
def box(request: pytest.FixtureRequest, tmp_path: Path, own_home: Path) -> str:
    return f"folder:{random_box(tmp_path / request.param, request.param, seed=3)}"


@pytest.fixture
def llama(tmp_path: Path, own_home: Path) -> str:
    return f"folder:{random_box(tmp_path / 'llama', 'llama', seed=3)}"


def quiet(*_: Any, **__: Any) -> None:
    """Report nothing."""


def hugging_face(box_id: str) -> Any:
    folder = box_id.removeprefix("folder:")
    auto = transformers.AutoModel if folder.endswith("bert") else transformers.AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=torch.float32).eval()


def test_float32_gives_the_references_numbers(box: str) -> None:
    runner, model = made.open_form(box, "torch-float32"), hugging_face(box)
    with torch.no_grad():
        given = model(torch.from_numpy(IDS))
    expected = given.last_hidden_state if box.endswith("bert") else given.logits
    np.testing.assert_allclose(runner.scores(IDS), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_reading_and_stepping_gives_what_the_references_cache_gives(
    family: str, tmp_path: Path, own_home: Path
) -> None:
    box = f"folder:{random_box(tmp_path / family, family, seed=4)}"
    runner, model = made.open_form(box, "torch-float32"), hugging_face(box)
    reading = runner.read(IDS[:, :10])
    with torch.no_grad():
        given = model(torch.from_numpy(IDS[:, :10]), use_cache=True)
        for at in range(10, 15):
            np.testing.assert_allclose(reading.logits, given.logits[:, -1].numpy(), atol=2e-5)
            reading.step(IDS[:, at])
            given = model(torch.from_numpy(IDS[:, at : at + 1]), past_key_values=given.past_key_values)
    np.testing.assert_allclose(reading.logits, given.logits[:, -1].numpy(), atol=2e-5)


@pytest.mark.parametrize("form_id", MADE)
def test_eight_rows_are_each_what_one_row_is_alone_and_steps_are_what_all_at_once_is(form_id: str, box: str) -> None:
    made.make(box, form_id, quiet)
    runner, close = made.open_form(box, form_id), 0.2 if "bfloat16" in form_id else 2e-5
    whole = runner.scores(IDS)
    np.testing.assert_allclose(np.concatenate([runner.scores(row[None]) for row in IDS]), whole, atol=close)
    if box.endswith("bert"):
        with pytest.raises(FormError, match="form_unsupported"):
            runner.read(IDS)
        return
    first, second = runner.read(IDS[:, :5]), runner.read(IDS[:, 3:9])  # two live at once
    for at in range(5, 8):
        np.testing.assert_allclose(first.logits, whole[:, at - 1], atol=close)
        first.step(IDS[:, at])
    assert second.logits.shape == (8, 256)


@pytest.mark.parametrize(("form_id", "engine"), [("quanto-int8", quanto_engine), ("torchao-int8", torchao_engine)])
def test_what_is_reopened_computes_as_what_was_quantised(form_id: str, engine: Any, box: str) -> None:
    from llmkit.compress.parts_runner import open_parts

    model = open_parts(Path(box.removeprefix("folder:")))
    if engine is quanto_engine:
        from optimum.quanto import freeze, qint8, quantize

        quantize(model, weights=qint8)
        freeze(model)
    else:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(model, Int8WeightOnlyConfig())
    with torch.no_grad():
        expected = model(torch.from_numpy(IDS)).numpy()
    made.make(box, form_id, quiet)
    np.testing.assert_array_equal(made.open_form(box, form_id).scores(IDS), expected)


@pytest.mark.parametrize("form_id", ["quanto-int8", "torchao-int8"])
def test_the_rounded_weights_are_within_half_a_step_of_the_originals(form_id: str, llama: str) -> None:
    folder = made.make(llama, form_id, quiet)
    rounded = made.engine(form(form_id)).dequantised(form(form_id), Path(llama.removeprefix("folder:")), folder)
    for name, tensor in open_box(llama).model.state_dict().items():
        step = tensor.abs().amax(-1, keepdim=True) / 127 if "layers" in name and tensor.dim() == 2 else torch.zeros(1)
        assert bool(((rounded[name] - tensor).abs() <= 0.51 * step + 1e-7).all()), name


@pytest.mark.parametrize("form_id", ["quanto-int8", "torchao-int8"])
def test_a_quantised_box_on_the_shelf_computes_as_its_form(form_id: str, box: str) -> None:
    box_id = shelved.put_on_shelf(box, form_id, quiet)
    assert box_id in shelf.boxes_here("model")
    assert box_id.startswith("made:")
    opened, form_scores = open_box(box_id), made.open_form(box, form_id).scores(IDS)
    model = opened.model if opened.model.causal else opened.model.with_parts(unembedding=None)
    np.testing.assert_allclose(model(torch.from_numpy(IDS)).numpy(), form_scores, atol=5e-5)
    folder = shelf.locate(box_id)
    assert folder is not None
    auto = transformers.AutoModel if opened.family == "bert" else transformers.AutoModelForCausalLM
    given = auto.from_pretrained(folder).eval()(torch.from_numpy(IDS))
    theirs = given.last_hidden_state if opened.family == "bert" else given.logits
    np.testing.assert_allclose(theirs.detach().numpy(), form_scores, atol=5e-5)


def test_a_form_that_keeps_a_graph_is_not_put_on_the_shelf(llama: str) -> None:
    with pytest.raises(FormError, match="form_unsupported"):
        shelved.put_on_shelf(llama, "genai-int4", quiet)


def test_a_form_is_made_once_and_known_afterwards(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made.folder(llama, "quanto-int8") is None
    with pytest.raises(FormError, match="form_missing"):
        made.open_form(llama, "quanto-int8")
    folder = made.make(llama, "quanto-int8", quiet)
    monkeypatch.setattr(quanto_engine, "make", lambda *_: pytest.fail("made again"))
    assert made.make(llama, "quanto-int8", quiet) == folder == made.folder(llama, "quanto-int8")
    assert {"torch-float32", "quanto-int8"} <= set(made.forms_here(llama))
    weights = (folder / "model.safetensors").stat().st_size + (folder / "quantization_map.json").stat().st_size
    assert made.size_bytes(llama, "quanto-int8") == weights


def test_a_box_that_changed_has_no_forms(llama: str) -> None:
    made.make(llama, "quanto-int8", quiet)
    config = Path(llama.removeprefix("folder:")) / "config.json"
    config.write_text(config.read_text() + " ")
    assert made.folder(llama, "quanto-int8") is None


def stop(*_: Any, **__: Any) -> None:
    raise jobs.Cancelled


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_in_rust(*_: Any, **__: Any) -> None:
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(("happens", "raised"), [(stop, jobs.Cancelled), (full, FormError), (full_in_rust, FormError)])
def test_what_is_interrupted_leaves_nothing(
    happens: Callable[..., None],
    raised: type[BaseException],
    llama: str,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def half(_form: Any, _box: Path, out: Path, report: Any) -> None:
        (out / "half.bin").write_bytes(b"x" * 1000)
        happens()

    monkeypatch.setattr(quanto_engine, "make", half)
    with pytest.raises(raised) as caught:
        made.make(llama, "quanto-int8", quiet)
    assert getattr(caught.value, "code", "form_no_space") == "form_no_space"
    assert [path.name for path in (own_home / "forms").rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert made.folder(llama, "quanto-int8") is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def scramble(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize("harm", [cut, scramble, Path.unlink])
@pytest.mark.parametrize("form_id", ["quanto-int8", "torchao-int8", "torch-bfloat16"])
def test_broken_files_are_said_and_made_again(harm: Callable[[Path], Any], form_id: str, llama: str) -> None:
    harm(made.make(llama, form_id, quiet) / "model.safetensors")
    with pytest.raises(FormError, match="form_broken"):
        made.open_form(llama, form_id)
    made.remove(llama, form_id)
    made.make(llama, form_id, quiet)
    assert made.open_form(llama, form_id).scores(IDS).shape == (8, 20, 256)


def test_what_cannot_run_here_says_why(box: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmkit.doctor.find_gpus", lambda: ())
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    for one in FORMS:
        why = made.why_not(one.id, box)
        if one.device == "cuda" or one.id in ("quanto-int4", "quanto-int2"):
            assert why is not None
            assert why.code == "form_missing"
        if one.engine == "genai" and not box.endswith("llama"):
            assert why is not None
            assert why.code == "form_unsupported"
    with pytest.raises(FormError, match="form_unknown"):
        made.why_not("gguf", box)
    with pytest.raises(shelf.ShelfError, match="box_missing"):
        made.why_not("torch-float32", "folder:/nowhere")


def test_genai_reads_and_steps_as_the_reference(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(
        **sizes, intermediate_size=96, num_key_value_heads=2, max_position_embeddings=64, eos_token_id=0, bos_token_id=1
    )
    monkeypatch.setattr("tests.llmkit.random_box.CONFIGS", {"llama": config})
    box = f"folder:{random_box(tmp_path / 'llama', 'llama', seed=5)}"
    names = '{"tokenizer_class": "PreTrainedTokenizerFast"}'
    (tmp_path / "llama" / "tokenizer_config.json").write_text(names)
    made.make(box, "genai-float32", quiet)
    runner, original = made.open_form(box, "genai-float32"), made.open_form(box, "torch-float32")
    whole = original.scores(IDS)
    np.testing.assert_allclose(runner.scores(IDS), whole, atol=1e-4)
    reading, other = runner.read(IDS[:, :9]), runner.read(IDS[:1, :4])
    other.step(np.zeros(1, dtype=np.int64))  # the box's own end of text ends nothing here
    other.step(np.array([7]))
    expected = original.scores(np.array([[*IDS[0, :4], 0, 7]]))[:, -1]
    np.testing.assert_allclose(other.logits, expected, atol=1e-4)
    for at in range(9, 14):
        np.testing.assert_allclose(reading.logits, whole[:, at - 1], atol=1e-4)
        reading.step(IDS[:, at])
    reading.step(np.full(8, 255))
    reading.step(IDS[:, 0])
    ended = np.concatenate([IDS[:, :14], np.full((8, 1), 255), IDS[:, :1]], axis=1)
    np.testing.assert_allclose(reading.logits, original.scores(ended)[:, -1], atol=1e-4)


def test_the_job_makes_a_form(llama: str, tmp_path: Path) -> None:
    report = jobs.DirectReport(tmp_path)
    said = made.run({"box": llama, "form": "quanto-int8", "fingerprint": shelf.fingerprint(llama)}, report)
    assert said["size_bytes"] == made.size_bytes(llama, "quanto-int8")
    assert report.said
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        made.run({"box": llama, "form": "quanto-int8", "fingerprint": "other"}, report)
