"""The trace against the reference's own attentions and hidden states, on tiny random models of each family."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from llmkit.reference import Assembled, load_reference, open_folder
from llmkit.trace import EVERYTHING, Trace, TraceError, trace_model

CONFIGS = {
    "gpt2": transformers.GPT2Config(vocab_size=256, n_positions=64, n_embd=24, n_layer=3, n_head=4),
    "bert": transformers.BertConfig(
        vocab_size=256,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
    ),
    "llama": transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    ),
}
TEXTS = ["a", "The movie was good", "這本書", "🙂👩‍👩‍👧", "\x00\u200b\u202e", "</script><img src=x onerror=alert(1)>"]


@pytest.fixture(scope="module", params=CONFIGS)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    folder: Path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    auto = transformers.AutoModelForMaskedLM if request.param == "bert" else transformers.AutoModelForCausalLM
    model = auto.from_config(CONFIGS[request.param])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return open_folder(folder, dtype=torch.float64)


@pytest.mark.parametrize("text", TEXTS)
def test_against_the_reference(box: Assembled, text: str) -> None:
    trace = trace_model(box, text)
    reference = load_reference(open_folder(box.folder), torch.float32)
    theirs = reference(torch.tensor([trace.encoding.ids]), output_attentions=True, output_hidden_states=True)
    for layer in range(3):
        attentions = theirs.attentions[layer][0].detach().numpy()
        np.testing.assert_allclose(trace["attention_weights"][layer], attentions, atol=1e-5)
        hidden = theirs.hidden_states[layer][0].detach().numpy()
        np.testing.assert_allclose(trace["residual_pre"][layer], hidden, atol=1e-4)
    np.testing.assert_allclose(trace["final"], theirs.hidden_states[-1][0].detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(trace["logits"], theirs.logits[0].detach().numpy(), atol=1e-4)


def test_values_follow_from_each_other(box: Assembled) -> None:
    """What the page shows step by step must really be the steps."""
    trace, config = trace_model(box, "abcabc"), box.config
    shared = config.n_heads // config.n_kv_heads
    for layer in range(3):
        q = trace["q"][layer]
        k, v = (np.repeat(trace[name][layer], shared, axis=0) for name in ("k", "v"))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(config.head_dim)
        seen = np.tri(6, dtype=bool) if config.causal else np.ones((6, 6), dtype=bool)
        np.testing.assert_allclose(trace["attention_scores"][layer][:, seen], scores[:, seen], atol=1e-12)
        weights = np.exp(np.where(seen, scores, -np.inf))
        weights /= weights.sum(-1, keepdims=True)
        np.testing.assert_allclose(trace["attention_weights"][layer], weights, atol=1e-12)
        np.testing.assert_allclose(trace["head_values"][layer], weights @ v, atol=1e-12)
        if layer + 1 < 3:
            np.testing.assert_array_equal(trace["residual_post"][layer], trace["residual_pre"][layer + 1])
    if config.norm_order == "pre":
        mid = trace["residual_pre"][0] + trace["attention_out"][0]
        np.testing.assert_allclose(trace["residual_mid"][0], mid, atol=1e-12)


def test_only_what_is_asked_for_is_kept(box: Assembled) -> None:
    trace = trace_model(box, "abc", parts=("q", "logits"))
    assert set(trace.values) == {"q", "logits"}
    assert trace.size_bytes == 8 * (3 * 4 * 3 * 6 + 3 * 256)
    assert "k" not in trace
    with pytest.raises(KeyError):
        trace["k"]


def test_arrays_are_read_only(box: Assembled) -> None:
    trace = trace_model(box, "abc")
    assert set(trace.values) <= set(EVERYTHING)
    with pytest.raises(ValueError, match="read-only"):
        trace["embeddings"][0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        trace["q"][0][0, 0, 0] = 1


def test_limits_say_how_much(box: Assembled) -> None:
    with pytest.raises(TraceError) as empty:
        trace_model(box, "")
    assert (empty.value.code, empty.value.values["tokens"]) == ("text_empty", 0)
    with pytest.raises(TraceError) as long:
        trace_model(box, "x" * 100_000)
    assert (long.value.code, long.value.values) == ("text_too_long", {"tokens": 100_000, "limit": 64})
    with pytest.raises(TraceError) as own:
        trace_model(box, "abcdef", max_tokens=5)
    assert own.value.values == {"tokens": 6, "limit": 5}
    assert trace_model(box, "abcde", max_tokens=5).seq_len == 5


def test_an_intervention_is_traced(box: Assembled) -> None:
    def silence(name: str, value: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(value) if name == "layers.1.attention.head_values" else value

    plain, silenced = trace_model(box, "abc"), trace_model(box, "abc", tap=silence)
    assert np.abs(silenced["head_values"][1]).max() == 0
    np.testing.assert_array_equal(plain["q"][1], silenced["q"][1])
    assert np.abs(plain["logits"] - silenced["logits"]).max() > 1e-6
    assert isinstance(silenced, Trace)
    np.testing.assert_array_equal(trace_model(box, "abc")["logits"], plain["logits"])  # nothing stayed behind
