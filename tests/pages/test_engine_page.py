"""Step 1-6 on the bundled box and the standard kit; what it shows is computed again by transformers' own models."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from components import embeddings_engine, engine
from components import exploded_canvas as canvas
from components import exploded_engine as found
from lessons import registry, words
from llmkit import shelf
from tests.llmkit.random_box import random_box
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
KIT = [BOX, "minilm-l6", "smollm2-135m-instruct"]
SENTENCE = "The movie was good."


def reference(box_id: str) -> Any:
    loader = AutoModel if box_id == "minilm-l6" else AutoModelForCausalLM
    return loader.from_pretrained(shelf.locate(box_id), dtype=torch.float32, local_files_only=True).eval()


def unpacked(numbers: str, kind: type, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(numbers), dtype=kind).reshape(shape)


@pytest.mark.parametrize("box_id", KIT)
def test_the_stream_is_the_references_hidden_states(box_id: str, standard_kit: tuple[str, ...]) -> None:
    made = found.stream(box_id, SENTENCE).value
    ids = torch.tensor([embeddings_engine.encode(box_id, SENTENCE).ids])
    with torch.no_grad():
        out = reference(box_id)(ids, output_hidden_states=True)
    hidden = [state[0].numpy() for state in out.hidden_states]
    S, T = made.norms.shape
    dims = -(-made.d_model // made.every)
    drawn = unpacked(made.states, np.int8, S, T, dims) / 127 * unpacked(made.tops, np.float32, S, T, 1)
    layers = made.n_layers if box_id != "minilm-l6" else made.n_layers + 1  # the reference norms its last state
    for layer in range(layers):
        state = hidden[layer]
        np.testing.assert_allclose(made.norms[2 * layer], np.linalg.norm(state, axis=-1), rtol=1e-4)
        scale = np.abs(state[:, :: made.every]).max(-1, keepdims=True)
        assert (np.abs(drawn[2 * layer] - state[:, :: made.every]) <= scale * (0.5 / 127 + 1e-4)).all()
    if box_id == "minilm-l6":
        assert (S, made.answers) == (1 + 2 * made.n_layers, ())
        return
    np.testing.assert_allclose(made.norms[-1], np.linalg.norm(hidden[-1], axis=-1), rtol=1e-4)
    probs = out.logits[0].double().softmax(-1)
    assert [prob for _, prob in made.answers] == pytest.approx(probs.max(-1).values.tolist(), abs=1e-4)
    top = [embeddings_engine.label(box_id, int(id_)) for id_ in probs.argmax(-1)]
    assert [token for token, _ in made.answers] == top


def test_what_is_added_is_the_difference_of_the_states() -> None:
    made = found.stream(BOX, SENTENCE).value
    S, T = made.norms.shape
    dims = -(-made.d_model // made.every)
    states = unpacked(made.states, np.int8, S, T, dims) / 127 * unpacked(made.tops, np.float32, S, T, 1)
    count = 2 * made.n_layers
    added = unpacked(made.added, np.int8, count, T, dims) / 127 * unpacked(made.added_tops, np.float32, count, T, 1)
    top = unpacked(made.tops, np.float32, S, T).max()
    np.testing.assert_allclose(np.diff(states[: count + 1], axis=0), added, atol=3 * 0.5 / 127 * top)
    np.testing.assert_allclose(made.before_norms, made.norms[:count], rtol=1e-6)  # pre-norm: nothing lies between


@pytest.mark.parametrize("box_id", KIT)
@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_every_family_is_drawn_as_it_is_made(
    open_page: OpenPage, box_id: str, lang: str, standard_kit: tuple[str, ...]
) -> None:
    app = open_page("engine", lang=lang, box=box_id, sentence=SENTENCE)
    assert not app.exception
    assert not app.error
    say, text = words(lang), seen(app)
    config = engine.open_box(box_id).config
    notes = {
        BOX: ("pre", "causal", "learned", "tied"),
        "minilm-l6": ("post", "both", "learned", "headless"),
        "smollm2-135m-instruct": ("pre", "causal", "rotary", "tied"),
    }[box_id]
    for note in notes:
        assert say(f"engine.note.{note}") in text
    counted = found.counts(box_id, len(found.stream(box_id, SENTENCE).value.labels))
    assert f"{counted.parameters:,}" in text
    headers = [header.value for header in app.header]
    assert say("engine.lens.title" if config.unembedding else "engine.near.title") in headers
    if not config.unembedding:
        assert say("engine.near.why", box=box_id) in text


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_a_box_of_ones_own_is_drawn(open_page: OpenPage, family: str, tmp_path: Path) -> None:
    """BERT with its masked head, and a LLaMA that borrows nothing: neither is in the kit."""
    box_id = f"folder:{random_box(tmp_path / family, family, seed=2)}"
    app = open_page("engine", lang="en", box=box_id, sentence="good book")
    assert not app.exception
    assert not app.error
    assert (words("en")("engine.lens.note_masked") in seen(app)) == (family == "bert")
    made = found.stream(box_id, "good book").value
    assert made.n_states == 2 + 2 * made.n_layers
    config = engine.open_box(box_id).config
    plates = [plate.name for plate in canvas.plates(config, found.counts(box_id, 4))]
    assert set(canvas.strips(config, canvas.plates(config, found.counts(box_id, 4)))) <= set(plates)


def test_plates_stand_in_the_familys_order(standard_kit: tuple[str, ...]) -> None:
    def names(box_id: str) -> list[str]:
        config = engine.open_box(box_id).config
        return [plate.name for plate in canvas.plates(config, found.counts(box_id, 4))]

    assert names("minilm-l6") == [
        "tokens", "embedding", "segments", "positions", "norm_embeddings", "attention", "add_1", "norm_1",
        "feed_forward", "add_2", "norm_2",
    ]  # fmt: skip
    assert names("smollm2-135m-instruct")[:5] == ["tokens", "embedding", "norm_1", "attention", "turned"]
    assert names(BOX)[-3:] == ["norm_final", "unembedding", "softmax"]


def test_the_place_in_the_address_is_where_the_page_looks(open_page: OpenPage) -> None:
    app = open_page("engine", lang="en", box=BOX, sentence=SENTENCE, layer="3", token="1")
    made = found.stream(BOX, SENTENCE).value
    assert f"“{made.labels[1]}” in layer 3: it enters with length {made.norms[6, 1]:.1f}" in seen(app)
    assert app.session_state["_place"] == {"layer": 3, "token": 1}  # the next page looks there, too


@pytest.mark.parametrize(("layer", "token"), [("99", "99"), ("-1", "x"), ("<b>", "٣")])
def test_any_place_in_the_address_is_one_that_is_there(open_page: OpenPage, layer: str, token: str) -> None:
    app = open_page("engine", lang="en", box=BOX, sentence=SENTENCE, layer=layer, token=token)
    assert not app.exception
    assert not app.error


def test_a_part_opens_its_page_on_the_same_layer_and_token(open_page: OpenPage) -> None:
    app = open_page("engine", lang="en", box=BOX, sentence=SENTENCE)
    app.session_state["engine_opened"] = ["attention", 3, 1]
    app.run()
    assert not app.exception
    assert any("layer 3, head" in header.value for header in app.header)
    assert app.session_state["_place"] == {"layer": 3, "token": 1}
    app.switch_page(registry.step("engine").script).run()
    assert done(app)[1] == "done"


def test_every_part_that_opens_opens_a_page_that_is_there() -> None:
    there = {step.script for step in registry.available()}
    assert {canvas.opens(name) for name in canvas.PAGES} <= there | {None}
    assert canvas.opens("attention") == "pages/parts/attention.py"
    assert canvas.opens("norm_1") is None


@pytest.mark.parametrize("box_id", [BOX, "minilm-l6"])
def test_what_each_part_adds_is_checked_by_adding_up(
    open_page: OpenPage, box_id: str, standard_kit: tuple[str, ...]
) -> None:
    app = open_page("engine", lang="en", box=box_id, sentence=SENTENCE)
    made = found.adds(box_id, SENTENCE).value
    last = made.found.wholes.shape[0] - 1
    sums = found.group_sums(made, last)
    assert sum(sums.values()) == pytest.approx(made.found.wholes[last, 0], abs=1e-3)
    most = max(sums, key=lambda name: sums[name])
    app.radio(key="guess_engine_adds").set_value(most).run()
    app.button(key="run_engine_adds").click().run()
    assert not app.exception
    assert words("en")(f"engine.group.{most}") in app.success[-1].value


def test_where_the_answer_comes_to_stay_is_read_off_the_lens(open_page: OpenPage) -> None:
    app = open_page("engine", lang="en", box=BOX, sentence=SENTENCE)
    lens = found.lens(BOX, SENTENCE).value
    row = lens.first_layer(-1)
    third = ("early", "middle", "late")[min(max(row - 1, 0) // 2, 2)]  # six layers
    app.radio(key="guess_engine_stays").set_value(third).run()
    app.button(key="run_engine_stays").click().run()
    assert not app.exception
    assert app.success


def test_targets_hold_what_the_text_goes_on_with() -> None:
    made = found.adds(BOX, SENTENCE).value
    labels = found.stream(BOX, SENTENCE).value.labels
    assert [row[-1] for row in made.targets[:-1]] == list(labels[1:])
    answers = [token for token, _ in found.stream(BOX, SENTENCE).value.answers]
    assert [row[0] for row in made.targets] == answers


def test_a_single_token_is_enough(open_page: OpenPage) -> None:
    app = open_page("engine", lang="en", box=BOX, sentence="a")
    assert not app.exception
    assert not app.error


def test_a_text_that_is_too_long_is_a_message(open_page: OpenPage) -> None:
    app = open_page("engine", lang="zh-TW", box=BOX, sentence="good " * 120)
    assert not app.exception
    assert f"最多放 {found.MAX_TOKENS} 個" in app.error[0].value


@pytest.mark.parametrize(
    ("flops", "size", "expected"),
    [(0, 0, ("0", "0")), (999, 1023, ("999 FLOP", "1023 B")), (2_100_000, 1 << 20, ("2.1 MFLOP", "1 MiB"))],
)
def test_units_fit(flops: int, size: int, expected: tuple[str, str]) -> None:
    shown = (canvas.work(flops), canvas.memory(size))
    assert tuple(text.replace("\u00a0", " ") for text in shown) == expected
