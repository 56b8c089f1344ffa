"""One table: what the reference calls each tensor, and what the parts call it.

Source: the state dicts of ``GPT2LMHeadModel``, ``BertForMaskedLM`` / ``BertModel``, ``DistilBertForMaskedLM``,
``LlamaForCausalLM`` and ``Qwen3ForCausalLM``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmkit.parts import TransformerConfig

Kind = Literal["gpt2", "bert", "distilbert", "llama", "qwen3"]
"""A model type of the reference, as ``config.json`` names it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tensor of the reference and the tensors of the parts that it holds.

    Args:
        theirs: the reference's name.
        ours: the parts' names; several are joined along the output dimension (GPT-2's fused q, k, v).
        transposed: GPT-2 keeps its matrices as [in, out]; the parts keep [out, in].
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False


def rows(kind: Kind, config: TransformerConfig) -> tuple[Row, ...]:
    """The whole table for one box, the tied unembedding left out (it is the embedding)."""
    table = {"gpt2": _gpt2, "bert": _bert, "distilbert": _distilbert, "llama": _llama, "qwen3": _llama}[kind]
    return tuple(table(config))


def plain_names(tensors: Mapping[str, Tensor], kind: Kind) -> dict[str, Tensor]:
    """A file's tensors under the names of the table: older spellings renewed, a missing prefix put in front."""
    prefix = {
        "gpt2": "transformer",
        "bert": "bert",
        "distilbert": "distilbert",
        "llama": "model",
        "qwen3": "model",
    }[kind]
    plain = {}
    for name, tensor in tensors.items():
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        inside = name.partition(".")[0] in (
            prefix,
            "lm_head",
            "cls",
            "score",
            "classifier",
            "pre_classifier",
        ) or (name.startswith("vocab_"))
        plain[name if inside else f"{prefix}.{name}"] = tensor
    return plain


def to_parts(tensors: Mapping[str, Tensor], kind: Kind, config: TransformerConfig) -> dict[str, Tensor]:
    """Rename and reshape a reference's state dict into the parts' own.

    Raises:
        KeyError: when the reference lacks a tensor that the parts need; the message is its name.
    """
    parts: dict[str, Tensor] = {}
    for row in rows(kind, config):
        tensor = tensors[row.theirs]
        if row.transposed:
            tensor = tensor.T
        parts.update(zip(row.ours, tensor.chunk(len(row.ours)), strict=True))
    if config.unembedding and config.tied:
        parts["unembedding.weight"] = parts["embedding.weight"]
    return {name: tensor.contiguous() for name, tensor in parts.items()}


def to_reference(tensors: Mapping[str, Tensor], kind: Kind, config: TransformerConfig) -> dict[str, Tensor]:
    """The way back: the parts' state dict under the reference's names. Tied tensors appear once."""
    theirs = {}
    for row in rows(kind, config):
        joined = torch.cat([tensors[name] for name in row.ours])
        theirs[row.theirs] = (joined.T if row.transposed else joined).contiguous()
    return theirs


def _affine(theirs: str, *ours: str, bias: bool = True, transposed: bool = False) -> Iterator[Row]:
    yield Row(theirs=f"{theirs}.weight", ours=tuple(f"{name}.weight" for name in ours), transposed=transposed)
    if bias:
        yield Row(theirs=f"{theirs}.bias", ours=tuple(f"{name}.bias" for name in ours))


def _gpt2(config: TransformerConfig) -> Iterator[Row]:
    yield Row(theirs="transformer.wte.weight", ours=("embedding.weight",))
    yield Row(theirs="transformer.wpe.weight", ours=("positions.weight",))
    for n in range(config.n_layers):
        h, block = f"transformer.h.{n}", f"layers.{n}"
        look = f"{block}.attention"
        yield from _affine(f"{h}.ln_1", f"{block}.norm_1")
        yield from _affine(f"{h}.attn.c_attn", f"{look}.q", f"{look}.k", f"{look}.v", transposed=True)
        yield from _affine(f"{h}.attn.c_proj", f"{look}.out", transposed=True)
        yield from _affine(f"{h}.ln_2", f"{block}.norm_2")
        yield from _affine(f"{h}.mlp.c_fc", f"{block}.feed_forward.up", transposed=True)
        yield from _affine(f"{h}.mlp.c_proj", f"{block}.feed_forward.down", transposed=True)
    yield from _affine("transformer.ln_f", "norm_final")
    if config.unembedding and not config.tied:
        yield Row(theirs="lm_head.weight", ours=("unembedding.weight",))


