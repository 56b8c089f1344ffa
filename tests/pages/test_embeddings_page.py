"""Step 1-2 on the bundled box; what it shows is computed again from the file's weights and by the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer as Reference
from torch import Tensor
from transformers import AutoModel

from components import embeddings_engine as found
from lessons import words
from llmkit import shelf
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import floats, sent, settle

BOX = "gpt2-starter"
SENTENCE = "The movie was good, the movie 😀 這本書"


def reference() -> Reference:
    return Reference.from_file(str(shelf.locate(BOX) / "tokenizer.json"))


def weights() -> Tensor:
    tensors = load_file(shelf.locate(BOX) / "model.safetensors")
    return next(value.float() for name, value in tensors.items() if name.endswith("wte.weight"))


def test_the_table_is_the_files() -> None:
    np.testing.assert_array_equal(found.table(BOX).value, weights().numpy())


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_an_id_picks_its_row(open_page: OpenPage, lang: str) -> None:
    app = open_page("embeddings", lang=lang, box=BOX, sentence=SENTENCE)
    assert not app.exception
    assert not app.error
    data, ids = sent(app, "embeddings_row"), reference().encode(SENTENCE).ids
    (slider,) = data["sliders"]
    assert [int(name.rsplit(" ", 1)[1]) for name in slider["places"]] == ids
    rows = floats(data["rows"]).reshape(-1, data["dims"])
    for at, token_id in enumerate(ids):
        around = data["shown"][at]
        np.testing.assert_array_equal(rows[around[data["rowOf"][at]]], weights()[token_id].numpy())
        assert [data["names"][one].split(" ")[0] for one in around] == [
            str(token_id + apart) for apart in range(-2, 3) if token_id + apart >= 0
        ]
    assert done(app)[0] == "open"
    app = settle(app, embeddings_token=2)
    row = weights()[ids[2]]
    assert done(app)[0] == "done"
    for number in (row.min(), row.max(), row.norm()):
        assert f"{float(number):.3f}" in seen(app)


def test_neighbours_are_torchs(open_page: OpenPage) -> None:
    table, ids = weights(), reference().encode(SENTENCE).ids
    data = sent(open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE), "embeddings_near_bars")
    drawn = floats(data["cosines"]).reshape(len(ids), data["most"])
    made = found.neighbours(BOX, tuple(ids)).value
    for at, token_id in enumerate(ids):
        cosines = torch.nn.functional.cosine_similarity(table, table[token_id][None], dim=1)
        cosines[token_id] = -2
        top = cosines.topk(found.MAX_NEIGHBOURS)
        np.testing.assert_allclose(drawn[at], top.values.numpy(), atol=1e-5)
        assert made[at].ids[0] == int(top.indices[0])
        assert [data["names"][one] for one in data["ids"][at]] == [found.label(BOX, one) for one in made[at].ids]


def test_likeness_follows_the_references_layers() -> None:
    """The last layer's output is left out: the reference gives it after the final norm only."""
    model = AutoModel.from_pretrained(shelf.locate(BOX), dtype=torch.float32).eval()
    ids = torch.tensor([reference().encode(SENTENCE).ids])
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states
    made = found.likeness(BOX, SENTENCE).value
    assert len(made) == len(hidden) + 1
    for ours, theirs in zip(made[1:-1], hidden[:-1], strict=True):
        expected = torch.nn.functional.cosine_similarity(theirs[0][:, None], theirs[0][None], dim=-1)
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)


def test_the_browser_is_sent_half_of_every_stage(open_page: OpenPage) -> None:
    app = settle(open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE), embeddings_stage=2)
    data, made = sent(app, "embeddings_like"), found.likeness(BOX, SENTENCE).value
    halves = floats(data["cosines"]).reshape(len(made), -1)
    for half, whole in zip(halves, made, strict=True):
        np.testing.assert_array_equal(half, whole[np.tril_indices(data["T"])])
    apart = ~np.eye(data["T"], dtype=bool)
    assert f"After layer 0: cosine between each two of {data['T']} tokens, {made[2][apart].mean():.3f}" in seen(app)


def test_one_word_is_the_same_row_and_ends_elsewhere() -> None:
    uses = found.two_uses(BOX, "movie", "I liked the movie.", "The movie was bad and long.").value
    assert uses.word[0] == pytest.approx(1, abs=1e-5)
    assert min(uses.word) < 0.999
    assert len(uses.word) == len(uses.others)


