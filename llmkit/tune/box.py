"""From a run to a box: weights, tokenizer and configuration as the reference reads them, and a model card."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from llmkit.generate.sampling import Sampling
from llmkit.parts import Transformer, TransformerConfig, assemble
from llmkit.reference.naming import to_reference
from llmkit.tune.card import card
from llmkit.tune.corpus import END_OF_TEXT
from llmkit.tune.curve import draw_curve
from llmkit.tune.pretrain import Run, evaluate
from llmkit.tune.sample import MAX_NEW_TOKENS, SAMPLING, continue_text

PROMPTS = ("The movie was", "這本書", "《春夜》")
"""What the card lets a model of reviews and poems go on with."""

SEEDS = range(10)


def write_box(
    run: Run,
    folder: Path,
    *,
    command: str,
    about: Mapping[str, str] | None = None,
    prompts: Sequence[str] = PROMPTS,
    sampling: Sampling = SAMPLING,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> None:
    """Write a run as a box that ``GPT2LMHeadModel.from_pretrained`` and ``llmkit.reference.open_folder`` open.

    Weights are stored as float16; all figures of the card are of the weights as stored. The box holds
    ``model.safetensors``, ``config.json``, ``generation_config.json``, the tokenizer, the kept checkpoints as boxes
    of their own, ``training.json`` and ``log.jsonl`` with all figures, and ``README.md`` and ``curve.svg`` drawn
    from these two.

    Args:
        run: trained to its end, or as far as it is.
        folder: of the box; an older one is replaced once the new one is whole.
        command: what was typed to train.
        about: for a source's name, where its text comes from and its licence.
        prompts: each is continued once for each seed from 0 to 9, and every continuation is shown; those with more
            tokens than the model has positions are left out.
        sampling, max_new_tokens: how tokens are drawn (each continuation has a seed of its own), and how many at most.

    Raises:
        ValueError: when the run has not begun, or the folder holds something that is no box of this kind.
    """
    require_place(folder)
    log = read_log(run.folder / "log.jsonl")
    if not log:
        raise ValueError(f"{run.folder} holds no log: train first")
    half = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    _write_model(run, run.model.state_dict(), half)
    model = _as_stored(run, run.model.state_dict())
    facts = {
        "command": command,
        "config": asdict(run.config),
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": json.loads((run.folder / "machine.json").read_text(encoding="utf-8")),
        "tokens_per_epoch": run.corpus.tokens_per_epoch,
        "sources": [asdict(f) | {"about": (about or {}).get(f.name, "")} for f in run.corpus.figures],
        "end": {key: log[-1][key] for key in ("step", "tokens", "seconds", "share")} | {"held_out": _score(run, model)},
        "kept": [_write_kept(run, share, log, half) for share in run.config.keep_at if run.kept(share).exists()],
        "sampling": _settings(sampling) | {"max_new_tokens": max_new_tokens},
        "samples": [
            {
                "prompt": prompt,
                "continuations": [
                    asdict(
                        continue_text(
                            model, run.tokenizer, prompt, seed=seed, sampling=sampling, max_new_tokens=max_new_tokens
                        )
                    )
                    for seed in SEEDS
                ],
            }
            for prompt in prompts
            if len(run.tokenizer.encode(prompt).ids) <= run.config.max_seq_len
        ],
    }
    short = shorten(log)
    (half / "training.json").write_text(_json(facts), encoding="utf-8")
    (half / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in short), encoding="utf-8")
    (half / "curve.svg").write_text(draw_curve(short), encoding="utf-8")
    (half / "README.md").write_text(card(facts, short, name=folder.name), encoding="utf-8")
    _swap(half, folder)


def require_place(folder: Path) -> None:
    """Raise ``ValueError`` unless a box can be written here: nothing is replaced but an older box."""
    if not folder.name or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder} is no name for a box's folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / "training.json").exists():
        raise ValueError(f"{folder} holds something else than a box; name a folder that does not exist")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The steps of a run's ``log.jsonl``, each as the fields of ``Progress``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def shorten(log: Sequence[Mapping[str, Any]], *, every: int = 20) -> list[dict[str, Any]]:
    """A log small enough for a box: each ``every``-th step, measured ones and the last, each with the mean training
    loss since the row before."""
    short, losses = [], []
    for row in log:
        losses.append(row["loss"])
        if row["step"] % every == 0 or row["step"] == 1 or row["held_out"] or row is log[-1]:
            short.append({**row, "loss": sum(losses) / len(losses)})
            losses = []
    return short


def _score(run: Run, model: Transformer) -> dict[str, dict[str, float]]:
    """Loss on all held-out text of each source: nats per token, and bits per byte of UTF-8."""
    scores = {}
    for figures in run.corpus.figures:
        if figures.name not in run.corpus.held_out:
            continue
        nats = evaluate(model, run.corpus.held_out[figures.name], run.config, max_windows=None)
        bits = nats / math.log(2) * figures.held_out_tokens / figures.held_out_bytes
        scores[figures.name] = {"nats_per_token": nats, "bits_per_byte": bits}
    return scores


def _as_stored(run: Run, tensors: Mapping[str, torch.Tensor]) -> Transformer:
    model = assemble(run.config.parts)
    model.load_state_dict({name: tensor.half().float() for name, tensor in tensors.items()})
    return model.eval().requires_grad_(False)


def _write_kept(run: Run, share: float, log: Sequence[Mapping[str, Any]], box: Path) -> dict[str, Any]:
    """Write one kept checkpoint into ``checkpoints/001pct`` and the like; its figures."""
    tensors = load_file(run.kept(share))
    name = f"checkpoints/{round(share * 100):03}pct"
    _write_model(run, tensors, box / name)
    row = next(row for row in log if row["share"] >= share)
    return {
        "folder": name,
        **{key: row[key] for key in ("step", "tokens", "seconds", "share")},
        "held_out": _score(run, _as_stored(run, tensors)),
    }


def _write_model(run: Run, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """One model of a run, its weights as float16."""
    half = {name: tensor.half() for name, tensor in tensors.items()}
    write_gpt2(half, run.config.parts, run.tokenizer, folder, tokenizer_class="GPT2Tokenizer")


def write_gpt2(
    tensors: Mapping[str, torch.Tensor],
    config: TransformerConfig,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    tokenizer_class: str = "PreTrainedTokenizerFast",
) -> None:
    """Weights, configuration and tokenizer of a GPT-2, as the reference reads them.

    Args:
        tensors: of the parts, in the dtype in which they are to be stored. config: its parts list.
        tokenizer: with ``<|endoftext|>``. folder: made where it is not there.
        tokenizer_class: the reference's; its ``GPT2Tokenizer`` puts GPT-2's own cut into words in place of the file's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.token_to_id(END_OF_TEXT)
    theirs = to_reference(tensors, "gpt2", config)
    weights = folder / "model.safetensors"
    save_file(theirs, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors lets its owner alone read
    (folder / "config.json").write_text(
        _json(
            {
                "architectures": ["GPT2LMHeadModel"],
                "model_type": "gpt2",
                "vocab_size": config.vocab_size,
                "n_positions": config.max_seq_len,
                "n_embd": config.d_model,
                "n_layer": config.n_layers,
                "n_head": config.n_heads,
                "activation_function": {"gelu": "gelu", "gelu_tanh": "gelu_new"}[config.feed_forward],
                "layer_norm_epsilon": config.norm_eps,
                "resid_pdrop": 0.0,  # trained without dropout
                "embd_pdrop": 0.0,
                "attn_pdrop": 0.0,
                "tie_word_embeddings": True,
                "bos_token_id": end,
                "eos_token_id": end,
                "dtype": str(tensors["embedding.weight"].dtype).removeprefix("torch."),
            }
        ),
        encoding="utf-8",
    )
    (folder / "generation_config.json").write_text(
        _json(
            {
                "do_sample": True,
                "temperature": SAMPLING.temperature,
                "top_k": SAMPLING.top_k,
                "bos_token_id": end,
                "eos_token_id": end,
                "pad_token_id": end,
            }
        ),
        encoding="utf-8",
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(
        _json(
            {
                "tokenizer_class": tokenizer_class,
                "model_max_length": config.max_seq_len,
                "add_prefix_space": False,
                "clean_up_tokenization_spaces": False,
                "bos_token": END_OF_TEXT,
                "eos_token": END_OF_TEXT,
                "unk_token": END_OF_TEXT,
            }
        ),
        encoding="utf-8",
    )


def _settings(sampling: Sampling) -> dict[str, float]:
    """What a sampling changes, by name; the seed is each continuation's own."""
    left = asdict(Sampling())
    named = {name: value for name, value in asdict(sampling).items() if name != "seed"}
    return {name: value for name, value in named.items() if value != left[name] or name in ("temperature", "top_k")}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _swap(new: Path, folder: Path) -> None:
    """Put a finished folder in an older one's place."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
