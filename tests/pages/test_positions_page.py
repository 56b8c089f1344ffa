"""Step 1-3 on the bundled box; what it shows is computed again by transformers' own modules and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from components import engine
from components import positions_engine as found
from lessons import words
from llmkit import shelf
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import floats, sent, settle

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and this book is long."


@pytest.mark.parametrize("d_model", [8, 64])
def test_waves_are_the_references(d_model: int) -> None:
    expected = torch.empty(40, d_model)
    create_sinusoidal_embeddings(40, d_model, expected)
    np.testing.assert_allclose(found.waves(40, d_model, 10_000).value.rows, expected.detach().numpy(), atol=1e-6)


def test_likeness_of_waves_depends_on_distance_alone() -> None:
    likeness = found.waves(50, 32, 1_000).value.likeness
    closed = np.cos(np.arange(50)[:, None] * 1_000.0 ** (-np.arange(0, 32, 2) / 32)).mean(1)
    for distance in (0, 1, 7, 30):
        np.testing.assert_allclose(likeness.diagonal(distance), closed[distance], atol=1e-5)


def test_the_learned_table_is_the_files() -> None:
    tensors = load_file(shelf.locate(BOX) / "model.safetensors")
    table = next(value.float() for name, value in tensors.items() if name.endswith("wpe.weight"))
    np.testing.assert_array_equal(found.learned(BOX).value.rows, table[: found.ROWS].numpy())


def test_scores_are_the_references_and_depend_on_distance_alone() -> None:
    made = found.turning(BOX, SENTENCE).value
    trace = engine.trace(BOX, SENTENCE, ("q", "k")).value
    q, k = (torch.tensor(trace[name][0][0, at]) for name, at in (("q", -1), ("k", 0)))
    head_dim = len(q)
    rotary = LlamaRotaryEmbedding(LlamaConfig(hidden_size=head_dim, num_attention_heads=1, head_dim=head_dim))
    places = torch.arange(found.PLACES)[None]
    cos, sin = rotary(q, places)
    turned = apply_rotary_pos_emb(*(x.expand(1, 1, found.PLACES, -1) for x in (q, k)), cos, sin)
    expected = turned[0][0, 0] @ turned[1][0, 0].T / head_dim**0.5
    np.testing.assert_allclose(made.scores, expected.numpy(), atol=1e-4)
    for distance in (-20, 0, 9):
        assert np.ptp(made.scores.diagonal(distance)) < 1e-3
    assert not made.own


@pytest.mark.parametrize("n_heads", [1, 6, 8, 16])
def test_slopes_are_the_references(n_heads: int) -> None:
    slopes, bias = found.slopes(16).value[n_heads - 1]
    mask = torch.ones(1, found.PLACES, dtype=torch.long)
    expected = build_alibi_tensor(mask, n_heads, torch.float32)[:, 0]  # grows with the place instead of falling
    np.testing.assert_allclose(bias, -expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(slopes, expected[:, 1].numpy(), atol=1e-7)


def test_the_browser_is_sent_what_it_turns(open_page: OpenPage) -> None:
    app = open_page("positions", lang="en", box=BOX, sentence=SENTENCE)
    data, made = sent(app, "positions_scores"), found.turning(BOX, SENTENCE).value
    trace = engine.trace(BOX, SENTENCE, ("q", "k")).value
    for name, at in (("q", -1), ("k", 0)):  # the box has learned positions: its q and k are not turned
        np.testing.assert_allclose(floats(data[name]).reshape(-1, 2).T.ravel(), trace[name][0][0, at], atol=1e-6)
    np.testing.assert_array_equal(floats(data["frequencies"]), made.frequencies)
    learned = found.learned(BOX).value.likeness
    table = sent(app, "positions_table")
    np.testing.assert_array_equal(floats(table["rows"]).reshape(-1, table["dims"]), found.learned(BOX).value.rows)
    half = floats(sent(app, "positions_learned")["cosines"])
    np.testing.assert_array_equal(half, learned[np.tril_indices(len(learned))])
    slopes = floats(sent(app, "positions_slopes")["slopes"])
    np.testing.assert_array_equal(slopes[28:36], found.slopes(16).value[7][0])  # after 1 + 2 + … + 7 heads


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_the_page_says_what_was_measured(open_page: OpenPage, lang: str) -> None:
    app = open_page("positions", lang=lang, box=BOX, sentence=SENTENCE)
    assert not app.exception
    assert not app.error
    for harm in found.experiment(BOX, SENTENCE, 0).value.harm.values():
        assert f"{harm:.3f}" in seen(app)


def test_sliders_tick_their_steps(open_page: OpenPage) -> None:
    app = open_page("positions", lang="en", box=BOX, sentence=SENTENCE)
    assert done(app) == ["open"] * 3
    app = settle(app, positions_length=128, positions_turn=5)
    assert done(app) == ["done", "done", "open"]
    app = app.button(key="positions_again").click().run()
    assert not app.exception
    assert done(app) == ["done"] * 3
    assert f"{found.experiment(BOX, SENTENCE, 1).value.harm['shuffled']:.3f}" in seen(app)


@pytest.mark.parametrize("guess", ["shuffled", "away"])
def test_the_check_is_computed(open_page: OpenPage, guess: str) -> None:
    app = open_page("positions", lang="en", box=BOX, sentence=SENTENCE)
    app.radio(key="guess_positions_harm").set_value(guess).run()
    app = app.button(key="run_positions_harm").click().run()
    harm = dict(found.experiment(BOX, SENTENCE, 0).value.harm)
    worst = max(("shuffled", "away"), key=lambda way: harm[way])
    assert f"{harm[worst]:.3f}" in (app.success if guess == worst else app.info)[-1].value


def test_too_few_words_are_a_message(open_page: OpenPage) -> None:
    app = open_page("positions", lang="en", box=BOX, sentence="Hello")
    assert not app.exception
    assert [error.value for error in app.error] == [words("en")("positions.shuffle.few", n=1, needed=3)]
