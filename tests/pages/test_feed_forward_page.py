"""Step 1-5 on the bundled box and the standard kit; what it shows is computed again by transformers' own models."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM
from transformers.activations import ACT2FN

from components import embeddings_engine, engine
from components import feed_forward_changes as changes
from components import feed_forward_engine as found
from components import feed_forward_firing as firing
from components import feed_forward_more as more
from lessons import words
from llmkit import jobs, shelf
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
KIT = (BOX, "minilm-l6", "smollm2-135m-instruct")
SENTENCE = "The movie was good, and this book is long."
HOSTILE = '<img src=x onerror=alert(1)> & "quoted" good'


@pytest.fixture(autouse=True)
def own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jobs of the test's own."""
    monkeypatch.setenv("LLMKIT_JOBS", str(tmp_path / "jobs"))
    yield
    jobs.stop()


def reference(box_id: str) -> Any:
    loader = AutoModel if box_id == "minilm-l6" else AutoModelForCausalLM
    return loader.from_pretrained(shelf.locate(box_id), dtype=torch.float32, local_files_only=True).eval()


def feed_forwards(model: Any) -> list[SimpleNamespace]:
    """Each layer's module before the activation, where the activation enters `down`, and down's weights [d_mlp, D]."""
    if hasattr(model, "transformer"):
        return [
            SimpleNamespace(pre=b.mlp.c_fc, into=b.mlp.c_proj, down=b.mlp.c_proj.weight) for b in model.transformer.h
        ]
    if hasattr(model, "encoder"):
        layers = model.encoder.layer
        return [
            SimpleNamespace(pre=b.intermediate.dense, into=b.output.dense, down=b.output.dense.weight.T) for b in layers
        ]
    layers = model.model.layers
    return [
        SimpleNamespace(pre=b.mlp.gate_proj, up=b.mlp.up_proj, into=b.mlp.down_proj, down=b.mlp.down_proj.weight.T)
        for b in layers
    ]


def unpacked(machine: found.Machine, name: str) -> np.ndarray:
    kind = {"neurons": np.int32, "open": np.int32, "bars": np.uint16}.get(name, np.float32)
    shape = (machine.n_layers, -1) if name in ("norms", "reach", "curve", "ends", "neurons", "open") else None
    K, T = machine.neurons.shape[1], len(machine.labels)
    shape = shape or {
        "spread": (machine.n_layers, T, 2),
        "bars": (machine.n_layers, T, found.BINS),
    }.get(name, (machine.n_layers, K, T))
    return np.frombuffer(base64.b64decode(machine.packed[name]), dtype=kind).reshape(shape)


@pytest.mark.registry
@pytest.mark.parametrize("box_id", KIT)
def test_what_the_machine_draws_is_the_references(box_id: str, standard_kit: tuple[str, ...]) -> None:
    machine = found.machine(box_id, SENTENCE).value
    model = reference(box_id)
    kept: dict[tuple[str, int], np.ndarray] = {}
    for layer, part in enumerate(feed_forwards(model)):
        for name in ("pre", "up"):
            if hasattr(part, name):
                getattr(part, name).register_forward_hook(
                    lambda _, __, out, at=(name, layer): kept.update({at: out[0].detach().numpy()})
                )
        part.into.register_forward_pre_hook(
            lambda _, args, at=("act", layer): kept.update({at: args[0][0].detach().numpy()})
        )
    with torch.no_grad():
        model(torch.tensor([embeddings_engine.encode(box_id, SENTENCE).ids]))
    for layer, part in enumerate(feed_forwards(model)):
        chosen = machine.neurons[layer]
        for name in ("pre", "up", "act"):
            if (name, layer) in kept:
                ours = unpacked(machine, name)[layer]
                np.testing.assert_allclose(ours, kept[name, layer][:, chosen].T, atol=2e-3, rtol=1e-3)
        norms = part.down.detach().numpy()[chosen]
        np.testing.assert_allclose(unpacked(machine, "norms")[layer], np.linalg.norm(norms, axis=1), rtol=1e-4)
        pre = kept["pre", layer]
        assert np.abs(unpacked(machine, "open")[layer] - (pre > 0).sum(1)).max() <= 1
        assert (unpacked(machine, "bars")[layer].sum(1) == machine.d_mlp).all()
        strength = np.abs(kept["act", layer]) * np.linalg.norm(part.down.detach().numpy(), axis=1)
        assert set(strength.argmax(1)) <= set(chosen.tolist())  # each token's strongest has a column
    assert machine.gated == (box_id == "smollm2-135m-instruct")


