"""Counts from the parts list, beside what is really there: the reference's weights, its counted work, our cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from llmkit.parts import KVCache, TransformerConfig, assemble, bert, gpt2, llama
from llmkit.parts.count import IN_BLOCK, Counts, PartName, count_parts
from llmkit.reference import Assembled, load_reference, open_box, open_folder
from llmkit.trace import Recorder
from llmkit.trace.trace import EVERYTHING
from tests.llmkit.random_box import random_box

T = 13
CONFIGS = {
    "gpt2": gpt2(vocab_size=50, d_model=24, n_layers=2, n_heads=4, max_seq_len=32),
    "bert": bert(vocab_size=50, d_model=24, n_layers=2, n_heads=4, d_mlp=40, max_seq_len=32),
    "encoder": bert(vocab_size=50, d_model=24, n_layers=2, n_heads=4, d_mlp=40, max_seq_len=32, unembedding=False),
    "llama": llama(vocab_size=50, d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, d_mlp=40, max_seq_len=32),
    "qwen3": llama(
        vocab_size=50, d_model=24, n_layers=2, n_heads=4, n_kv_heads=1, d_mlp=40, max_seq_len=32,
        head_dim=10, norm_heads=True, tied=True,
    ),
    "biased": llama(
        vocab_size=50, d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, d_mlp=40, max_seq_len=32,
        attention_bias=True, mlp_bias=True,
    ),
}  # fmt: skip
THEIRS = {
    # our part → where the reference has it; a block's parts with the layer's number
    "gpt2": {
        "embedding": ["transformer.wte"],
        "positions": ["transformer.wpe"],
        "norm_1": ["transformer.h.{n}.ln_1"],
        "attention": ["transformer.h.{n}.attn"],
        "norm_2": ["transformer.h.{n}.ln_2"],
        "feed_forward": ["transformer.h.{n}.mlp"],
        "norm_final": ["transformer.ln_f"],
        "unembedding": ["lm_head"],
    },
    "bert": {
        "embedding": ["bert.embeddings.word_embeddings"],
        "segments": ["bert.embeddings.token_type_embeddings"],
        "positions": ["bert.embeddings.position_embeddings"],
        "norm_embeddings": ["bert.embeddings.LayerNorm"],
        "attention": ["bert.encoder.layer.{n}.attention.self", "bert.encoder.layer.{n}.attention.output.dense"],
        "norm_1": ["bert.encoder.layer.{n}.attention.output.LayerNorm"],
        "feed_forward": ["bert.encoder.layer.{n}.intermediate", "bert.encoder.layer.{n}.output.dense"],
        "norm_2": ["bert.encoder.layer.{n}.output.LayerNorm"],
        "unembedding": ["cls.predictions"],
    },
    "llama": {
        "embedding": ["model.embed_tokens"],
        "norm_1": ["model.layers.{n}.input_layernorm"],
        "attention": ["model.layers.{n}.self_attn"],
        "norm_2": ["model.layers.{n}.post_attention_layernorm"],
        "feed_forward": ["model.layers.{n}.mlp"],
        "norm_final": ["model.norm"],
        "unembedding": ["lm_head"],
    },
}


@pytest.fixture(scope="module", params=["gpt2", "bert", "llama"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    return open_folder(random_box(tmp_path_factory.mktemp(request.param), request.param, seed=3))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_weights_are_those_of_the_assembled_parts(config: TransformerConfig) -> None:
    machine = assemble(config)
    counts = count_parts(config, seq_len=T)
    assert counts.parameters == sum(weight.numel() for weight in machine.parameters())
    block = machine.layers[0]
    for part in counts.parts:
        owner = block if part.name in IN_BLOCK else machine
        module = getattr(owner, part.name, None)
        named = {name: tuple(weight.shape) for name, weight in module.named_parameters()} if module else {}
        assert named == dict(part.weights) | dict(part.shared), part.name


def test_parameters_and_work_are_the_references(box: Assembled) -> None:
    agree_with_the_reference(box, torch.arange(T)[None] + 5, THEIRS[box.family])


@pytest.mark.registry
@pytest.mark.parametrize("box_id", ["gpt2-starter", "minilm-l6", "smollm2-135m-instruct"])
def test_real_boxes_count_as_the_reference_does(box_id: str, standard_kit: tuple[str, ...]) -> None:
    box = open_box(box_id)
    places = {
        name: [path.removeprefix("bert.") if box_id == "minilm-l6" else path for path in paths]
        for name, paths in THEIRS[box.family].items()
        if box.config.unembedding or name != "unembedding"
    }
    agree_with_the_reference(box, torch.arange(T)[None] + 300, places)


def agree_with_the_reference(box: Assembled, ids: Tensor, places: dict[str, list[str]]) -> None:
    """Weights and counted work of every part, at every place."""
    reference = load_reference(box, torch.float32)  # eager attention: every product is one that can be counted
    counts = count_parts(box.config, seq_len=T)
    with FlopCounterMode(display=False, depth=None) as counter, torch.no_grad():
        reference(ids)
    counted = counter.get_flop_counts()
    root = type(reference).__name__
    seen: set[int] = set()
    for part in counts.parts:
        if part.name not in places:
            assert part.parameters == part.flops == 0, part.name
            continue
        for n in range(part.places):
            paths = [path.format(n=n) for path in places[part.name]]
            modules = [reference.get_submodule(path) for path in paths]
            assert sum(fresh(module, seen) for module in modules) == part.parameters, part.name
            work = sum(sum(counted.get(f"{root}.{path}", {}).values()) for path in paths)
            assert work == part.flops, part.name
    # Beside that the reference multiplies positions with frequencies, and BERT without a head has a pooler.
    beside = sum(sum(counted.get(f"{root}.{name}", {}).values()) for name in ("model.rotary_emb", "pooler"))
    assert sum(counted["Global"].values()) == counts.flops + beside


def fresh(module: nn.Module, seen: set[int]) -> int:
    """Weights that no part before has counted."""
    weights = [weight for weight in module.parameters() if id(weight) not in seen]
    seen.update(id(weight) for weight in weights)
    return sum(weight.numel() for weight in weights)


@pytest.mark.parametrize("past", [0, 5])
def test_the_cache_takes_what_is_counted(past: int) -> None:
    config = CONFIGS["llama"]
    machine, cache = assemble(config).eval(), KVCache()
    with torch.no_grad():
        if past:
            machine(torch.zeros(1, past, dtype=torch.long), cache=cache)
        machine(torch.zeros(1, T, dtype=torch.long), cache=cache)
    assert count_parts(config, seq_len=T, past_len=past).kv_cache_bytes == cache.size_bytes


def test_a_model_that_looks_both_ways_keeps_nothing() -> None:
    assert count_parts(CONFIGS["bert"], seq_len=T).kv_cache_bytes == 0


@pytest.mark.parametrize("name", ["gpt2", "bert", "encoder", "llama"])
def test_activations_are_the_values_that_a_trace_keeps(name: str) -> None:
    config = CONFIGS[name]
    recorder = Recorder(EVERYTHING)
    with torch.no_grad():
        assemble(config)(torch.arange(T)[None], tap=recorder)
    counts = count_parts(config, seq_len=T)
    layer = {kind: values[0] for kind, values in recorder.each_layer.items()}
    attention = ("q", "k", "v", "attention_scores", "attention_weights", "head_values", "attention_out")
    turned = ("q_unrotated", "k_unrotated") if config.positions == "rotary" else ()
    assert counts["attention"].activation_bytes == sum(layer[kind].nbytes for kind in (*attention, *turned))
    kinds = ("mlp_pre", "mlp_up", "mlp_act", "mlp_out")
    assert counts["feed_forward"].activation_bytes == sum(layer[kind].nbytes for kind in kinds if kind in layer)
    assert counts["add_1"].activation_bytes == layer["residual_mid"].nbytes
    if config.unembedding and not config.unembedding_transform:
        assert counts["unembedding"].activation_bytes == recorder.once["logits"].nbytes


def test_order_is_the_order_of_the_text() -> None:
    def names(counts: Counts) -> list[PartName]:
        return [part.name for part in counts.parts]

    assert names(count_parts(CONFIGS["gpt2"], seq_len=1)) == [
        "embedding", "positions", "norm_1", "attention", "add_1", "norm_2", "feed_forward", "add_2", "norm_final",
        "unembedding", "softmax",
    ]  # fmt: skip
    assert names(count_parts(CONFIGS["encoder"], seq_len=1)) == [
        "embedding", "segments", "positions", "norm_embeddings", "attention", "add_1", "norm_1", "feed_forward",
        "add_2", "norm_2",
    ]  # fmt: skip
    assert "positions" not in count_parts(CONFIGS["llama"], seq_len=1)


@pytest.mark.parametrize(("seq_len", "past_len"), [(0, 0), (33, 0), (20, 20), (1, -1)])
def test_a_text_that_does_not_fit_is_refused(seq_len: int, past_len: int) -> None:
    with pytest.raises(ValueError, match="tokens"):
        count_parts(CONFIGS["gpt2"], seq_len=seq_len, past_len=past_len)


def test_bytes_follow_the_dtype() -> None:
    wide, narrow = (count_parts(CONFIGS["llama"], seq_len=T, bytes_per_number=size) for size in (4, 2))
    assert wide.weight_bytes == 2 * narrow.weight_bytes == 4 * wide.parameters
    assert wide.activation_bytes == 2 * narrow.activation_bytes
    assert wide.kv_cache_bytes == 2 * narrow.kv_cache_bytes


def test_an_unknown_part_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        count_parts(CONFIGS["llama"], seq_len=T)["segments"]
