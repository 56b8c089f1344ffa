"""Files that are either whole or as they were, so that a run can be stopped at any moment."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_atomically(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file. Tensors that share memory are copied."""
    half = path.with_suffix(".part")
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, half)
    os.replace(half, path)


def write_atomically(text: str, path: Path) -> None:
    """Write a text file, in UTF-8."""
    half = path.with_suffix(".part")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)
