"""Read a box's ``config.json`` into a parts list. No model code of the reference is loaded for it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from llmkit.parts import RopeScaling, TransformerConfig, bert, gpt2, llama
from llmkit.parts.config import FeedForwardKind, RopeScalingKind
from llmkit.reference.errors import BoxError
from llmkit.reference.naming import Kind

_ACTIVATIONS: Mapping[str, FeedForwardKind] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def read_config(folder: Path, *, unembedding: bool) -> tuple[Kind, TransformerConfig]:
    """The kind of model in a folder and its parts list.

    Args:
        folder: holds ``config.json``.
        unembedding: whether the weights hold a BERT's masked-language head (its config does not say).

    Raises:
        BoxError: ``box_broken`` when the file is missing, is no JSON or lacks a number; ``box_unsupported`` when it
            describes a model that the parts do not make, with the reason.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        kind = raw.get("model_type")
        if kind not in get_args(Kind):
            raise BoxError("box_unsupported", box=folder.name, detail=f"model_type {kind}")
        read: Callable[[dict[str, Any], bool], TransformerConfig] = {
            "gpt2": _gpt2,
            "bert": _bert,
            "distilbert": _distilbert,
            "llama": _llama,
            "qwen3": _llama,
        }[kind]
        return cast(Kind, kind), read(raw, unembedding)
    except _UnsupportedError as error:
        raise BoxError("box_unsupported", box=folder.name, detail=str(error)) from error
    except KeyError as error:
        raise BoxError("box_broken", box=folder.name, detail=f"config.json lacks {error}") from error
    except (OSError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, BoxError):
            raise
        raise BoxError("box_broken", box=folder.name, detail=f"config.json: {error}") from error


class _UnsupportedError(Exception):
    """A setting that the parts have no counterpart for."""


def _gpt2(raw: dict[str, Any], _unembedding: bool) -> TransformerConfig:
    _expect(raw, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return gpt2(
        vocab_size=raw["vocab_size"],
        d_model=raw["n_embd"],
        n_layers=raw["n_layer"],
        n_heads=raw["n_head"],
        max_seq_len=raw["n_positions"],
        d_mlp=raw.get("n_inner"),
        norm_eps=raw.get("layer_norm_epsilon", 1e-5),
        feed_forward=_activation(raw.get("activation_function", "gelu_new")),
        tied=raw.get("tie_word_embeddings", True),
    )


def _bert(raw: dict[str, Any], unembedding: bool) -> TransformerConfig:
    _expect(raw, position_embedding_type="absolute", is_decoder=False)
    return bert(
        vocab_size=raw["vocab_size"],
        d_model=raw["hidden_size"],
        n_layers=raw["num_hidden_layers"],
        n_heads=raw["num_attention_heads"],
        d_mlp=raw["intermediate_size"],
        max_seq_len=raw["max_position_embeddings"],
        n_segments=raw.get("type_vocab_size", 2),
        norm_eps=raw.get("layer_norm_eps", 1e-12),
        feed_forward=_activation(raw.get("hidden_act", "gelu")),
        unembedding=unembedding,
    )


def _distilbert(raw: dict[str, Any], unembedding: bool) -> TransformerConfig:
    _expect(raw, sinusoidal_pos_embds=False)
    return bert(
        vocab_size=raw["vocab_size"],
        d_model=raw["dim"],
        n_layers=raw["n_layers"],
        n_heads=raw["n_heads"],
        d_mlp=raw["hidden_dim"],
        max_seq_len=raw["max_position_embeddings"],
        n_segments=0,
        feed_forward=_activation(raw.get("activation", "gelu")),
        unembedding=unembedding,
    )


def _llama(raw: dict[str, Any], _unembedding: bool) -> TransformerConfig:
    _expect(raw, hidden_act="silu", pretraining_tp=1, use_sliding_window=False)
    # older files keep rope_theta and rope_scaling apart, newer ones in rope_parameters
    rope = {**(raw.get("rope_scaling") or {}), **(raw.get("rope_parameters") or {})}
    scaling = _rope_scaling(rope, raw["max_position_embeddings"])
    stretched = scaling.factor if scaling and scaling.kind == "dynamic" else 1  # the others name the longer length
    return llama(
        vocab_size=raw["vocab_size"],
        d_model=raw["hidden_size"],
        n_layers=raw["num_hidden_layers"],
        n_heads=raw["num_attention_heads"],
        n_kv_heads=raw.get("num_key_value_heads") or raw["num_attention_heads"],
        d_mlp=raw["intermediate_size"],
        max_seq_len=int(raw["max_position_embeddings"] * stretched),
        head_dim=raw.get("head_dim"),
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        tied=raw.get("tie_word_embeddings", False),
        attention_bias=raw.get("attention_bias", False),
        mlp_bias=raw.get("mlp_bias", False),
        norm_heads=raw["model_type"] == "qwen3",
        rope_theta=float(rope.get("rope_theta") or raw.get("rope_theta", 10_000.0)),
        rope_scaling=scaling,
    )


def _rope_scaling(rope: Mapping[str, Any], max_seq_len: int) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind not in get_args(RopeScalingKind):
        raise _UnsupportedError(f"rope_type {kind}")
    if rope.get("mscale") or rope.get("mscale_all_dim") or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise _UnsupportedError("mscale or partial_rotary_factor")
    # dynamic scaling grows from max_position_embeddings on; the others name the length in pre-training
    original = max_seq_len if kind == "dynamic" else rope.get("original_max_position_embeddings", max_seq_len)
    optional = {
        name: rope[name]
        for name in (
            "low_freq_factor",
            "high_freq_factor",
            "beta_fast",
            "beta_slow",
            "attention_factor",
            "truncate",
        )
        if rope.get(name) is not None
    }
    return RopeScaling(
        kind=cast(RopeScalingKind, kind), factor=rope["factor"], original_max_seq_len=original, **optional
    )


def _activation(name: str) -> FeedForwardKind:
    if name not in _ACTIVATIONS:
        raise _UnsupportedError(f"activation {name}")
    return _ACTIVATIONS[name]


def _expect(raw: Mapping[str, Any], **settings: object) -> None:
    """Refuse a setting that differs from the only value that the parts know."""
    for name, value in settings.items():
        if raw.get(name, value) != value:
            raise _UnsupportedError(f"{name} = {raw[name]}")
