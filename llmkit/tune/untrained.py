"""What a pre-trained box was before its first step: the same parts, the same seed, nothing learned."""

import json
from dataclasses import replace

import torch

from llmkit.parts import assemble
from llmkit.reference import Assembled
from llmkit.tune.pretrain import initialise


def untrained(box: Assembled) -> Assembled:
    """Make the model that a run began with; its seed stands in the box's ``training.json``.

    Args:
        box: a box that ``llmkit.tune`` pre-trained. It stays as it is.

    Returns:
        the same box with fresh weights; the process's own random numbers are left where they were.

    Raises:
        FileNotFoundError: the box was trained elsewhere.
    """
    seed = json.loads((box.folder / "training.json").read_text(encoding="utf-8"))["config"]["seed"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = initialise(assemble(box.config), box.config.n_layers)
    model.eval().requires_grad_(False).to(device=box.device, dtype=box.dtype)
    return replace(box, model=model)