def test_a_word_that_is_not_there_is_a_message(open_page: OpenPage) -> None:
    app = open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE)
    app = app.text_input(key="embeddings_use_word_en").set_value("<b>zebra</b>").run()
    assert not app.exception
    assert len(app.error) == 1
    assert "zebra" in app.error[0].value


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_every_layout_is_drawn(open_page: OpenPage, method: str) -> None:
    app = open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE)
    app.radio(key="embeddings_method").set_value(method)
    app = app.radio(key="embeddings_dims").set_value(3).run()
    assert not app.exception
    cloud = found.cloud(BOX, SENTENCE, method, 3).value
    assert cloud.n_own == len(set(reference().encode(SENTENCE).ids))
    assert words("en")("embeddings.cloud.alt", own=cloud.n_own, near=len(cloud.ids) - cloud.n_own, dims=3) in seen(app)


def test_sliders_and_words_tick_their_steps(open_page: OpenPage) -> None:
    app = open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE)
    assert done(app) == ["open"] * 3
    app = settle(app, embeddings_near=20)
    app = app.text_input(key="embeddings_a_en").set_value("she").run()
    assert done(app) == ["open", "done", "done"]


def test_a_word_of_several_tokens_is_said_and_has_no_rank(open_page: OpenPage) -> None:
    app = open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE)
    app.text_input(key="embeddings_a_en").set_value("鬱鬱")
    app = app.text_input(key="embeddings_d_en").set_value("xylophone</script>").run()
    assert not app.exception
    assert words("en")("embeddings.sum.no_rank", word="xylophone</script>") in seen(app)
    assert "“鬱鬱” is cut into" in seen(app)


def test_the_rank_is_counted_again(open_page: OpenPage) -> None:
    vocabulary = reference().get_vocab()
    asked = [piece[1:] for piece in sorted(vocabulary) if piece.startswith("Ġ") and piece[1:].isalpha()][:4]
    ids = [vocabulary["Ġ" + word] for word in asked]
    app = open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE)
    for name, word in zip("abcd", asked, strict=True):
        app.text_input(key=f"embeddings_{name}_en").set_value(word)
    app.run()
    unit = torch.nn.functional.normalize(weights(), dim=1)
    target = unit[ids[0]] - unit[ids[1]] + unit[ids[2]]
    cosines = torch.nn.functional.cosine_similarity(unit, target[None], dim=1)
    above = cosines > cosines[ids[3]]
    others = 1 + int(above.sum()) - int(above[ids[:3]].sum())
    assert f"ranks {1 + int(above.sum())} of {len(unit)} rows; {others} without" in seen(app)


@pytest.mark.parametrize("guess", ["table", "early", "middle", "late"])
def test_the_check_is_computed(open_page: OpenPage, guess: str) -> None:
    say = words("en")
    app = open_page("embeddings", lang="en", box=BOX, sentence=SENTENCE)
    app.radio(key="guess_embeddings_uses").set_value(guess).run()
    app.button(key="run_embeddings_uses").click().run()
    assert not app.exception
    path = found.two_uses(BOX, *(say(f"embeddings.uses.{name}.text") for name in ("word", "first", "second"))).value
    stage = int(np.argmin(path.word))
    bounds = np.linspace(0, len(path.word) - 1, 4)[1:]
    answer = "table" if stage == 0 else ("early", "middle", "late")[int(np.searchsorted(bounds, stage - 1, "right"))]
    verdict = (app.success if guess == answer else app.info)[-1].value
    assert f"cosine {min(path.word):.3f}" in verdict


def test_a_long_sentence_keeps_what_it_can(open_page: OpenPage) -> None:
    app = open_page("embeddings", lang="zh-TW", box=BOX, sentence="鬱" * 500)
    assert not app.exception
    assert len(app.error) == 1
    assert seen(app).count(words("zh-TW")("embeddings.cloud.cut", n=found.MAX_TOKENS)) == 2
    assert len(sent(app, "embeddings_row")["sliders"][0]["places"]) == found.MAX_TOKENS


def test_a_row_without_a_token_has_a_name() -> None:
    assert found.label(BOX, 10**9) == f"– {10**9}"
