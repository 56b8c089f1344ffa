"""The forms that a box can take: which library computes it, and how its weights are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmkit.compress.errors import FormError

Engine = Literal["torch", "compiled", "quanto", "torchao", "bitsandbytes", "onnxruntime", "genai"]
Family = Literal["gpt2", "bert", "llama"]
DECODERS: frozenset[Family] = frozenset({"gpt2", "llama"})
ALL: frozenset[Family] = DECODERS | {"bert"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to write down and run the same box.

    Args:
        id: its name in links, folders and records ("quanto-int8").
        engine: the library that computes with it.
        weights: how its weights are written ("int4").
        bits: how many bits a weight of its linear layers takes, without scales.
        families: those that it can be made of.
        device: where it runs.
    """

    id: str
    engine: Engine
    weights: str
    bits: int
    families: frozenset[Family]
    device: Literal["cpu", "cuda"] = "cpu"


FORMS: tuple[Form, ...] = (
    Form(id="torch-float32", engine="torch", weights="float32", bits=32, families=ALL),
    Form(id="torch-compiled", engine="compiled", weights="float32", bits=32, families=ALL),
    Form(id="torch-bfloat16", engine="torch", weights="bfloat16", bits=16, families=ALL),
    Form(id="torch-float16", engine="torch", weights="float16", bits=16, families=ALL),
    Form(id="quanto-int8", engine="quanto", weights="int8", bits=8, families=ALL),
    Form(id="quanto-float8", engine="quanto", weights="float8", bits=8, families=ALL),
    Form(id="quanto-int4", engine="quanto", weights="int4", bits=4, families=ALL),
    Form(id="quanto-int2", engine="quanto", weights="int2", bits=2, families=ALL),
    Form(id="torchao-int8", engine="torchao", weights="int8", bits=8, families=ALL),
    Form(id="onnx-float32", engine="onnxruntime", weights="float32", bits=32, families=ALL),
    Form(id="onnx-int8", engine="onnxruntime", weights="int8", bits=8, families=ALL),
    Form(id="onnx-int4", engine="onnxruntime", weights="int4", bits=4, families=ALL),
    Form(id="genai-float32", engine="genai", weights="float32", bits=32, families=frozenset({"llama"})),
    Form(id="genai-int8", engine="genai", weights="int8", bits=8, families=frozenset({"llama"})),
    Form(id="genai-int4", engine="genai", weights="int4", bits=4, families=frozenset({"llama"})),
    Form(id="cuda-float32", engine="torch", weights="float32", bits=32, families=ALL, device="cuda"),
    Form(id="cuda-bfloat16", engine="torch", weights="bfloat16", bits=16, families=ALL, device="cuda"),
    Form(id="cuda-int8", engine="bitsandbytes", weights="int8", bits=8, families=ALL, device="cuda"),
    Form(id="cuda-nf4", engine="bitsandbytes", weights="nf4", bits=4, families=ALL, device="cuda"),
    Form(id="cuda-onnx", engine="onnxruntime", weights="float32", bits=32, families=ALL, device="cuda"),
)


def form(form_id: str) -> Form:
    """The form of that name.

    Raises:
        FormError: ``form_unknown``.

    >>> form("quanto-int8").bits
    8
    """
    for found in FORMS:
        if found.id == form_id:
            return found
    raise FormError("form_unknown", form=form_id)
