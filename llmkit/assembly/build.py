"""Build a plan for real, with fresh weights, and read a few tokens with it: what was counted against what was made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmkit.assembly.plan import Plan, to_config
from llmkit.assembly.saved import from_link
from llmkit.assembly.size import parameters, require_room

if TYPE_CHECKING:
    from llmkit.jobs.report import Report

TOKENS = 8
"""So many tokens are read, the vocabulary's first, to see that the machine runs."""


def build(plan: Plan) -> dict[str, Any]:
    """Assemble a plan and read TOKENS tokens with it.

    Returns:
        ``counted`` (from the plan) and ``built`` (numbers in the machine's own tensors), ``shape`` of what comes out,
        ``surprise`` (nats of the tokens that came, for a machine that predicts the next one; None for others) beside
        ``ignorance`` (ln of the vocabulary: what knowing nothing costs), and ``seconds``.

    Raises:
        PlanError: the plan is unfinished, does not fit, or needs more memory than there is.
    """
    import math

    import torch

    from llmkit.doctor import describe_machine
    from llmkit.parts import assemble

    config = to_config(plan)
    require_room(plan, free_bytes=describe_machine().memory_free_bytes)
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        machine = assemble(config).eval()
        input_ids = torch.arange(min(TOKENS, config.max_seq_len))[None] % config.vocab_size
        out = machine(input_ids)
        surprise = None
        if config.unembedding and config.causal and input_ids.shape[1] > 1:
            surprise = float(torch.nn.functional.cross_entropy(out[0, :-1].double(), input_ids[0, 1:]))
    return {
        "counted": parameters(plan),
        "built": sum(weight.numel() for weight in machine.parameters()),
        "shape": list(out.shape),
        "surprise": surprise,
        "ignorance": math.log(config.vocab_size),
        "seconds": time.perf_counter() - start,
    }


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``assemble``: settings are ``plan``, as in a link; see `build`."""
    report(0, 1, "building")
    return build(from_link(settings["plan"]))


def numel(plan: Plan) -> dict[str, int]:
    """Numbers in the tensors of the assembled machine, by part, without memory for them: ``attention``, ``norm`` …

    Source: ``torch.Tensor.numel`` on the meta device; a tied matrix counts where it stands first.
    """
    import torch

    from llmkit.parts import assemble

    with torch.device("meta"):
        machine = assemble(to_config(plan))
    found: dict[str, int] = {}
    for name, weight in machine.named_parameters():
        part = name.split(".")[2] if name.startswith("layers.") else name.split(".")[0]
        part = "norm" if part.startswith("norm") else part
        found[part] = found.get(part, 0) + weight.numel()
    return found