@pytest.mark.registry
@pytest.mark.parametrize("box_id", KIT)
def test_the_strongest_write_what_the_references_weights_say(box_id: str, standard_kit: tuple[str, ...]) -> None:
    layer, token = 1, 3
    strongest = found.strongest(box_id, SENTENCE, layer, token).value
    model = reference(box_id)
    table = model.get_output_embeddings() or model.get_input_embeddings()
    rows = feed_forwards(model)[layer].down.detach().numpy()[strongest.neurons]
    table = table.weight.detach().numpy()
    if box_id == "minilm-l6":
        assert strongest.through == "embedding"
        table = table / np.linalg.norm(table, axis=1, keepdims=True)
    else:
        assert strongest.through == "unembedding"
    for at, product in enumerate(rows @ table.T):
        first, last = (embeddings_engine.label(box_id, int(one)) for one in (product.argmax(), product.argmin()))
        expected = (last, first) if strongest.act[at] < 0 else (first, last)
        assert (strongest.pushes[at][0], strongest.pulls[at][0]) == expected
    assert (np.diff(strongest.adds) <= 0).all()


def test_an_asked_neuron_gets_a_column_of_its_own() -> None:
    usual = found.machine(BOX, SENTENCE).value
    absent = next(one for one in range(usual.d_mlp) if one not in usual.neurons[2])
    asked = found.machine(BOX, SENTENCE, (2, absent)).value
    assert absent in asked.neurons[2]
    np.testing.assert_array_equal(np.delete(asked.neurons, 2, axis=0), np.delete(usual.neurons, 2, axis=0))
    assert asked.id != usual.id


def test_neurons_off_are_zero_columns_of_the_reference() -> None:
    neurons, layers = ((1, 5), (1, 70), (4, 0)), (3,)
    change = changes.switched_off(BOX, SENTENCE, neurons, layers).value
    model, ids = reference(BOX), torch.tensor([embeddings_engine.encode(BOX, SENTENCE).ids])
    with torch.no_grad():
        before = model(ids, labels=ids).loss.item()
        for layer, neuron in neurons:
            feed_forwards(model)[layer].down[neuron] = 0
        for layer in layers:
            feed_forwards(model)[layer].down[:] = 0
            model.transformer.h[layer].mlp.c_proj.bias[:] = 0
        out = model(ids, labels=ids)
    assert change.harm == pytest.approx(out.loss.item() - before, abs=2e-4)
    assert change.without.probs is not None
    np.testing.assert_allclose(change.without.probs, out.logits[0, -1].double().softmax(-1).numpy(), atol=1e-5)


@pytest.mark.registry
@pytest.mark.parametrize("box_id", KIT)
def test_shares_are_counted_on_the_references_own_tensors(box_id: str, standard_kit: tuple[str, ...]) -> None:
    table = more.share_frame(found.counts(box_id, 12).value).set_index("part")
    model = reference(box_id)
    everything = sum(p.numel() for name, p in model.named_parameters() if "pooler" not in name)
    assert table["parameters"].sum() == everything
    inside = ("mlp.", "intermediate.", "output.dense") if box_id == "minilm-l6" else ("mlp.",)
    own = sum(
        p.numel()
        for name, p in model.named_parameters()
        if any(key in name for key in inside) and "attention" not in name
    )
    assert table.loc["feed_forward", "parameters"] == own
    assert table["parameter_percent"].sum() == pytest.approx(100)


