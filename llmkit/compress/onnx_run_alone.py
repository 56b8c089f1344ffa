"""Run this box with ONNX Runtime alone.

    pip install onnxruntime tokenizers numpy
    python run.py "The movie was" --tokens 24

A decoder goes on with the text, the likeliest token each time; an encoder gives the text's vector.
On an NVIDIA GPU install onnxruntime-gpu[cuda,cudnn] and tensorrt instead of onnxruntime: --provider tensorrt --fp16
"""

import argparse
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent


def providers(name: str, fp16: bool) -> list[Any]:
    """What ONNX Runtime is asked for, in this order; what one does not take, the next one does."""
    wanted: list[Any] = ["CPUExecutionProvider"]
    if name != "cpu":
        wanted.insert(0, "CUDAExecutionProvider")
    if name == "tensorrt":
        engines = HERE / "tensorrt-engines"
        engines.mkdir(exist_ok=True)
        kept = {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines)}
        options = {"trt_fp16_enable": str(fp16), **kept}
        wanted.insert(0, ("TensorrtExecutionProvider", options))
    return wanted


def write(session: Any, facts: dict[str, Any], ids: list[int], tokens: int, ends: Collection[int | None]) -> list[int]:
    """Go on with a text: each step reads one token, and the keys and values of all before it come from the last."""
    names = [one.name for one in session.get_inputs() if one.name.startswith("past_key_values.")]
    kept = [np.zeros((1, facts["n_kv_heads"], 0, facts["head_dim"]), dtype=np.float32)] * len(names)
    given, past, new = ids, 0, list[int]()
    while len(new) < tokens and past + len(given) <= facts["max_seq_len"]:
        seen = past + len(given)
        feed = {
            "input_ids": np.array([given], dtype=np.int64),
            "attention_mask": np.ones((1, seen), dtype=np.int64),
            "position_ids": np.arange(past, seen, dtype=np.int64)[None],
            **dict(zip(names, kept, strict=True)),
        }
        logits, *kept = session.run(None, feed)
        given, past = [int(logits[0, -1].argmax())], seen
        if given[0] in ends:
            break
        new += given
    return new


def vector(session: Any, facts: dict[str, Any], ids: list[int]) -> list[float]:
    """The mean of the last states, of length 1."""
    row = np.array([ids[: facts["max_seq_len"]]], dtype=np.int64)
    feed = {"input_ids": row, "attention_mask": np.ones_like(row)}
    if any(one.name == "token_type_ids" for one in session.get_inputs()):
        feed["token_type_ids"] = np.zeros_like(row)
    mean = session.run(None, feed)[0][0].mean(0)
    found: list[float] = (mean / np.linalg.norm(mean)).tolist()
    return found


def main() -> None:
    """Read the command line, open the graph, answer."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("text")
    ask.add_argument("--tokens", type=int, default=24)
    ask.add_argument("--provider", choices=("cpu", "cuda", "tensorrt"), default="cpu")
    ask.add_argument("--fp16", action="store_true")
    asked = ask.parse_args()
    if asked.provider != "cpu" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    wanted = providers(asked.provider, asked.fp16)
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=wanted)
    sys.stderr.write(", ".join(session.get_providers()) + "\n")
    facts = json.loads((HERE / "export.json").read_text(encoding="utf-8"))
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(asked.text).ids
    if not ids:
        sys.exit("This text gives no token.")
    if not facts["causal"]:
        sys.stdout.write(json.dumps(vector(session, facts, ids)) + "\n")
        return
    ends = config.get("eos_token_id")
    new = write(session, facts, ids, asked.tokens, ends if isinstance(ends, list) else [ends])
    sys.stdout.write(asked.text + tokenizer.decode(new) + "\n")


if __name__ == "__main__":
    main()
