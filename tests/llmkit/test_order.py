"""Words shuffled and positions taken away, against the reference model with the same done to it."""

from pathlib import Path

import pytest
import torch

from llmkit.reference import load_reference, open_box, open_folder
from llmkit.trace.order import OrderError, change, read_in_order, shuffle_words, without_positions, word_spans
from tests.llmkit.random_box import CONFIGS, random_box

IDS = (5, 9, 77, 200, 31, 8)
ORDER = (3, 0, 1, 4, 2, 5)


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_box(tmp_path_factory.mktemp(request.param), request.param, seed=5)


@pytest.mark.parametrize("positions", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("order", [tuple(range(6)), ORDER], ids=["as it is", "shuffled"])
def test_agrees_with_the_reference(folder: Path, order: tuple[int, ...], positions: bool) -> None:
    box = open_folder(folder, dtype=torch.float64)
    reading = read_in_order(box, IDS, order, positions=positions)
    model = load_reference(box, torch.float64)
    ids = torch.tensor([[IDS[at] for at in order]])
    places = torch.arange(6)[None]
    with torch.no_grad():
        if not positions and hasattr(model, "transformer"):
            model.transformer.wpe.weight.zero_()
        elif not positions and hasattr(model, "bert"):
            model.bert.embeddings.position_embeddings.weight.zero_()
        elif not positions:
            places = torch.zeros_like(places)  # an angle of 0 turns nothing
        out = model(ids, position_ids=places, output_hidden_states=True, labels=ids)
    states = torch.empty_like(out.hidden_states[-1][0])
    states[list(order)] = out.hidden_states[-1][0]
    torch.testing.assert_close(torch.from_numpy(reading.states), states, atol=1e-9, rtol=0)
    if box.family == "bert":
        assert reading.loss is None
        assert reading.probs is None
    else:
        assert reading.loss == pytest.approx(float(out.loss), abs=1e-6)  # llama's loss is float32
        torch.testing.assert_close(torch.from_numpy(reading.probs), out.logits[0, -1].softmax(-1), atol=1e-9, rtol=0)


def test_without_positions_only_a_causal_mask_sees_order(folder: Path) -> None:
    box = open_folder(folder, dtype=torch.float64)
    plain, mixed = (read_in_order(box, IDS, order, positions=False) for order in (range(6), ORDER))
    if box.config.causal:
        assert change(plain, mixed).max() > 1e-4
    else:
        assert change(plain, mixed).max() < 1e-12
    assert change(plain, plain).max() == pytest.approx(0, abs=1e-12)


def test_the_box_is_not_changed(folder: Path) -> None:
    box = open_folder(folder)
    before = {name: value.clone() for name, value in box.model.state_dict().items()}
    positions = box.model.positions
    assert without_positions(box.model).layers[0] is box.model.layers[0]
    assert box.model.positions is positions
    assert all(torch.equal(value, before[name]) for name, value in box.model.state_dict().items())


@pytest.mark.parametrize("text", ["The movie was really good.", "這本書鬱鬱的，很好看", "a 👩‍👩‍👧 b 鬱 c"])
def test_words_change_places_and_characters_stay_whole(text: str) -> None:
    encoding = open_box("gpt2-starter").tokenizer.encode(text)
    spans = word_spans(encoding)
    assert all(any(a <= start and end <= b for a, b in spans) for start, end in encoding.groups)
    for seed in range(5):
        order = shuffle_words(encoding, seed=seed)
        assert sorted(order) == list(range(len(encoding)))
        assert order != tuple(range(len(encoding)))
        assert order == shuffle_words(encoding, seed=seed)
        start, end = spans[-1]
        assert order[start:end] == tuple(range(start, end))
        data = b"".join(encoding.token_bytes[at] for at in order)
        assert sorted(data.decode()) == sorted(text)


def test_too_few_words_are_refused() -> None:
    encoding = open_box("gpt2-starter").tokenizer.encode("Two words")
    with pytest.raises(OrderError) as caught:
        shuffle_words(encoding, seed=0)
    assert caught.value.words == 2