@pytest.mark.registry
@pytest.mark.parametrize("lang", ["zh-TW", "en"])
@pytest.mark.parametrize("box_id", KIT)
def test_the_page_says_what_was_measured(
    open_page: OpenPage, box_id: str, lang: str, standard_kit: tuple[str, ...]
) -> None:
    app = open_page("feed_forward", lang=lang, box=box_id, sentence=SENTENCE, layer="2", token="3", neuron="7")
    assert not app.exception
    assert not app.error
    say, told = words(lang), seen(app)
    assert say("feed_forward.firing.title", layer=2, neuron=7) in [header.value for header in app.header]
    strongest = found.strongest(box_id, SENTENCE, 2, 3).value
    assert f"#{strongest.neurons[0]}" in told
    assert strongest.pushes[0][0] in told
    blind = box_id == "minilm-l6"
    assert (say("feed_forward.pushes.embedding") in told) == blind


@pytest.mark.parametrize(
    ("layer", "token", "neuron"), [("99", "99", "99999"), ("-1", "a", "<b>"), ("٣", "", "1.5"), ("0", "0", "700")]
)
def test_any_place_in_the_address_is_one_that_the_box_has(
    open_page: OpenPage, layer: str, token: str, neuron: str
) -> None:
    app = open_page("feed_forward", lang="en", box=BOX, sentence=SENTENCE, layer=layer, token=token, neuron=neuron)
    assert not app.exception
    assert not app.error


def test_switching_off_says_what_it_costs_and_can_be_undone(open_page: OpenPage) -> None:
    app = open_page("feed_forward", lang="en", box=BOX, sentence=SENTENCE, layer="5", neuron="3")
    app.button(key="feed_forward_off_this").click().run()
    app.button(key="feed_forward_off_layer").click().run()
    app.slider(key=f"feed_forward_loudest_{BOX}").set_value(20).run()
    assert not app.exception
    assert done(app)[2] == "done"
    loudest = (-found.loudness(BOX, SENTENCE, 5)).argsort()[:20]
    neurons = ((5, 3), *((5, int(one)) for one in loudest))
    change = changes.switched_off(BOX, SENTENCE, neurons, (5,)).value
    assert f"{change.whole.loss:.4f} → {change.without.loss:.4f}" in seen(app)
    app.button(key="feed_forward_off_none").click().run()
    assert words("en")("feed_forward.off.start") in seen(app)