def _bert(config: TransformerConfig) -> Iterator[Row]:
    yield Row(theirs="bert.embeddings.word_embeddings.weight", ours=("embedding.weight",))
    yield Row(theirs="bert.embeddings.position_embeddings.weight", ours=("positions.weight",))
    yield Row(theirs="bert.embeddings.token_type_embeddings.weight", ours=("segments.weight",))
    yield from _affine("bert.embeddings.LayerNorm", "norm_embeddings")
    for n in range(config.n_layers):
        layer, block = f"bert.encoder.layer.{n}", f"layers.{n}"
        yield from _affine(f"{layer}.attention.self.query", f"{block}.attention.q")
        yield from _affine(f"{layer}.attention.self.key", f"{block}.attention.k")
        yield from _affine(f"{layer}.attention.self.value", f"{block}.attention.v")
        yield from _affine(f"{layer}.attention.output.dense", f"{block}.attention.out")
        yield from _affine(f"{layer}.attention.output.LayerNorm", f"{block}.norm_1")
        yield from _affine(f"{layer}.intermediate.dense", f"{block}.feed_forward.up")
        yield from _affine(f"{layer}.output.dense", f"{block}.feed_forward.down")
        yield from _affine(f"{layer}.output.LayerNorm", f"{block}.norm_2")
    if config.unembedding:
        yield from _affine("cls.predictions.transform.dense", "unembedding.transform.dense")
        yield from _affine("cls.predictions.transform.LayerNorm", "unembedding.transform.norm")
        yield Row(theirs="cls.predictions.bias", ours=("unembedding.bias",))


def _distilbert(config: TransformerConfig) -> Iterator[Row]:
    yield Row(theirs="distilbert.embeddings.word_embeddings.weight", ours=("embedding.weight",))
    yield Row(theirs="distilbert.embeddings.position_embeddings.weight", ours=("positions.weight",))
    yield from _affine("distilbert.embeddings.LayerNorm", "norm_embeddings")
    for n in range(config.n_layers):
        layer, block = f"distilbert.transformer.layer.{n}", f"layers.{n}"
        for kind in ("q", "k", "v", "out"):
            yield from _affine(f"{layer}.attention.{kind}_lin", f"{block}.attention.{kind}")
        yield from _affine(f"{layer}.sa_layer_norm", f"{block}.norm_1")
        yield from _affine(f"{layer}.ffn.lin1", f"{block}.feed_forward.up")
        yield from _affine(f"{layer}.ffn.lin2", f"{block}.feed_forward.down")
        yield from _affine(f"{layer}.output_layer_norm", f"{block}.norm_2")
    if config.unembedding:
        yield from _affine("vocab_transform", "unembedding.transform.dense")
        yield from _affine("vocab_layer_norm", "unembedding.transform.norm")
        yield Row(theirs="vocab_projector.bias", ours=("unembedding.bias",))


def _llama(config: TransformerConfig) -> Iterator[Row]:
    yield Row(theirs="model.embed_tokens.weight", ours=("embedding.weight",))
    for n in range(config.n_layers):
        layer, block = f"model.layers.{n}", f"layers.{n}"
        yield from _affine(f"{layer}.input_layernorm", f"{block}.norm_1", bias=False)
        for kind in ("q", "k", "v"):
            yield from _affine(
                f"{layer}.self_attn.{kind}_proj", f"{block}.attention.{kind}", bias=config.attention_bias
            )
        yield from _affine(f"{layer}.self_attn.o_proj", f"{block}.attention.out", bias=config.output_bias)
        if config.norm_heads:
            yield from _affine(f"{layer}.self_attn.q_norm", f"{block}.attention.norm_q", bias=False)
            yield from _affine(f"{layer}.self_attn.k_norm", f"{block}.attention.norm_k", bias=False)
        yield from _affine(f"{layer}.post_attention_layernorm", f"{block}.norm_2", bias=False)
        for kind in ("gate", "up", "down"):
            yield from _affine(f"{layer}.mlp.{kind}_proj", f"{block}.feed_forward.{kind}", bias=config.mlp_bias)
    yield from _affine("model.norm", "norm_final", bias=False)
    if config.unembedding and not config.tied:
        yield Row(theirs="lm_head.weight", ours=("unembedding.weight",))
