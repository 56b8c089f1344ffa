"""The open inference protocol (KServe v2) over HTTP with JSON, as Triton speaks it: requests as data, answers as data.

Source: KServe's "Open Inference Protocol V2"; Triton's ``/v2/models/NAME/infer``.
"""

from __future__ import annotations

import re
from typing import Any

MOST_MESSAGE = 500


def infer_path(model: str) -> str:
    """Where a model is asked."""
    return f"/v2/models/{model}/infer"


def body(prompt: str, *, max_tokens: int | None = None) -> dict[str, Any]:
    """What is sent to the model of a repository of ours that reads text.

    >>> body("Hi", max_tokens=3)["inputs"][1]
    {'name': 'max_tokens', 'shape': [1, 1], 'datatype': 'INT32', 'data': [3]}
    """
    inputs = [_input("prompt", "BYTES", prompt)]
    if max_tokens is not None:
        inputs.append(_input("max_tokens", "INT32", max_tokens))
    return {"inputs": inputs}


def outputs(data: Any) -> dict[str, list[Any]]:
    """An answer's tensors by name, flat as they come; empty where it is no such answer.

    >>> outputs({"outputs": [{"name": "text", "data": ["Hi"]}]}), outputs([]), outputs({"outputs": 3})
    ({'text': ['Hi']}, {}, {})
    """
    listed = data.get("outputs") if isinstance(data, dict) else None
    found = {}
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("data"), list):
            found[one["name"]] = one["data"]
    return found


def can(metadata: Any) -> tuple[str, ...]:
    """What a model can be asked for, told from its outputs: ``completions``, ``embeddings``.

    Args:
        metadata: what ``/v2/models/NAME`` answers.
    """
    listed = metadata.get("outputs") if isinstance(metadata, dict) else None
    names = {one.get("name") for one in listed if isinstance(one, dict)} if isinstance(listed, list) else set()
    return tuple(what for name, what in (("text", "completions"), ("embedding", "embeddings")) if name in names)


def parameter(config: Any, name: str) -> str | None:
    """A parameter of a model's configuration, which ``/v2/models/NAME/config`` answers."""
    found = config.get("parameters") if isinstance(config, dict) else None
    one = found.get(name) if isinstance(found, dict) else None
    value = one.get("string_value") if isinstance(one, dict) else None
    return value if isinstance(value, str) else None


def refusal(message: str, otherwise: str) -> tuple[str, str]:
    """Name and words of an error: our models put the name first, other servers say words alone.

    >>> refusal("prompt_empty: Write something.", "http_400"), refusal("Not Found", "http_404")
    (('prompt_empty', 'Write something.'), ('http_404', 'Not Found'))
    """
    found = re.fullmatch(r"([a-z]+(?:_[a-z]+)+): (.+)", message, flags=re.DOTALL)
    return (found[1][:60], found[2][:MOST_MESSAGE]) if found else (otherwise, message[:MOST_MESSAGE])


def _input(name: str, datatype: str, value: str | int) -> dict[str, Any]:
    return {"name": name, "shape": [1, 1], "datatype": datatype, "data": [value]}
