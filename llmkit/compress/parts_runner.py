"""A form that our own parts compute: the parts are the box's, only their linear layers' weights are written otherwise.

Every linear layer of the parts is an ``nn.Linear``, in all families; embedding and unembedding are not, so they stay
as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form
from llmkit.compress.runner import Ids, Reading, Scores
from llmkit.parts import KVCache, Transformer, assemble
from llmkit.reference.box import open_folder
from llmkit.reference.config_file import read_config

WEIGHTS = "model.safetensors"


class PartsReading:
    """Texts that parts have read, with their cache; see ``Reading``."""

    def __init__(self, model: Transformer, input_ids: Ids) -> None:
        self._model, self._cache = model, KVCache()
        self.logits: Scores = np.empty((0, 0), dtype=np.float32)
        self._go_on(torch.from_numpy(np.ascontiguousarray(input_ids, dtype=np.int64)))

    def step(self, tokens: Ids) -> None:
        """Append one token to each text."""
        self._go_on(torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))[:, None])

    def close(self) -> None:
        """Give the memory back."""
        self._cache = KVCache()

    def _go_on(self, input_ids: Tensor) -> None:
        device = self._model.embedding.weight.device
        with torch.no_grad():  # not inference_mode: quanto's tensors know nothing of it
            hidden = self._model.with_parts(unembedding=None)(input_ids.to(device), cache=self._cache)
            assert self._model.unembedding is not None
            logits = self._model.unembedding(hidden[:, -1])  # of the last token alone: [B, V]
        self.logits = logits.float().cpu().numpy()


class PartsRunner:
    """Parts that are open; see ``Runner``.

    Args:
        form: which form. box: the box's name, for errors. model: the parts; without an unembedding, an encoder.
    """

    def __init__(self, form: Form, box: str, model: Transformer) -> None:
        self._form, self._box = form, box
        self.model: Transformer | None = model.eval().requires_grad_(False)
        self.causal = model.causal
        self.about: dict[str, Any] = {}
        """What the form's process tells of itself on the bench."""

    def scores(self, input_ids: Ids) -> Scores:
        """[B, T] → logits [B, T, V], or an encoder's final states [B, T, D]."""
        model = self._open
        ids = torch.from_numpy(np.ascontiguousarray(input_ids, dtype=np.int64))
        with torch.no_grad():
            found: Tensor = model(ids.to(model.embedding.weight.device))
        scores: Scores = found.float().cpu().numpy()
        return scores

    def read(self, input_ids: Ids) -> Reading:
        """Read texts and keep their keys and values.

        Raises:
            FormError: ``form_unsupported``, an encoder predicts no next token.
        """
        if not self._open.causal:
            raise no_next_token(self._form, self._box)
        return PartsReading(self._open, input_ids)

    def close(self) -> None:
        """Give the memory back."""
        self.model = None

    @property
    def _open(self) -> Transformer:
        if self.model is None:
            raise ValueError("this form was closed")
        return self.model


def no_next_token(form: Form, box: str) -> FormError:
    """What an encoder's ``read`` raises, in every form."""
    return FormError("form_unsupported", form=form.id, box=box, detail="it predicts no next token")


def open_parts(box_folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Transformer:
    """A box as parts; an encoder ends in its final states.

    Raises:
        BoxError: the box is broken, or not of a kind that the parts make.
    """
    model = open_folder(box_folder, dtype=dtype, device=device).model
    return model if model.causal else model.with_parts(unembedding=None)


def empty_parts(box_folder: Path) -> Transformer:
    """The same parts without weights, on torch's device ``meta``: weights are then assigned."""
    _, config = read_config(box_folder, unembedding=False)
    with torch.device("meta"):
        return assemble(config)


def tie(model: Transformer, box_folder: Path) -> Transformer:
    """Let the unembedding use the embedding's own matrix again, where the box ties them."""
    _, config = read_config(box_folder, unembedding=False)
    if config.tied and model.unembedding is not None:
        model.unembedding.weight = model.embedding.weight
    return model


def to_keep(model: Transformer, state: Mapping[str, Tensor], box_folder: Path) -> dict[str, Tensor]:
    """What to write of a model's state: a tied matrix once, and what was not quantised as the box itself keeps it.

    Args:
        model: the parts as they were before, for the names of what a box holds. state: tensors by name.
    """
    _, config = read_config(box_folder, unembedding=False)
    stored, plain = stored_dtype(box_folder), set(model.state_dict())
    kept = {}
    for name, tensor in state.items():
        if name == "unembedding.weight" and config.tied:
            continue
        tensor = tensor.detach().to(stored) if name in plain else tensor.detach()
        kept[name] = tensor.clone().contiguous()
    return kept


def stored_dtype(box_folder: Path) -> torch.dtype:
    """The dtype in which a box's file keeps its embedding."""
    names = {"F16": torch.float16, "BF16": torch.bfloat16}
    for path in sorted(box_folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                if "embed" in name or "wte" in name:
                    return names.get(file.get_slice(name).get_dtype(), torch.float32)
    return torch.float32


def plain_dtype(tensor: Tensor) -> Tensor:
    """Half-precision tensors as float32, which is computed with."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def reading_files(form: Form, read: Callable[[], Transformer]) -> Transformer:
    """Open a form's own files; whatever is wrong with them is one error.

    Raises:
        FormError: ``form_broken``.
    """
    from safetensors import SafetensorError

    try:
        return read()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise FormError("form_broken", form=form.id, detail=f"{type(error).__name__}: {first}") from error