@pytest.mark.registry
def test_a_box_that_predicts_nothing_turns_its_states(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app = open_page("feed_forward", lang="en", box="minilm-l6", sentence=SENTENCE)
    app.button(key="feed_forward_off_layer").click().run()
    assert not app.exception
    change = changes.switched_off("minilm-l6", SENTENCE, (), (5,)).value
    assert f"turn by {change.harm:.4f}" in seen(app)


def test_the_check_is_computed(open_page: OpenPage) -> None:
    app = open_page("feed_forward", lang="en", box=BOX, sentence=SENTENCE, layer="4")
    guesses = app.radio(key="guess_feed_forward_harm")
    neurons = [int(label[1:].split()[0]) for label in guesses.options]
    harm = {one: changes.switched_off(BOX, SENTENCE, ((4, one),)).value.harm for one in neurons}
    worst = max(harm, key=lambda one: harm[one])
    guesses.set_value(str(worst)).run()
    app.button(key="run_feed_forward_harm").click().run()
    assert not app.exception
    assert f"#{worst}" in app.success[-1].value


@pytest.fixture
def few_reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three texts a set, one of them markup; found on the shelf without being there."""
    rows = tuple(shelf.Row(text, 1.0, "made") for text in ("a good book", HOSTILE, "很好看，我喜歡"))
    monkeypatch.setattr(shelf, "open_data", lambda box_id: shelf.DataBox(box_id=box_id, rows=rows))
    monkeypatch.setattr(firing, "sources_here", lambda: ("reviews-en",))
    monkeypatch.setattr(shelf, "fingerprint", lambda box_id, known=shelf.fingerprint: _known(box_id, known))


def _known(box_id: str, known: Any) -> str:
    return "made" if box_id.startswith("reviews") else known(box_id)


def test_what_fires_a_neuron_is_shown_inside_its_text(
    open_page: OpenPage, few_reviews: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmkit.trace.firing import read_firing, run

    asked = firing.settings(BOX, ("reviews-en",))
    report = jobs.DirectReport(tmp_path)
    result = run(asked, report)
    job = SimpleNamespace(id="made")
    monkeypatch.setattr(jobs, "find", lambda kind, settings: job if settings == asked else None)
    monkeypatch.setattr(jobs, "folder", lambda job_id: tmp_path)
    made = engine.Made(value=result, badge=engine.Badge.cached())
    monkeypatch.setattr(firing, "draw_job", lambda *_, **__: made)
    app = open_page("feed_forward", lang="en", box=BOX, sentence=SENTENCE, layer="3", token="0", neuron="11")
    assert not app.exception
    firings, rows = read_firing(tmp_path)
    best = int(firings.rows[3, 11, 0])
    encoding = embeddings_engine.encode(BOX, rows[best].text)
    start, end = encoding.offsets[int(firings.places[3, 11, 0])]
    told = seen(app)
    assert f"<mark>{encoding.text[start:end]}</mark>" in told
    bodies = "".join(element.proto.body for element in app.get("html"))
    assert "<img src=x" not in bodies
    assert "&lt;img" in bodies
    assert bodies.count("<mark>") == 3


def test_the_firing_job_can_be_asked_for(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, few_reviews: None
) -> None:
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(jobs, "submit", lambda kind, settings: asked.append((kind, settings)))
    app = open_page("feed_forward", lang="en", box=BOX, sentence=SENTENCE)
    assert words("en")("feed_forward.firing.note", n=300, top=8, tokens=64) in seen(app)
    app.button(key="feed_forward_firing_start").click().run()
    assert [kind for kind, _ in asked] == ["firing"]
    assert asked[0][1] == firing.settings(BOX, ("reviews-en",))


def test_without_reviews_the_page_says_how_to_get_them(open_page: OpenPage, own_home: object) -> None:
    app = open_page("feed_forward", lang="en", box=BOX, sentence=SENTENCE)
    assert not app.exception
    assert words("en")("feed_forward.firing.missing", missing="reviews-en, reviews-zh-tw") in seen(app)


@pytest.mark.parametrize("sentence", ["a", "鬱", "😀", HOSTILE])
def test_short_strange_and_marked_up_sentences_are_drawn(open_page: OpenPage, sentence: str) -> None:
    app = open_page("feed_forward", lang="en", box=BOX, sentence=sentence)
    assert not app.exception
    assert not app.error
    assert "<img src=x" not in "".join(element.proto.body for element in app.get("html"))


def test_a_text_that_is_too_long_is_a_message(open_page: OpenPage) -> None:
    app = open_page("feed_forward", lang="en", box=BOX, sentence="good " * 120)
    assert not app.exception
    assert f"{found.MAX_TOKENS} fit here" in app.error[0].value


def test_the_share_of_the_work_is_followed_to_the_longest_text() -> None:
    table = found.work_by_length(BOX).value
    assert (table["tokens"].min(), table["tokens"].max()) == (1, 256)
    np.testing.assert_allclose(table.drop(columns="tokens").sum(axis=1), 100)
    here = table[table["tokens"] == 256].iloc[0]
    counted = more.share_frame(found.counts(BOX, 256).value).set_index("part")
    assert here["attention"] == pytest.approx(counted.loc["attention", "flop_percent"])


def test_the_three_bends_are_the_references() -> None:
    table = found.curves().value
    x = torch.tensor(table["x"].to_numpy())
    for kind, name in (("gelu", "gelu"), ("gelu_tanh", "gelu_new"), ("swiglu", "silu")):
        np.testing.assert_allclose(table[kind], ACT2FN[name](x).numpy(), atol=1e-6)
