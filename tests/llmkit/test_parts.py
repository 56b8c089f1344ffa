"""Each part against PyTorch's or the reference's own, and against its closed form."""

import math

import pytest
import torch
from torch import nn
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, LlamaRotaryEmbedding

from llmkit.parts import (
    ALiBiPositions,
    Attention,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    Positions,
    RMSNorm,
    RopeScaling,
    RotaryPositions,
    SinusoidalPositions,
    SwiGLU,
    TransformerConfig,
    View,
    assemble,
    bert,
    gpt2,
    inside,
    llama,
    untouched,
)

SMALL = dict(vocab_size=50, d_model=16, n_layers=2, n_heads=4)


@pytest.fixture(autouse=True)
def _float64():  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_norms() -> None:
    x = torch.randn(3, 5, 8) * 4 + 1
    ours, theirs = LayerNorm(d_model=8, eps=1e-3), nn.LayerNorm(8, eps=1e-3)
    nn.init.normal_(ours.weight), nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-12, rtol=0)
    rms, torch_rms = RMSNorm(d_model=8, eps=1e-3), nn.RMSNorm(8, eps=1e-3)
    nn.init.normal_(rms.weight)
    torch_rms.load_state_dict(rms.state_dict())
    torch.testing.assert_close(rms(x), torch_rms(x), atol=1e-12, rtol=0)


