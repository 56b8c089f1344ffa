"""The model card: a run told from its figures alone. The same figures give the same card."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
"""What ``training.json`` of a box holds."""


def card(facts: Facts, log: Sequence[Mapping[str, Any]], *, name: str) -> str:
    """A box's README.md.

    Args:
        facts: what ``training.json`` of the box holds.
        log: the rows of the box's ``log.jsonl``.
        name: of the box.
    """
    return "\n".join(
        [
            _head(facts, name),
            _text(facts),
            _training(facts, name),
            _losses(facts),
            _curve(log),
            _samples(facts),
            _limits(facts),
        ]
    )


def _head(facts: Facts, name: str) -> str:
    config, end = facts["config"], facts["end"]
    unfinished = "" if end["share"] >= 1 else f"\n**Not finished: {end['share']:.0%} of the run.**\n"
    return f"""---
language: [en, zh]
library_name: transformers
pipeline_tag: text-generation
tags: [gpt2, from-scratch, teaching]
---

# {name}
{unfinished}
A GPT-2 of {facts["parameters"]:,} parameters, trained from nothing with `python -m llmkit pretrain`, small enough
to be trained on a laptop and to be taken apart. Made for learning how a language model works; not for anything else.

從零訓練的小型 GPT-2，用來學習語言模型如何運作，請勿作其他用途。

| part | value |
|---|---|
| architecture | GPT-2 (`GPT2LMHeadModel`): learned positions, pre-norm, tied embedding |
| layers, heads, width | {config["n_layers"]}, {config["n_heads"]}, {config["d_model"]} |
| longest text | {config["max_seq_len"]} tokens |
| vocabulary | {config["vocab_size"]:,} tokens: byte-level BPE, trained on the same text |
| weights | float16, safetensors |

```python
from transformers import AutoTokenizer, GPT2LMHeadModel

tokenizer, model = AutoTokenizer.from_pretrained("{name}"), GPT2LMHeadModel.from_pretrained("{name}")
```
"""


def _text(facts: Facts) -> str:
    rows = [
        f"| {s['name']} | {s['about']} | {s['documents']:,} | {s['characters']:,} | {s['tokens']:,} "
        f"| {s['tokens'] / s['characters']:.2f} | {s['repeats']} | {s['held_out_documents']:,} |"
        for s in facts["sources"]
    ]
    return f"""## Text

| source | what it is | documents | characters | tokens | tokens a character | read in an epoch | held-out documents |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

One epoch is {facts["tokens_per_epoch"]:,} tokens. Documents are stripped of white space at both ends, shuffled, each
closed with `<|endoftext|>`, laid end to end and cut into windows of {facts["config"]["max_seq_len"]} tokens; nothing
else is done to them. About 2 % of the documents are held out, chosen by a hash of their text; the tokenizer and the
model never saw these.
"""


def _training(facts: Facts, name: str) -> str:
    config, end, machine = facts["config"], facts["end"], facts["machine"]
    rows = "\n".join(
        f"| {key} | {value} |"
        for key, value in {
            "steps": f"{end['step']:,}",
            "tokens seen": f"{end['tokens']:,} ({end['tokens'] / facts['tokens_per_epoch']:.2f} epochs)",
            "tokens a step": f"{config['batch_size'] * config['max_seq_len']:,}",
            "time": f"{end['seconds'] / 60:.1f} minutes of training steps",
            "speed": f"{end['tokens'] / end['seconds']:,.0f} tokens a second, on average",
            "machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads of torch",
            "versions": f"{machine['system']}, Python {machine['python']}, torch {machine['torch']}",
            "arithmetic": "float32, on the CPU",
            "optimisers": f"Muon with weight decay {config['weight_decay']} for the layers' matrices, "
            "AdamW for the rest; gradients clipped to norm 1",
            "learning rates": f"{config['matrix_learning_rate']:g} (Muon), {config['learning_rate']:g} (AdamW): "
            f"{config['warmup_steps']} steps up, then flat, "
            f"the last {config['decay_share']:.0%} down to zero",
            "seed": str(config["seed"]),
        }.items()
    )
    clock = """
The run was ended by the clock, so a faster or slower machine makes other weights; with `--max-steps` instead of
`--minutes` a run can be repeated.
"""
    return f"""## Training

| what | figure |
|---|---|
{rows}

```
{facts["command"]}
```
{clock if config["minutes"] else ""}"""


def _losses(facts: Facts) -> str:
    names = list(facts["end"]["held_out"])
    if not names:
        return "## Loss on held-out text\n\nNot measured: the text is so small that none of it was held out.\n"
    points = [*facts["kept"], {"folder": "this box", **facts["end"]}]
    rows = [
        f"| {p['folder']} | {p['step']:,} | {p['tokens']:,} | "
        + " | ".join(
            f"{p['held_out'][n]['nats_per_token']:.3f} / {p['held_out'][n]['bits_per_byte']:.3f}" for n in names
        )
        + " |"
        for p in points
    ]
    return f"""## Loss on held-out text

Nats per token / bits per byte of UTF-8, over all held-out text, with the weights as stored.

| checkpoint | steps | tokens seen | {" | ".join(names)} |
|---|---|---|{"---|" * len(names)}
{chr(10).join(rows)}
"""


def _curve(log: Sequence[Mapping[str, Any]]) -> str:
    picture = "![loss against tokens seen](curve.svg)\n"
    measured = [row for row in log if row["held_out"]]
    if not measured:
        return picture
    names = list(measured[0]["held_out"])
    rows = [
        f"| {row['step']:,} | {row['tokens']:,} | {row['loss']:.3f} | "
        + " | ".join(f"{row['held_out'][n]:.3f}" for n in names)
        + " |"
        for row in measured
    ]
    return f"""{picture}
<details><summary>The curve as numbers (at most 64 held-out windows a source; training loss is the mean since the row
before in log.jsonl)</summary>

| step | tokens seen | training | {" | ".join(names)} |
|---|---|---|{"---|" * len(names)}
{chr(10).join(rows)}

</details>
"""


def _samples(facts: Facts) -> str:
    if not facts["samples"]:
        return ""
    sampling = dict(facts["sampling"])
    max_new_tokens = sampling.pop("max_new_tokens")
    settings = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in sampling.items())
    blocks: list[str] = []
    seeds = 0
    for sample in facts["samples"]:
        seeds = len(sample["continuations"])
        texts = [
            f"[{c['seed']}] {sample['prompt']}{c['text']}{'' if c['ended'] else ' …'}".replace("\n", "\n    ")
            for c in sample["continuations"]
        ]
        blocks.append(f"### {sample['prompt']}\n\n{_fenced(chr(10).join(texts))}\n")
    return f"""## Samples, not picked

Seeds 0 to {seeds - 1}, all shown; {settings}, at most
{max_new_tokens} new tokens; the prompt as it stands, no token before it. `…`
marks a text that was cut, not ended by the model.

{chr(10).join(blocks)}"""


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _limits(facts: Facts) -> str:
    return f"""## Limits

It has read {facts["end"]["tokens"] / 1e6:.1f} million tokens, which is very little: it has learned the sound of its
texts, and no facts. Sentences drift, names and numbers are made up. Reviews and old poems carry the
opinions and the coarse words of the people who wrote them, and so can what it writes. It follows no instructions and
has learned nothing about safety.
"""
