"""torch.compile: the box's own float32 weights; PyTorch writes C++ for one block and runs every layer with it.

Compiled is one block, not the whole model: all layers are the same code with other weights, so it is done in seconds
where the whole machine would take minutes. Source: PyTorch's recipe "regional compilation".
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from itertools import product
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form

if TYPE_CHECKING:
    from llmkit.compress.made import Progress
    from llmkit.compress.parts_runner import PartsRunner
    from llmkit.compress.runner import Runner
    from llmkit.parts import Transformer

WARM_TOKENS, WARM_STEPS = (6, 9), 3
"""Of the texts that are read and gone on with while opening, so that nothing is left to compile afterwards: a size
that is met twice, differently, is left open from then on."""


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; asks no torch."""
    asked = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if shutil.which(asked) is None:
        return FormError("form_missing", form=form.id, detail=f"no C++ compiler ({asked})")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        return FormError("form_missing", form=form.id, detail="Python's header files are not installed (Python.h)")
    return None


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Nothing is written: it is opened from the box's own files, and compiled then."""


def open_runner(form: Form, box_folder: Path, made_folder: Path) -> Runner:
    """Open the box and compile, for one text and for several, reading and writing; ``about`` says how long that took.

    Raises:
        FormError: ``form_broken`` where the compiler does not get through. BoxError: the box is broken.
    """
    from llmkit.compress.parts_runner import PartsRunner, open_parts

    runner = PartsRunner(form, box_folder.name, with_compiled_blocks(open_parts(box_folder)))
    began = time.perf_counter()
    try:
        _warm(runner)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise FormError("form_broken", form=form.id, detail=f"{type(error).__name__}: {first}") from error
    runner.about["compile_s"] = round(time.perf_counter() - began, 2)
    return runner


def with_compiled_blocks(model: Transformer) -> Transformer:
    """The same machine; its blocks share one compiled function, and everything around them stays as it is."""
    import torch
    from torch import Tensor, nn

    from llmkit.parts import KVCache

    class Given(KVCache):
        """One layer's keys and values, joined with what is new."""

        def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            if 0 in self.keys:
                k, v = torch.cat((self.keys[0], k), dim=2), torch.cat((self.values[0], v), dim=2)
            self.keys[0], self.values[0] = k, v
            return k, v

    def through(block: nn.Module, x: Tensor, view: Any, keys: Tensor | None, values: Tensor | None) -> Any:
        cache = Given()
        if keys is not None and values is not None:
            cache.keys[0], cache.values[0] = keys, values
        x = block(x, view, cache=cache, layer=0)
        return x, cache.keys[0].contiguous(), cache.values[0].contiguous()

    # code of its own: PyTorch counts what it has compiled by code, and gives up after eight
    own = FunctionType(through.__code__.replace(), through.__globals__, closure=through.__closure__)
    compiled = torch.compile(own, dynamic=True)

    class Compiled(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(
            self, x: Tensor, view: Any, *, cache: KVCache | None = None, layer: int = 0, tap: Any = None
        ) -> Any:
            kept = cache or Given()
            x, keys, values = compiled(self.block, x, view, kept.keys.get(layer), kept.values.get(layer))
            kept.keys[layer], kept.values[layer] = keys, values
            return x

    return model.with_parts(blocks=[Compiled(block) for block in model.layers])


def _warm(runner: PartsRunner) -> None:
    """Meet every shape that there will be: one text and several, whole and token after token."""
    for rows, tokens in product((1, 3), WARM_TOKENS):
        ids = np.ones((rows, tokens), dtype=np.int64)
        runner.scores(ids)
        if runner.causal:
            reading = runner.read(ids)
            for _ in range(WARM_STEPS):
                reading.step(ids[:, 0])
            reading.close()
