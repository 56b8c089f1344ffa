"""What a model box is, read off its files, and how fast it is on this machine."""

import json
import struct
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

from llmkit import shelf
from llmkit.reference import BoxError
from llmkit.reference.config_file import read_config

RUNS = 5
MOST_TOKENS = 256


@dataclass(frozen=True, kw_only=True)
class BoxFacts:
    """A box that is here.

    Args:
        box_id, family: its id, and ``gpt2``, ``bert`` or ``llama``.
        causal: a token sees only itself and what came before (left to right); else both ways.
        n_layers, d_model, vocab_size: its build.
        context: the longest text, in tokens.
        parameters: numbers that its weight files hold; tied weights are stored once.
        size_bytes: of its weight files.
    """

    box_id: str
    family: str
    causal: bool
    n_layers: int
    d_model: int
    vocab_size: int
    context: int
    parameters: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class BoxSpeed:
    """How fast a box is here: the fastest of a few forward passes of one text; other work only makes it slower.

    Args:
        box_id, device: what ran, and where. tokens: of the text, cut at MOST_TOKENS or the context.
        open_s: to read the weights and assemble the parts. forward_s: one forward pass.
    """

    box_id: str
    device: str
    tokens: int
    open_s: float
    forward_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens read in a second of one forward pass."""
        return self.tokens / self.forward_s if self.forward_s else 0.0


def read_facts(box_id: str) -> BoxFacts:
    """Read a box's config and the heads of its weight files; no weight is loaded.

    Raises:
        ShelfError: there can be no such box.
        BoxError: it is not here, broken, or of a kind that the parts do not make.
    """
    folder = shelf.locate(box_id)
    if folder is None:
        raise BoxError("box_missing", box=box_id)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BoxError("box_broken", box=box_id, detail="no .safetensors file")
    kind, config = read_config(folder, unembedding=False)
    return BoxFacts(
        box_id=box_id,
        family={"distilbert": "bert", "qwen3": "llama"}.get(kind, kind),
        causal=config.causal,
        n_layers=config.n_layers,
        d_model=config.d_model,
        vocab_size=config.vocab_size,
        context=config.max_seq_len,
        parameters=sum(_parameters(path, box_id) for path in files),
        size_bytes=sum(path.stat().st_size for path in files),
    )


def measure_speed(box_id: str, text: str, *, device: str = "cpu") -> BoxSpeed:
    """Open a box anew and send a text through it a few times.

    Raises:
        BoxError, TokenizerError: it cannot be opened.
        TraceError: ``text_empty`` when the text has no token.
    """
    import torch

    from llmkit.reference import open_box
    from llmkit.trace import TraceError

    with torch.device("meta"):
        torch.nn.Embedding(1, 1)  # what torch loads when it is first used does not belong to the box
    started = time.perf_counter()
    box = open_box(box_id, device=device)
    open_s = time.perf_counter() - started
    ids = box.tokenizer.encode(text).ids[: min(MOST_TOKENS, box.config.max_seq_len)]
    if not ids:
        raise TraceError("text_empty", tokens=0, limit=MOST_TOKENS)
    batch = torch.tensor([ids], device=box.device)
    took = []
    with torch.inference_mode():
        for _ in range(RUNS):
            started = time.perf_counter()
            box.model(batch)
            if device != "cpu":
                torch.cuda.synchronize()
            took.append(time.perf_counter() - started)
    return BoxSpeed(box_id=box_id, device=device, tokens=len(ids), open_s=open_s, forward_s=min(took))


def _parameters(path: Path, box_id: str) -> int:
    """Numbers in a safetensors file, from its head: eight bytes of length, then JSON."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:
                raise ValueError("head too long")
            head = json.loads(file.read(length))
        return sum(prod(facts["shape"]) for name, facts in head.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BoxError("box_broken", box=box_id, detail=f"{path.name}: {error}") from error