def test_rms_norm_survives_half_precision() -> None:
    """300² leaves the range of float16; the reference squares in float32, and so must we."""
    x = torch.full((1, 64), 300.0, dtype=torch.float16)
    ours, theirs = RMSNorm(d_model=64).half(), LlamaRMSNorm(64).half()
    torch.testing.assert_close(ours(x), theirs(x))
    assert torch.isfinite(ours(x)).all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_against_torch(causal: bool, bias: bool) -> None:
    ours = Attention(d_model=12, n_heads=3, n_kv_heads=3, head_dim=4, bias=bias, output_bias=bias)
    theirs = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat((ours.q.weight, ours.k.weight, ours.v.weight)))
        theirs.out_proj.weight.copy_(ours.out.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat((ours.q.bias, ours.k.bias, ours.v.bias)))
            theirs.out_proj.bias.copy_(ours.out.bias)
    x = torch.randn(2, 7, 12)
    visible = torch.ones(7, 7, dtype=torch.bool).tril() if causal else None
    expected, _ = theirs(x, x, x, attn_mask=None if visible is None else ~visible, need_weights=False)
    view = View(visible=visible, causal=causal)
    torch.testing.assert_close(ours(x, view), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "alibi", "none"])
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("causal", [True, False])
def test_tapped_and_fused_agree(positions: str, n_kv_heads: int, causal: bool) -> None:
    """The step-by-step formula and the fused kernel are the same sum, for every kind of attention."""
    config = TransformerConfig(
        **SMALL,
        n_kv_heads=n_kv_heads,
        head_dim=4,
        d_mlp=24,
        max_seq_len=16,
        positions=positions,  # type: ignore[arg-type]
        norm="layer",
        norm_eps=1e-5,
        norm_order="pre",
        causal=causal,
        feed_forward="gelu",
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
    )
    model = assemble(config)
    ids = torch.randint(0, 50, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    look = lambda _name, value: value  # noqa: E731
    for attention_mask in (None, mask):
        real = mask.bool() if attention_mask is not None else torch.ones(2, 9, dtype=torch.bool)
        fused = model(ids, attention_mask=attention_mask)[real]
        stepped = model(ids, attention_mask=attention_mask, tap=look)[real]
        torch.testing.assert_close(fused, stepped, atol=1e-12, rtol=0)
    if positions != "none":  # order must matter
        order = torch.tensor([1, 0, 2, 3, 5, 4, 8, 6, 7])
        assert (model(ids)[:, order] - model(ids[:, order])).abs().max() > 1e-6


def test_every_value_has_its_name_and_shape() -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def tap(name: str, value: torch.Tensor) -> torch.Tensor:
        seen[name] = tuple(value.shape)
        return value

    model = assemble(llama(vocab_size=50, d_model=16, n_layers=1, n_heads=4, n_kv_heads=2, d_mlp=24, max_seq_len=8))
    model(torch.zeros(3, 5, dtype=torch.long), tap=tap)
    layer = {name.removeprefix("layers.0."): shape for name, shape in seen.items() if name.startswith("layers")}
    assert layer == {
        "residual_pre": (3, 5, 16),
        "attention.q_unrotated": (3, 4, 5, 4),
        "attention.k_unrotated": (3, 2, 5, 4),
        "attention.q": (3, 4, 5, 4),
        "attention.k": (3, 2, 5, 4),
        "attention.v": (3, 2, 5, 4),
        "attention.scores": (3, 4, 5, 5),
        "attention.weights": (3, 4, 5, 5),
        "attention.head_values": (3, 4, 5, 4),
        "attention.out": (3, 5, 16),
        "residual_mid": (3, 5, 16),
        "feed_forward.pre": (3, 5, 24),
        "feed_forward.up": (3, 5, 24),
        "feed_forward.act": (3, 5, 24),
        "feed_forward.out": (3, 5, 16),
        "residual_post": (3, 5, 16),
    }
    assert {name for name in seen if "layers" not in name} == {
        "embeddings.token",
        "embeddings",
        "final",
        "logits",
    }


def test_a_tap_that_changes_a_value_changes_what_follows() -> None:
    model = assemble(gpt2(**SMALL, max_seq_len=8))
    ids = torch.tensor([[1, 2, 3]])

    def silence(name: str, value: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(value) if name.endswith("attention.out") else value

    assert not torch.allclose(model(ids, tap=silence), model(ids))
    assert inside(untouched, "layers.0") is untouched  # so that the fused path stays open


def test_sinusoidal_is_the_papers_formula() -> None:
    table = SinusoidalPositions(d_model=6, base=100.0).added(torch.tensor([0, 3, 1000]))
    for row, pos in enumerate((0, 3, 1000)):
        for i in range(3):
            angle = pos / 100.0 ** (2 * i / 6)
            assert table[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


@pytest.mark.parametrize("n_heads", [1, 4, 6, 12, 16])
def test_alibi_against_bloom(n_heads: int) -> None:
    """Bloom adds slope · key position; softmax cannot tell it from minus slope · distance in a causal row."""
    theirs = build_alibi_tensor(torch.ones(1, 5), n_heads, torch.float32)[:, 0]  # [H, S]
    here = torch.arange(5)
    ours = ALiBiPositions(n_heads=n_heads).bias(here, here)
    torch.testing.assert_close((ours[:, 4] - ours[:, 4, :1]).float(), theirs, atol=1e-6, rtol=0)
    assert ours.max() == 0
    assert torch.equal(ours, ours.transpose(1, 2))


@pytest.mark.parametrize("kind", ["default", "linear", "dynamic", "llama3", "yarn"])
def test_rotary_against_the_reference(kind: str) -> None:
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig(hidden_size=64, num_attention_heads=2, max_position_embeddings=32, rope_parameters=rope)
    scaling = None if kind == "default" else RopeScaling(kind=kind, factor=4.0, original_max_seq_len=32)  # type: ignore[arg-type]
    ours = RotaryPositions(head_dim=32, theta=1e4, scaling=scaling).rotation(torch.arange(100))
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1, dtype=torch.float32), torch.arange(100)[None])
    torch.testing.assert_close(ours.cos, cos[0], atol=2e-6, rtol=0)
    torch.testing.assert_close(ours.sin, sin[0], atol=2e-6, rtol=0)


def test_rotary_knows_only_the_distance() -> None:
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    rotary = RotaryPositions(head_dim=8)

    def product(query_pos: int, key_pos: int) -> float:
        turned = (
            rotary.rotation(torch.tensor([query_pos])).turn(q),
            rotary.rotation(torch.tensor([key_pos])).turn(k),
        )
        return float((turned[0] * turned[1]).sum())

    assert product(5, 2) == pytest.approx(product(105, 102), abs=1e-5)
    assert abs(product(5, 2) - product(5, 3)) > 1e-3


def test_feed_forwards() -> None:
    x = torch.randn(2, 3, 8)
    for tanh in (False, True):
        part = FeedForward(d_model=8, d_mlp=20, tanh=tanh)
        theirs = nn.Sequential(part.up, nn.GELU(approximate="tanh" if tanh else "none"), part.down)
        torch.testing.assert_close(part(x), theirs(x), atol=1e-12, rtol=0)
    ours = SwiGLU(d_model=8, d_mlp=20)
    llama_mlp = LlamaMLP(LlamaConfig(hidden_size=8, num_attention_heads=1, intermediate_size=20))
    llama_mlp.load_state_dict({f"{k}_proj.weight": getattr(ours, k).weight for k in ("gate", "up", "down")})
    torch.testing.assert_close(ours(x), llama_mlp(x), atol=1e-12, rtol=0)


def test_positions_given_by_hand() -> None:
    """Moved by a constant, learned positions change the result and rotary ones do not."""
    ids, here = torch.tensor([[1, 2, 3]]), torch.arange(3)
    learned = assemble(gpt2(**SMALL, max_seq_len=16))
    turned = assemble(llama(**SMALL, n_kv_heads=2, d_mlp=24, max_seq_len=16))
    torch.testing.assert_close(learned(ids, positions=here), learned(ids))
    assert (learned(ids, positions=here + 4) - learned(ids)).abs().max() > 1e-6
    torch.testing.assert_close(turned(ids, positions=here + 4), turned(ids), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned(ids, positions=(here + 4)[None]), turned(ids, positions=here + 4))
    assert (turned(ids, positions=here.flip(0)) - turned(ids)).abs().max() > 1e-6


def test_tied_and_untied() -> None:
    tied = assemble(llama(**SMALL, n_kv_heads=2, d_mlp=24, max_seq_len=8, tied=True))
    untied = assemble(llama(**SMALL, n_kv_heads=2, d_mlp=24, max_seq_len=8, tied=False))
    assert tied.unembedding is not None
    assert tied.unembedding.weight is tied.embedding.weight
    more = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert more == 50 * 16


def test_segments_change_the_sum() -> None:
    model = assemble(bert(**SMALL, d_mlp=24, max_seq_len=8))
    ids = torch.tensor([[1, 2, 3]])
    assert (model(ids, segment_ids=torch.tensor([[0, 1, 1]])) - model(ids)).abs().max() > 1e-6
    torch.testing.assert_close(model(ids, segment_ids=torch.zeros_like(ids)), model(ids))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: gpt2(n_heads=5), "evenly"),
        (lambda: llama(n_heads=8, d_model=64, n_kv_heads=3), "share"),
        (lambda: llama(n_heads=8, d_model=64, n_kv_heads=8, head_dim=7), "even"),
        (lambda: gpt2(vocab_size=0), "vocab_size"),
        (lambda: bert(norm_eps=0.0), "norm_eps"),
        (lambda: RopeScaling(kind="linear", factor=0.5, original_max_seq_len=8), "factor"),
    ],
)
def test_parts_that_do_not_fit_say_why(make, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        make()


def test_no_positions_is_the_base() -> None:
    here = torch.arange(3)
    none = Positions()
    assert none.added(here) is None
    assert none.rotation(here) is None
    assert none.bias(here, here) is None
    assert LearnedPositions(max_seq_len=4, d_model=2).rotation(here) is None
