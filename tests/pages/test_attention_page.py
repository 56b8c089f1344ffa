"""Step 1-4 on the bundled box and the standard kit; what it shows is computed again by transformers' own models."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from components import attention_changes as changes
from components import attention_engine as found
from components import bertviz_views as bertviz
from components import embeddings_engine
from lessons import words
from llmkit import shelf
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import sent, settle

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and this book is long."
HOSTILE = '</script><img src=x onerror=alert(1)> <!--<script> & "quoted" \u2028 \u2029 鬱😀'


def reference(box_id: str) -> Any:
    """The Hugging Face model of a box, showing its attention."""
    loader = AutoModel if box_id == "minilm-l6" else AutoModelForCausalLM
    folder = shelf.locate(box_id)
    return loader.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, local_files_only=True
    ).eval()


def ids_of(box_id: str, text: str) -> torch.Tensor:
    return torch.tensor([embeddings_engine.encode(box_id, text).ids])


@pytest.mark.parametrize("box_id", [BOX, "minilm-l6", "smollm2-135m-instruct"])
def test_weights_are_the_references(box_id: str, standard_kit: tuple[str, ...]) -> None:
    heads = found.heads(box_id, SENTENCE).value
    with torch.no_grad():
        expected = reference(box_id)(ids_of(box_id, SENTENCE), output_attentions=True).attentions
    np.testing.assert_allclose(heads.weights, torch.cat(expected).numpy(), atol=1e-4)
    T = len(heads.labels)
    packed = np.frombuffer(base64.b64decode(heads.packed), dtype=np.uint8)
    rows, columns = np.tril_indices(T) if heads.causal else np.indices((T, T)).reshape(2, -1)
    unpacked = packed.reshape(heads.n_layers, heads.n_heads, -1) / 255
    np.testing.assert_allclose(unpacked, heads.weights[..., rows, columns], atol=0.5 / 255 + 1e-6)


def test_a_head_is_made_of_what_its_steps_show() -> None:
    one = found.one_head(BOX, SENTENCE, 2, 3).value
    scores = one.q @ one.k.T / np.sqrt(one.q.shape[1])
    T = len(scores)
    lower = np.tril(np.ones((T, T), dtype=bool))
    np.testing.assert_allclose(one.scores[lower], scores[lower], atol=1e-4)
    shares = np.where(lower, np.exp(scores - scores.max(1, keepdims=True)), 0)
    np.testing.assert_allclose(one.weights, shares / shares.sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(one.answer, one.weights @ one.v, atol=1e-5)


def test_grouped_heads_share_their_keys(standard_kit: tuple[str, ...]) -> None:
    box_id = "smollm2-135m-instruct"
    heads = found.heads(box_id, SENTENCE).value
    assert (heads.n_heads, heads.n_kv_heads) == (9, 3)
    made = [found.one_head(box_id, SENTENCE, 1, head).value for head in (3, 5, 6)]
    assert [one.kv_head for one in made] == [1, 1, 2]
    np.testing.assert_array_equal(made[0].k, made[1].k)
    assert np.abs(made[1].k - made[2].k).max() > 0.1


def test_a_long_sentence_is_pooled_by_its_greatest_weights() -> None:
    heads = found.heads(BOX, "very " * 40 + "good").value
    T = len(heads.labels)
    assert T > found.SIDE >= heads.side
    thumbs = np.frombuffer(base64.b64decode(heads.thumbs), dtype=np.uint8).reshape(-1, heads.side, heads.side)
    block = -(-T // found.SIDE)
    whole = np.rint(heads.weights.reshape(-1, T, T) * 255)
    assert thumbs[7, 0, 0] == whole[7, :block, :block].max()
    assert thumbs[7, -1, 0] == whole[7, (heads.side - 1) * block :, :block].max()


def test_heads_off_are_heads_whose_output_weights_are_zero() -> None:
    pairs = ((0, 1), (3, 0), (3, 5))
    change = changes.switched_off(BOX, SENTENCE, pairs).value
    model, ids = reference(BOX), ids_of(BOX, SENTENCE)
    size = model.config.n_embd // model.config.n_head
    with torch.no_grad():
        before = model(ids, labels=ids).loss.item()
        for layer, head in pairs:
            model.transformer.h[layer].attn.c_proj.weight[head * size : (head + 1) * size] = 0
        out = model(ids, labels=ids)
    assert change.whole.loss == pytest.approx(before, abs=1e-4)
    assert change.without.loss == pytest.approx(out.loss.item(), abs=1e-4)
    assert change.harm == pytest.approx(out.loss.item() - before, abs=2e-4)
    assert change.without.probs is not None
    np.testing.assert_allclose(change.without.probs, out.logits[0, -1].double().softmax(-1).numpy(), atol=1e-5)


def test_each_alone_is_one_at_a_time() -> None:
    each = changes.each_alone(BOX, SENTENCE, 1).value
    assert each[2] == pytest.approx(changes.switched_off(BOX, SENTENCE, ((1, 2),)).value.harm, abs=1e-6)
    assert changes.switched_off(BOX, SENTENCE, ()).value.harm == 0


def test_a_box_that_predicts_nothing_turns_its_states(standard_kit: tuple[str, ...]) -> None:
    change = changes.switched_off("minilm-l6", SENTENCE, ((5, 0), (5, 1))).value
    assert not change.predicts
    assert change.without.probs is None
    assert change.harm == pytest.approx(change.turned.mean(), abs=1e-6)
    assert 0 < change.harm < 1


def views(labels: tuple[str, ...]) -> dict[str, str]:
    heads = found.heads(BOX, SENTENCE).value
    T = len(labels)
    weights = heads.weights[:, :, :T, :T]
    q, k = found.queries_and_keys(BOX, SENTENCE, 2)
    return {
        "head": bertviz.head_page(labels, weights[2], layer=2, head=1),
        "model": bertviz.model_page(labels, weights),
        "neuron": bertviz.neuron_page(labels, weights[2], q[:, :T], k[:, :T], head=1, causal=True),
    }


@pytest.mark.parametrize("view", bertviz.VIEWS)
def test_bertviz_needs_no_other_machine_and_runs_no_token(view: str) -> None:
    labels = (HOSTILE, "<b>", "c", "@token0@")
    page = views(labels)[view]
    own = page.split("window.requirejs", 1)[1]
    assert not re.search(r"<(?:script|link)[^>]+(?:src|href)=", page)
    assert "require.config" not in own
    assert "cdnjs" not in own
    assert "<img" not in own
    assert "<!--" not in own
    assert "onerror=alert(1)\\u003e" in own
    assert own.count("onerror") == 2  # left and right, once each
    assert json.loads('"' + own.split('"left_text": ["', 1)[1].split('", "', 1)[0] + '"') == HOSTILE
    assert "\u2028" not in own


def test_bertviz_gets_the_traces_numbers() -> None:
    heads = found.heads(BOX, SENTENCE).value
    labels = heads.labels
    page = views(labels)["neuron"]
    told = json.loads(re.search(r"window\.bertviz_params = (.*)", page)[1])
    q, k = found.queries_and_keys(BOX, SENTENCE, 2)
    made = told["attention"]["all"]
    np.testing.assert_allclose(made["attn"][0], heads.weights[2], atol=1e-4)
    np.testing.assert_allclose(made["queries"][0], q, atol=1e-4)
    np.testing.assert_allclose(made["keys"][0], k, atol=1e-4)
    assert made["left_text"] == list(labels)
    assert (told["bidirectional"], told["head"]) == (False, 1)
    assert (
        len(json.loads(re.search(r"params = (\{.*\});", views(labels)["model"])[1])["attention"][0]["left_text"]) <= 12
    )


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_the_page_says_what_was_measured(open_page: OpenPage, lang: str) -> None:
    app = open_page("attention", lang=lang, box=BOX, sentence=SENTENCE, head="2.3")
    assert not app.exception
    assert not app.error
    say = words(lang)
    assert say("attention.steps.title", layer=2, head=3) in [header.value for header in app.header]
    heads = found.heads(BOX, SENTENCE).value
    assert f"{heads.weights[2, 3, -1].max():.2f}" in seen(app)


@pytest.mark.parametrize("asked", ["99.99", "-1.2", "a.b", "1.2.3", "٣.٢", "<b>", ""])
def test_any_head_in_the_address_is_one_that_the_box_has(open_page: OpenPage, asked: str) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE, head=asked)
    assert not app.exception
    titles = [header.value for header in app.header if header.value.startswith("Step by step")]
    layer, head = map(int, re.findall(r"\d+", titles[0]))
    assert layer < 6
    assert head < 6


def test_a_layer_that_was_chosen_elsewhere_is_opened_here(open_page: OpenPage) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE, head="2.3", layer="4", token="1")
    assert not app.exception
    assert words("en")("attention.steps.title", layer=4, head=3) in [header.value for header in app.header]


def test_switching_off_says_what_it_costs_and_can_be_undone(open_page: OpenPage) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE, head="0.1")
    app.button(key="attention_off_this").click().run()
    assert not app.exception
    assert done(app)[2] == "done"
    change = changes.switched_off(BOX, SENTENCE, ((0, 1),)).value
    assert f"{change.whole.loss:.3f} → {change.without.loss:.3f}" in seen(app)
    app.button(key="attention_off_none").click().run()
    assert words("en")("attention.off.start") in seen(app)
    roles = found.roles(BOX, SENTENCE).value.roles
    kind = roles[0][0]
    count = sum(role == kind for row in roles for role in row)
    app.button_group(key=f"attention_off_roles_{BOX}").set_value([kind]).run()
    assert f"{count} of 36 heads off" in seen(app)


def test_every_head_alone_is_tried_on_demand(open_page: OpenPage) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE)
    app.button(key="attention_each").click().run()
    assert not app.exception
    harm = np.stack([changes.each_alone(BOX, SENTENCE, layer).value for layer in range(6)])
    assert f"{harm.max():.3f}" in seen(app)


def test_the_check_is_computed(open_page: OpenPage) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE)
    guesses = app.radio(key="guess_attention_harm")
    pairs = [tuple(int(at) for at in re.findall(r"\d+", label)[:2]) for label in guesses.options]
    harm = {pair: changes.switched_off(BOX, SENTENCE, (pair,)).value.harm for pair in pairs}
    worst = max(harm, key=lambda pair: harm[pair])
    guesses.set_value(f"{worst[0]}.{worst[1]}").run()
    app.button(key="run_attention_harm").click().run()
    assert not app.exception
    assert f"Layer {worst[0]}, head {worst[1]}" in app.success[-1].value


def test_three_families_stand_side_by_side(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE)
    say = words("en")
    assert say("attention.families.both") in seen(app)
    assert "9 query heads, 3 key/value heads" in seen(app)
    app = settle(app, attention_depth=10)
    assert not app.exception
    assert "Layer 29 of 30" in seen(app)
    data, heads = sent(app, "attention_family_llama"), found.heads("smollm2-135m-instruct", SENTENCE).value
    assert data["layerAt"] == [round(tenth / 10 * 29) for tenth in range(11)]
    thumbs = np.frombuffer(base64.b64decode(data["thumbs"]), dtype=np.uint8).reshape(30, 9, heads.side, heads.side)
    T = len(heads.labels)
    assert heads.side == T
    np.testing.assert_allclose(thumbs / 255, heads.weights, atol=0.5 / 255 + 1e-6)


def test_a_family_that_is_not_here_is_said(
    open_page: OpenPage, own_home: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE)
    assert not app.exception
    assert words("en")("attention.families.missing", family="BERT") in seen(app)


@pytest.mark.parametrize("view", bertviz.VIEWS)
def test_each_view_is_drawn_on_demand(open_page: OpenPage, view: str) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence="<script>alert(1)</script> good")
    app.button_group(key="attention_view").set_value(view).run()
    assert not app.exception
    assert not app.error


def test_a_single_token_is_enough(open_page: OpenPage) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence="a")
    assert not app.exception
    assert not app.error


def test_a_text_that_is_too_long_is_a_message(open_page: OpenPage) -> None:
    app = open_page("attention", lang="en", box=BOX, sentence="good " * 120)
    assert not app.exception
    assert f"{found.MAX_TOKENS} fit here" in app.error[0].value
