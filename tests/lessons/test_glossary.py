"""The glossary covers what the guide and its parts name, and its names of settings are those that really exist."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any, get_args

import pytest
from torch import nn
from transformers import BertConfig, GPT2Config, LlamaConfig

from lessons import glossary, registry
from llmkit import parts
from llmkit.parts import KVCache, TransformerConfig
from llmkit.reference.config_file import read_config

TERMS = glossary.terms()
CONFIGS: dict[str, Any] = {
    "gpt2": GPT2Config(
        vocab_size=101,
        n_embd=48,
        n_layer=3,
        n_head=4,
        n_inner=91,
        n_positions=77,
        layer_norm_epsilon=3e-5,
        activation_function="gelu_new",
        tie_word_embeddings=False,
    ),
    "bert": BertConfig(
        vocab_size=103,
        hidden_size=60,
        num_hidden_layers=5,
        num_attention_heads=6,
        intermediate_size=93,
        max_position_embeddings=79,
        type_vocab_size=3,
        layer_norm_eps=5e-12,
        hidden_act="gelu",
    ),
    "llama": LlamaConfig(
        vocab_size=107,
        hidden_size=72,
        num_hidden_layers=7,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=14,
        intermediate_size=97,
        max_position_embeddings=83,
        rms_norm_eps=7e-6,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 5e4, "factor": 3.0},
    ),
}
"""One configuration of each family; no two numbers of one are alike, so that no name can stand for another."""

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "silu": "swiglu"}


def test_every_entry_is_whole_and_its_own() -> None:
    assert 90 <= len(TERMS) <= 220
    for column in ("key", "zh", "en", "zh_means", "en_means"):
        values = [getattr(term, column) for term in TERMS]
        assert all(value.strip() for value in values), column
        assert len(set(values)) == len(values), column


def test_no_word_is_marked_for_two_terms_of_one_step() -> None:
    owners = [(term.step, mark.lower()) for term in TERMS for mark in term.marks]
    assert len(set(owners)) == len(owners), sorted(owner for owner in owners if owners.count(owner) > 1)


def test_meanings_are_short() -> None:
    assert not [term.key for term in TERMS if len(term.zh_means) > 70 or len(term.en_means) > 140]


def test_every_entry_leads_to_a_step() -> None:
    slugs = {step.slug for step in registry.STEPS}
    assert {term.step for term in TERMS} <= slugs
    assert {slug for term in TERMS for slug in term.pages} <= slugs


def test_every_part_is_explained() -> None:
    made = {
        name
        for name in parts.__all__
        if inspect.isclass(getattr(parts, name)) and issubclass(getattr(parts, name), nn.Module | KVCache)
    }
    explained = [part for term in TERMS for part in term.parts]
    assert made <= set(explained)
    assert set(explained) <= set(parts.__all__)
    assert len(set(explained)) == len(explained)


def test_every_setting_of_a_model_is_explained_once() -> None:
    explained = [name for term in TERMS for name in term.names]
    assert sorted(explained) == sorted(field.name for field in dataclasses.fields(TransformerConfig))


def test_every_name_of_a_setting_really_is_that_setting(tmp_path: Path) -> None:
    """Each configuration is written as Hugging Face writes it, read as ours, and the two names hold one value."""
    for family, config in CONFIGS.items():
        config.save_pretrained(tmp_path / family)
        ours = read_config(tmp_path / family, unembedding=True)[1]
        written = config.to_dict()
        for term in TERMS:
            for name, families in term.names.items():
                assert set(families) <= set(glossary.FAMILIES), name
                if family not in families:
                    continue
                theirs = families[family]
                assert theirs in written, f"{family} has no {theirs}"
                assert same(name, getattr(ours, name), written[theirs]), f"{family}: {name} is not {theirs}"


def same(name: str, ours: Any, theirs: Any) -> bool:
    """Whether a setting of ours holds what Hugging Face's does, in its own words for activations and rotation."""
    if name == "feed_forward":
        return bool(ours == ACTIVATIONS[theirs])
    if name == "rope_theta":
        return bool(ours == theirs["rope_theta"])
    if name == "rope_scaling":
        return (ours.kind, ours.factor) == (theirs["rope_type"], theirs["factor"])
    return bool(ours == theirs)


def test_settings_that_every_family_names_have_all_names() -> None:
    names = {name: families for term in TERMS for name, families in term.names.items()}
    shared = (
        "vocab_size",
        "d_model",
        "n_layers",
        "n_heads",
        "d_mlp",
        "max_seq_len",
        "norm_eps",
        "feed_forward",
        "tied",
    )
    for name in shared:
        assert set(names[name]) == set(glossary.FAMILIES), name


def test_the_kinds_of_positions_and_norms_have_entries() -> None:
    known = {part for term in TERMS for part in term.parts}
    kinds = {"learned": "LearnedPositions", "sinusoidal": "SinusoidalPositions", "rotary": "RotaryPositions"}
    kinds["alibi"] = "ALiBiPositions"
    assert set(get_args(parts.config.Positions)) - {"none"} == set(kinds)
    assert set(kinds.values()) <= known


def test_one_entry_by_its_name() -> None:
    assert glossary.term("d_model").names["d_model"]["gpt2"] == "n_embd"
    with pytest.raises(KeyError):
        glossary.term("flux_capacitor")
