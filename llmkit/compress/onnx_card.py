"""The card of an ONNX folder: what it is, where it comes from, what goes in, how close it is, how it is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.compress.form import Form
    from llmkit.compress.onnx_graph import Graph, Port
    from llmkit.shelf import Box

UNKNOWN = "unknown: see where the box comes from"


def card(
    *,
    box: Box,
    name: str,
    form: Form,
    family: str,
    graph: Graph,
    facts: Mapping[str, Any],
    made: Mapping[str, Any],
    files: Mapping[str, int],
) -> str:
    """README.md of a complete folder.

    Args:
        box: the catalogue's entry. name: of the folder. facts: what ``export.json`` holds. made: what
            ``form.json`` does. files: their sizes in bytes.
    """
    return "\n".join(
        (
            _head(box, name, form, family, graph, made),
            _delta(facts),
            _ports(graph),
            _files(files),
            _running(bool(facts["causal"])),
        )
    )


def _head(box: Box, name: str, form: Form, family: str, graph: Graph, made: Mapping[str, Any]) -> str:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in graph.opsets.items())
    versions = ", ".join(f"{package} {version}" for package, version in made.get("versions", {}).items())
    rows = {
        "source box": _cell(source(box)),
        "licence": _cell(box.licence if box.licence not in ("", "unknown") else UNKNOWN),
        "family": family,
        "languages": _cell(", ".join(box.languages)) or "–",
        "form": f"{form.id}: weights as {form.weights}",
        "operators": f"{graph.nodes:,} ({len(graph.operators)} kinds)",
        "weights": f"{graph.weights:,} tensors, {graph.weights_bytes:,} bytes",
        "opset": opsets,
        "made with": f"torch.onnx.export from the guide's own parts; {versions}",
        "made on": str(made.get("date", "")),
    }
    # JSON is YAML, so that no name can break out of it
    licence = json.dumps(box.licence.lower() if box.licence not in ("", "unknown") else "other")
    listed = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""---
license: {licence}
library_name: onnxruntime
tags: [onnx, {family or "transformer"}]
---

# {_cell(name)}

A box of the LLM Assembly Guide as an ONNX graph, with everything that it takes to run it.

LLM 組裝指南的模型箱，匯出成 ONNX 圖；要用的檔案都在這個資料夾裡。

| what | |
|---|---|
{listed}
"""


def source(box: Box) -> str:
    """Where a box comes from, without this machine's paths.

    >>> from llmkit.shelf import entry
    >>> source(entry("gpt2-starter")), source(entry("folder:/home/me/my-box"))
    ('gpt2-starter', 'my-box (a folder of its own)')
    """
    first = box.sources[0]
    if first.kind == "folder":
        return f"{first.name.rstrip('/').rpartition('/')[2]} (a folder of its own)"
    if first.kind == "bundled":
        return box.id
    return f"{box.id} ({first.kind}: {first.name} {first.version})".replace(" )", ")")


def _delta(facts: Mapping[str, Any]) -> str:
    whole, cached = facts["max_delta"]["whole"], facts["max_delta"].get("cached")
    lines = [f"| whole texts | {whole:.1e} |"]
    if cached is not None:
        lines.append(f"| token after token, from the cache | {cached:.1e} |")
    listed = "\n".join(lines)
    return f"""## How close it is

Greatest difference from PyTorch in any number, measured on two texts when it was made:

| | max abs difference |
|---|---|
{listed}
"""


def _ports(graph: Graph) -> str:
    def table(ports: Sequence[Port]) -> str:
        shown = [one for one in ports if not one.name.startswith(("past_key_values.", "present."))]
        kept = [one for one in ports if one not in shown]
        rows = [f"| `{_code(one.name)}` | {one.dtype} | {_shape(one)} |" for one in shown]
        if kept:
            between = f"`{kept[0].name}` … `{kept[-1].name}` ({len(kept)})"
            rows.append(f"| {between} | {kept[0].dtype} | {_shape(kept[0])} |")
        return "\n".join(rows)

    head = "| name | type | shape |\n|---|---|---|"
    return f"""## What goes in

{head}
{table(graph.inputs)}

Named sizes are free. A new text starts with `past_len` 0.

## What comes out

{head}
{table(graph.outputs)}
"""


def _shape(port: Port) -> str:
    return "[" + ", ".join(str(size) for size in port.shape) + "]"


def _files(files: Mapping[str, int]) -> str:
    rows = "\n".join(f"| {name} | {size:,} |" for name, size in files.items())
    return f"""## Files

| file | bytes |
|---|---|
{rows}
"""


def _running(causal: bool) -> str:
    what = "It goes on with the text." if causal else "It gives the text's vector, as JSON."
    return f"""## Run it

```sh
pip install onnxruntime tokenizers numpy
python run.py "The movie was"
```

{what} On an NVIDIA GPU install `onnxruntime-gpu[cuda,cudnn]` (instead of `onnxruntime`, never beside
it) and `tensorrt`, and add `--provider tensorrt --fp16`; the engines are built in the first run and kept in
`tensorrt-engines/`.
"""


def _code(text: str) -> str:
    """Text between backticks."""
    return " ".join(text.split()).replace("`", "'").replace("|", "/")


def _cell(text: str) -> str:
    """Text that a Markdown table leaves as it is."""
    return "".join(f"\\{char}" if char in "|`*_<>[]\\" else char for char in " ".join(text.split()))
