"""What heads do: on attention whose role is known because it was drawn so, and on the reference's attention."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from llmkit.reference import Assembled, open_folder
from llmkit.tokens import Encoding
from llmkit.trace import Trace
from llmkit.trace.heads import ROLES, head_roles, induction_scores, measure_heads

T = 8
IDS = (10, 11, 12, 13, 10, 14, 15, 11)
PLAIN = (False,) * T


def normalised(table: NDArray[np.float32], *, causal: bool) -> NDArray[np.float32]:
    table = np.tril(table) if causal else table
    table[table.sum(1) == 0, 0] = 1
    return (table / table.sum(1, keepdims=True)).astype(np.float32)


def drawn(role: str, *, causal: bool) -> NDArray[np.float32]:
    """One head's attention [T, T] that does exactly what the role says."""
    apart = np.arange(T)[:, None] - np.arange(T)
    equal = np.asarray(IDS)[:, None] == np.asarray(IDS)
    tables = {
        "previous": apart == 1,
        "first": np.arange(T)[None] * np.ones((T, 1)) == 0,
        "same": equal,
        "local": np.abs(apart) <= 2,
        "broad": np.ones((T, T)),
    }
    return normalised(tables[role].astype(np.float32), causal=causal)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
@pytest.mark.parametrize("role", ["previous", "first", "same", "broad"])
def test_a_pure_pattern_scores_one(role: str, causal: bool) -> None:
    scores = measure_heads(drawn(role, causal=causal)[None, None], IDS, PLAIN, causal=causal)
    assert scores[role][0, 0] == pytest.approx(1, abs=1e-6)  # type: ignore[index]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
def test_an_even_spread_is_no_lift(causal: bool) -> None:
    scores = measure_heads(drawn("broad", causal=causal)[None, None], IDS, PLAIN, causal=causal)
    for name in ("previous", "first", "same", "local"):
        assert scores[name][0, 0] == pytest.approx(0, abs=1e-6)  # type: ignore[index]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
def test_each_drawn_head_gets_its_role(causal: bool) -> None:
    names = ["previous", "first", "same", "local", "broad"]
    weights = np.stack([drawn(name, causal=causal) for name in names])
    induction = np.zeros((1, len(names)), dtype=np.float32)
    assert head_roles(as_trace(weights, causal=causal), induction).roles == (tuple(names),)


def test_induction_wins_over_resting() -> None:
    weights = drawn("first", causal=True)[None]
    roles = head_roles(as_trace(weights, causal=True), np.full((1, 1), 0.5, dtype=np.float32)).roles
    assert roles == (("induction",),)


def test_a_separator_is_a_resting_place() -> None:
    """BERT's heads rest on [SEP] as well as on [CLS] (Clark et al. 2019, section 3.2)."""
    to_the_end = np.zeros((T, T), dtype=np.float32)
    to_the_end[:, -1] = 1
    special = (True, *PLAIN[2:], True)
    scores = measure_heads(to_the_end[None, None], IDS, special, causal=False)
    assert scores["first"][0, 0] == pytest.approx(1)


@pytest.mark.parametrize("length", [1, 2])
def test_short_texts_have_finite_scores(length: int) -> None:
    weights = normalised(np.ones((length, length), dtype=np.float32), causal=True)[None, None]
    scores = measure_heads(weights, IDS[:length], PLAIN[:length], causal=True)
    assert all(np.isfinite(score).all() for score in scores.values())


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    torch.manual_seed(5)
    config = transformers.GPT2Config(vocab_size=257, n_positions=64, n_embd=24, n_layer=2, n_head=4)
    path: Path = tmp_path_factory.mktemp("gpt2")
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: at for at, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(path / "tokenizer.json"))
    return open_folder(path)


def test_induction_scores_read_the_references_attention(box: Assembled) -> None:
    """The prefix-matching score, computed once more from the reference's own attention on the same tokens."""
    seen: list[torch.Tensor] = []
    handle = box.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        ours = induction_scores(box, length=10, sequences=3, seed=7)
    finally:
        handle.remove()
    (ids,) = seen
    assert ids.shape == (3, 20)
    assert torch.equal(ids[:, :10], ids[:, 10:])
    assert ids.max() < 256  # the special token is left out
    model = transformers.GPT2LMHeadModel.from_pretrained(box.folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        attentions = model(ids, output_attentions=True).attentions
    even = np.mean([1 / (query + 1) for query in range(10, 20)])
    for layer, table in enumerate(attentions):
        score = torch.stack([table[:, :, query, query - 9] for query in range(10, 20)]).mean(dim=(0, 1))
        np.testing.assert_allclose(ours[layer], (score.numpy() - even) / (1 - even), atol=1e-5)
    np.testing.assert_array_equal(ours, induction_scores(box, length=10, sequences=3, seed=7))


def test_roles_have_names() -> None:
    assert set(ROLES) == {"previous", "first", "same", "induction", "local", "broad", "mixed"}


def as_trace(weights: NDArray[np.float32], *, causal: bool) -> Trace:
    """A trace of one layer with these heads."""
    encoding = Encoding(
        text="x" * T,
        ids=IDS,
        pieces=("x",) * T,
        token_bytes=(b"x",) * T,
        offsets=tuple((at, at + 1) for at in range(T)),
        special=PLAIN,
        word_ids=tuple(range(T)),
        groups=tuple((at, at + 1) for at in range(T)),
    )
    return Trace(
        box_id="drawn",
        family="gpt2" if causal else "bert",
        dtype="float32",
        device="cpu",
        encoding=encoding,
        values={"attention_weights": (weights,)},
    )
