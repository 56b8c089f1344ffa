"""Tiny random models of every family: our parts against the reference, each on the same weights."""

from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from llmkit.parts import KVCache
from llmkit.reference import BoxError, load_reference, open_folder, verify_folder

LLAMA = dict(
    vocab_size=320, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, head_dim=6
)  # fmt: skip
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)


def _llama(**changes: object) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(**LLAMA | {"max_position_embeddings": 128, "num_key_value_heads": 2} | changes)


CONFIGS = {
    "gpt2": transformers.GPT2Config(vocab_size=320, n_positions=128, n_embd=24, n_layer=2, n_head=4),
    "gpt2-gelu": transformers.GPT2Config(
        vocab_size=320, n_positions=128, n_embd=24, n_layer=2, n_head=2, activation_function="gelu"
    ),
    "bert": transformers.BertConfig(
        vocab_size=320,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=128,
    ),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=320, dim=24, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=128
    ),
    "llama-gqa": _llama(),
    "llama-mqa-tied": _llama(num_key_value_heads=1, tie_word_embeddings=True),
    "llama-mha-biased": _llama(num_key_value_heads=4, attention_bias=True, mlp_bias=True),
    "llama-linear": _llama(rope_parameters={"rope_theta": 1e4, "rope_type": "linear", "factor": 4.0}),
    "llama-dynamic": _llama(
        max_position_embeddings=16,
        rope_parameters={"rope_theta": 1e4, "rope_type": "dynamic", "factor": 2.0},
    ),
    "llama-yarn": _llama(
        rope_parameters={
            "rope_theta": 1e4,
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    ),
    "llama-3": _llama(
        rope_parameters={"rope_theta": 1e4, "original_max_position_embeddings": 32} | LLAMA3,
        tie_word_embeddings=True,
    ),
    "qwen3": transformers.Qwen3Config(**LLAMA, max_position_embeddings=128, num_key_value_heads=2),
}


