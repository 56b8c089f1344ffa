"""A pruned box on the shelf: its weights and a configuration that says how many layers, heads and neurons are left.

GPT-2's and BERT's configurations have no word for the width of a head: it is ``d_model / n_heads``. There, and where
LLaMA's width cannot be shared evenly, pruned heads are written as zeros in matrices of the old size. They compute the
same, and every page and the reference open them; their files are as big as before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmkit import shelf
from llmkit.compress.shelved import KEPT, LEFT_OUT, name_of
from llmkit.parts import Transformer, TransformerConfig
from llmkit.reference import Assembled
from llmkit.reference.naming import Kind as ReferenceKind
from llmkit.reference.naming import to_reference

COUNTS: Mapping[ReferenceKind, Mapping[str, str]] = {
    "gpt2": {"n_layers": "n_layer", "d_mlp": "n_inner"},
    "bert": {"n_layers": "num_hidden_layers", "d_mlp": "intermediate_size"},
    "distilbert": {"n_layers": "n_layers", "d_mlp": "hidden_dim"},
    "llama": {"n_layers": "num_hidden_layers", "d_mlp": "intermediate_size", "n_heads": "num_attention_heads"},
    "qwen3": {"n_layers": "num_hidden_layers", "d_mlp": "intermediate_size", "n_heads": "num_attention_heads"},
}
"""Our names of what pruning changes, and those of each kind's ``config.json``."""

CARD = """# {name}

{box}, pruned: {share:.0%} of its {what}, {order} first; then trained again for {steps} steps.
On held-out texts the loss was {original:.3f}; pruned {before:.3f}; trained again {after:.3f}.

{box} 剪枝：剪掉 {share:.0%} 的 {what}（順序：{order}），再訓練 {steps} 步。
沒看過的文字上，損失原本 {original:.3f}，剪完 {before:.3f}，訓練後 {after:.3f}。
"""


def put_on_shelf(
    box: Assembled, machine: Transformer, config: TransformerConfig, keep: Tensor | None, facts: Mapping[str, Any]
) -> str:
    """Put a pruned machine on the shelf; an older one of that name is replaced.

    Args:
        box: that it came of. machine, config: what is left.
        keep: where heads were pruned, bool [layers, heads], True for those that are left.
        facts: ``what``, ``order``, ``share``, ``steps``, ``original``, ``before``, ``after``, for its card.

    Returns:
        the new box's id.

    Raises:
        ShelfError: ``no_space``.
    """
    name = name_of(box.box_id, f"pruned-{facts['what']}-{round(100 * facts['share'])}-{facts['order']}")

    def build(folder: Path) -> None:
        write_box(box, machine, config, keep, folder)
        (folder / "README.md").write_text(CARD.format(name=name, box=box.box_id, **facts), encoding="utf-8")

    return shelf.put(name, build, made_from=box.box_id, pruned=dict(facts))


def write_box(
    box: Assembled, machine: Transformer, config: TransformerConfig, keep: Tensor | None, folder: Path
) -> None:
    """Write a pruned machine as a box that ``open_folder`` and the reference open; see `put_on_shelf`."""
    from safetensors.torch import save_file

    for pattern in KEPT:
        for path in box.folder.glob(pattern):
            if path.name not in LEFT_OUT:
                shutil.copyfile(path, folder / path.name)
    tensors = {name: tensor.detach().cpu().float() for name, tensor in machine.state_dict().items()}
    if keep is not None and not says_head_count(box, config):
        tensors, config = with_zero_heads(tensors, box.config, keep), box.config
    theirs = to_reference(tensors, box.kind, config)
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in theirs.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "model.safetensors").chmod(0o644)
    raw = json.loads((box.folder / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(new_config(raw, box.kind, config), indent=1, ensure_ascii=False)
    (folder / "config.json").write_text(text, encoding="utf-8")


def says_head_count(box: Assembled, config: TransformerConfig) -> bool:
    """Whether the reference's configuration can hold this many heads of the old width."""
    return config.n_heads == box.config.n_heads or (
        "n_heads" in COUNTS[box.kind] and config.d_model % config.n_heads == 0
    )


def new_config(raw: Mapping[str, Any], kind: ReferenceKind, config: TransformerConfig) -> dict[str, Any]:
    """The ``config.json`` of what is left."""
    new = {**raw, **{theirs: getattr(config, ours) for ours, theirs in COUNTS[kind].items()}, "dtype": "float32"}
    new.pop("torch_dtype", None)  # its older name
    if "n_heads" in COUNTS[kind]:
        new |= {"head_dim": config.head_dim, "num_key_value_heads": config.n_kv_heads}
    if isinstance(raw.get("layer_types"), list):
        new["layer_types"] = raw["layer_types"][: config.n_layers]
    return new


def with_zero_heads(tensors: Mapping[str, Tensor], config: TransformerConfig, keep: Tensor) -> dict[str, Tensor]:
    """A machine with fewer heads in matrices of the old size: queries, keys and values of pruned heads are zero, and
    what the output would read of them.

    Args:
        tensors: of the smaller machine. config: of the box that it came of. keep: bool, [layers, heads].
    """
    found = dict(tensors)
    grouped = config.n_kv_heads < config.n_heads
    for layer, row in enumerate(keep):
        places = (row.nonzero() * config.head_dim + torch.arange(config.head_dim)).flatten()
        for name in ("q",) if grouped else ("q", "k", "v"):
            for part in ("weight", "bias"):
                key = f"layers.{layer}.attention.{name}.{part}"
                if key in found:
                    old = found[key]
                    found[key] = old.new_zeros(config.n_heads * config.head_dim, *old.shape[1:])
                    found[key][places] = old
        key = f"layers.{layer}.attention.out.weight"
        old = found[key]
        found[key] = old.new_zeros(old.shape[0], config.n_heads * config.head_dim)
        found[key][:, places] = old
    return found
