"""Open a box: its weights fitted onto our parts, its tokenizer beside them. No model code of the reference runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llmkit import shelf
from llmkit.parts import Transformer, TransformerConfig, assemble
from llmkit.reference.config_file import read_config
from llmkit.reference.errors import BoxError
from llmkit.reference.naming import Kind, plain_names, to_parts
from llmkit.tokens import Tokenizer

Family = Literal["gpt2", "bert", "llama"]
_FAMILY: dict[Kind, Family] = {
    "gpt2": "gpt2",
    "bert": "bert",
    "distilbert": "bert",
    "llama": "llama",
    "qwen3": "llama",
}


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A box, opened: read it, never change it, since it may be shared.

    Args:
        box_id: its id on the shelf, or the folder's name.
        folder: where it lies.
        kind: the reference's model type.
        config: its parts list.
        model: the parts, weights fitted, in evaluation mode, without gradients.
        tokenizer: cuts text as this box was trained on.
    """

    box_id: str
    folder: Path
    kind: Kind
    config: TransformerConfig
    model: Transformer
    tokenizer: Tokenizer

    @property
    def family(self) -> Family:
        """Which of the three parts lists the box follows."""
        return _FAMILY[self.kind]

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.model.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.embedding.weight.device


def open_box(box_id: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Assembled:
    """Open a box of the shelf.

    Args:
        box_id: its id (``gpt2-starter``), or ``folder:/path`` or ``hub:owner/name``.
        dtype: what the weights are turned into.
        device: where they are put (``cpu``, ``cuda``).

    Raises:
        BoxError: when the box is not here, is broken, or is of a kind that the parts do not make.
        TokenizerError: when its tokenizer is.
    """
    folder = shelf.locate(box_id)
    if folder is None:
        raise BoxError("box_missing", box=box_id)
    return open_folder(folder, box_id=box_id, dtype=dtype, device=device)


def open_folder(
    folder: Path, *, box_id: str | None = None, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Assembled:
    """Open a box that lies in a folder; see `open_box`."""
    tensors = read_tensors(folder)
    kind, config = read_config(folder, unembedding=_has_masked_head(tensors))
    tokenizer = Tokenizer.from_folder(folder)
    with torch.device("meta"):
        model = assemble(config)
    try:
        fitted = to_parts(plain_names(tensors, kind), kind, config)
        fitted = {name: tensor.to(device=device, dtype=dtype) for name, tensor in fitted.items()}
        if config.tied and config.unembedding:
            fitted["unembedding.weight"] = fitted["embedding.weight"]
        model.load_state_dict(fitted, assign=True)
    except KeyError as error:
        raise BoxError("box_broken", box=folder.name, detail=f"model.safetensors lacks {error}") from error
    except RuntimeError as error:
        raise BoxError("box_broken", box=folder.name, detail=str(error).splitlines()[-1].strip()) from error
    if config.tied and model.unembedding is not None:
        model.unembedding.weight = model.embedding.weight
    model.eval().requires_grad_(False)
    return Assembled(
        box_id=box_id or folder.name,
        folder=folder,
        kind=kind,
        config=config,
        model=model,
        tokenizer=tokenizer,
    )


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files, under the names in the files.

    Raises:
        BoxError: ``box_broken`` when there is no such file, or one cannot be read; it is named.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BoxError("box_broken", box=folder.name, detail="no .safetensors file")
    tensors = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BoxError("box_broken", box=folder.name, detail=f"{path.name}: {error}") from error
    return tensors


def _has_masked_head(tensors: dict[str, Tensor]) -> bool:
    return "cls.predictions.transform.dense.weight" in tensors or "vocab_transform.weight" in tensors