def _tokenizer() -> Tokenizer:
    """A tokenizer of bytes alone, so that every text can be read by a random model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CONFIGS[request.param]
    torch.manual_seed(0)
    auto = transformers.AutoModelForMaskedLM if "bert" in request.param else transformers.AutoModelForCausalLM
    model = auto.from_config(config)
    with torch.no_grad():  # biases and norms start at 0 and 1, which would hide a mistake
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    _tokenizer().save(str(path / "tokenizer.json"))
    return path


def test_every_part_fits(folder: Path) -> None:
    report = verify_folder(folder, text="abc def 春眠 🙂\x00"[:12])
    parts = {row.part for row in report.rows}
    assert {"embedding", "positions", "norm", "attention", "feed_forward", "block", "logits"} <= parts
    assert [(row.part, row.float32, row.float64) for row in report.rows if not row.passed] == []
    assert all(row.scale > 0 for row in report.rows)


def test_gradients_agree_with_the_reference(folder: Path) -> None:
    box = open_folder(folder, dtype=torch.float64)
    reference = load_reference(box, torch.float64)
    box.model.requires_grad_(True)
    ids = torch.tensor([[5, 9, 9, 200, 31]])
    target = torch.tensor([[9, 9, 200, 31, 7]])
    loss = torch.nn.functional.cross_entropy
    theirs = loss(reference(ids).logits[0], target[0])
    ours = loss(box.model(ids)[0], target[0])
    theirs.backward()
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    embedding = reference.get_input_embeddings().weight.grad
    assert embedding is not None
    assert embedding.abs().max() > 1e-3
    torch.testing.assert_close(box.model.embedding.weight.grad, embedding, atol=1e-9, rtol=0)


def test_padding_does_not_change_real_tokens(folder: Path) -> None:
    box = open_folder(folder, dtype=torch.float64)
    reference = load_reference(box, torch.float64)
    ids = torch.tensor([[5, 9, 9, 200, 31], [7, 8, 11, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    ours = box.model(ids, attention_mask=mask)
    torch.testing.assert_close(ours[1, :3], box.model(ids[1:, :3])[0], atol=1e-12, rtol=0)
    theirs = reference(ids, attention_mask=mask).logits
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-9, rtol=0)


def test_order_of_sight(folder: Path) -> None:
    """A causal model's past does not change with its future; a bidirectional one's does."""
    box = open_folder(folder, dtype=torch.float64)
    one, other = torch.tensor([[5, 9, 9, 200]]), torch.tensor([[5, 9, 9, 31]])
    past = (box.model(one)[0, :3] - box.model(other)[0, :3]).abs().max().item()
    assert past == 0 if box.config.causal else past > 1e-6


def test_cached_agrees_with_full(folder: Path) -> None:
    box = open_folder(folder, dtype=torch.float64)
    ids = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(1))
    if not box.config.causal:
        with pytest.raises(ValueError, match="both ways"):
            box.model(ids, cache=KVCache())
        return
    cache = KVCache()
    pieces = [box.model(piece, cache=cache) for piece in ids.split([5, 1, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), box.model(ids), atol=1e-9, rtol=0)
    assert cache.seq_len == 12
    per_token = 2 * box.config.n_layers * box.config.n_kv_heads * box.config.head_dim * 8
    assert cache.size_bytes == 2 * 12 * per_token


def test_a_wrong_weight_is_found(folder: Path) -> None:
    """The comparison must be able to fail."""
    from llmkit.reference import verify

    class Bent(verify._OurRun):  # one number of one part is changed before our run
        def __init__(self, box, ids) -> None:  # type: ignore[no-untyped-def]
            box.model.layers[1].feed_forward.down.weight[0, 0] += 0.5
            super().__init__(box, ids)

    original = verify._OurRun
    verify._OurRun = Bent  # type: ignore[misc]
    try:
        report = verify_folder(folder, text="abcdef")
    finally:
        verify._OurRun = original  # type: ignore[misc]
    failed = {row.part for row in report.rows if not row.passed}
    assert {"feed_forward", "block", "logits"} <= failed
    assert "attention" not in failed
    assert not report.passed


def test_too_long_is_refused(folder: Path) -> None:
    box = open_folder(folder)
    with pytest.raises(ValueError, match="fit"):
        box.model(torch.zeros(1, box.config.max_seq_len + 1, dtype=torch.long))


@pytest.mark.parametrize(
    ("spoil", "code", "names"),
    [
        (lambda f: (f / "config.json").unlink(), "box_broken", "config.json"),
        (lambda f: (f / "config.json").write_text("{"), "box_broken", "config.json"),
        (lambda f: (f / "config.json").write_text("[]"), "box_broken", "config.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'), "box_broken", "vocab_size"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "<script>"}'),
            "box_unsupported",
            "<script>",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 40), "box_broken", "model.safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), "box_broken", ".safetensors"),
    ],
)
def test_broken_boxes_are_named(tmp_path: Path, spoil, code: str, names: str) -> None:  # type: ignore[no-untyped-def]
    transformers.GPT2LMHeadModel(CONFIGS["gpt2"]).save_pretrained(tmp_path)
    _tokenizer().save(str(tmp_path / "tokenizer.json"))
    spoil(tmp_path)
    with pytest.raises(BoxError) as caught:
        open_folder(tmp_path)
    assert caught.value.code == code
    assert names in caught.value.values["detail"]


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    transformers.GPT2LMHeadModel(CONFIGS["gpt2"]).save_pretrained(tmp_path)
    _tokenizer().save(str(tmp_path / "tokenizer.json"))
    CONFIGS["gpt2-gelu"].save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(
        (tmp_path / "config.json").read_text().replace('"n_layer": 2', '"n_layer": 3')
    )
    with pytest.raises(BoxError, match=r"transformer\.h\.2"):
        open_folder(tmp_path)
