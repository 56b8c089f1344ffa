"""The model ``box`` of a Triton model repository: text in, text or a vector out. Written to be read.

It stands alone: numpy, onnxruntime, tokenizers and what Triton's Python backend brings. ``box.json`` and
``tokenizer.json`` lie beside it; the graph is that of the repository's other model, ``graph``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

MOST_BYTES = 1_000_000
"""Of a prompt; a longer one is refused before it is cut into tokens."""

PIECE = 64
"""Tokens of a prompt that are read at once: the logits of all of them are in memory."""

USUAL_TOKENS = 256
"""As long is a text at most when the request does not say."""


MOST_S = 120.0
"""So long a batch is written at most: over HTTP this server does not say who has hung up, so nothing else ends it."""


class RefusedError(Exception):
    """A request that is not answered; the text begins with a code.

    Args:
        kind: Triton's name for it, from which it takes the status of HTTP.
    """

    def __init__(self, message: str, kind: str = "INVALID_ARG") -> None:
        super().__init__(message)
        self.kind = kind


_TOO_SLOW = RefusedError(f"timeout: The answer took longer than {MOST_S:g} s. Ask for fewer tokens.", "UNAVAILABLE")


class TritonPythonModel:
    """What Triton calls: ``initialize`` once, ``execute`` with the requests that it has put together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the tokenizer and the graph."""
        here = Path(args["model_repository"]) / args["model_version"]
        facts = json.loads((here / "box.json").read_text(encoding="utf-8"))
        self.causal, self.limit = bool(facts["causal"]), int(facts["context_length"])
        self.before, self.stop_ids = facts["before"], frozenset(facts["stop_ids"])
        self.tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        graph = here.parent.parent / "graph" / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        self.inputs = {one.name: one.shape for one in self.session.get_inputs()}
        self.past = [name for name in self.inputs if name.startswith("past_key_values.")]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer some requests in one batch; each has one text or more."""
        texts: list[list[int]] = []
        most: list[int] = []
        wanted: list[list[int] | RefusedError] = []  # of each request, which texts are its own
        for request in requests:
            try:
                found = self._read(request)
            except RefusedError as error:
                wanted.append(error)
                continue
            wanted.append(list(range(len(texts), len(texts) + len(found))))
            texts += [ids for ids, _ in found]
            most += [n for _, n in found]
        if self.causal:
            until = time.monotonic() + MOST_S
            written = self.write(
                texts, most, lambda: time.monotonic() > until or all(request.is_cancelled() for request in requests)
            )
            late = {row for row, ids in enumerate(written) if len(ids) < most[row] and ids[-1] not in self.stop_ids}
            wanted = [_TOO_SLOW if isinstance(rows, list) and late & set(rows) else rows for rows in wanted]
            return [self._told(rows, lambda rows: self._texts(rows, texts, written)) for rows in wanted]
        vectors = self.vectors(texts)
        return [self._told(rows, lambda rows: _vectors(rows, texts, vectors)) for rows in wanted]

    def write(self, texts: Sequence[Sequence[int]], most: Sequence[int], over: Callable[[], bool]) -> list[list[int]]:
        """Go on with each text ([T] of token ids), always with the likeliest token.

        Texts of several lengths stand in one batch: filled up at their right, and what fills is seen by nobody.

        Args:
            most: tokens to write at most, of each. over: asked at each step whether nobody wants them any more.
        """
        if not texts:
            return []
        B, lengths = len(texts), np.array([len(ids) for ids in texts])
        ids = np.zeros((B, int(lengths.max())), dtype=np.int64)
        for row, one in enumerate(texts):
            ids[row, : len(one)] = one
        seen = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)  # [B, T]
        kept = [np.zeros((B, self.inputs[name][1], 0, self.inputs[name][3]), dtype=np.float32) for name in self.past]
        chosen = np.zeros(B, dtype=np.int64)
        for start in range(0, ids.shape[1], PIECE):
            stop = min(start + PIECE, ids.shape[1])
            places = np.tile(np.arange(start, stop), (B, 1))
            logits, kept = self._compute(ids[:, start:stop], seen[:, :stop], places, kept)
            for row in map(int, np.flatnonzero((lengths > start) & (lengths <= stop))):
                chosen[row] = logits[row, lengths[row] - 1 - start].argmax()
        written: list[list[int]] = [[] for _ in texts]
        going = np.array([n > 0 for n in most])
        while True:
            for row in map(int, np.flatnonzero(going)):
                written[row].append(int(chosen[row]))
                going[row] = len(written[row]) < most[row] and int(chosen[row]) not in self.stop_ids
            if not going.any() or over():
                return written
            seen = np.concatenate([seen, np.ones((B, 1), dtype=np.int64)], axis=1)
            places = np.minimum(lengths + max(map(len, written)) - 1, self.limit - 1)[:, None]
            logits, kept = self._compute(chosen[:, None], seen, places, kept)
            chosen = logits[:, -1].argmax(-1)

    def vectors(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """The mean of each text's final states, of length 1: [B, D]."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        T = max(map(len, texts))
        ids = np.array([[*one, *[0] * (T - len(one))] for one in texts], dtype=np.int64)
        seen = np.array([[1] * len(one) + [0] * (T - len(one)) for one in texts], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": seen}
        if "token_type_ids" in self.inputs:
            feed["token_type_ids"] = np.zeros_like(ids)
        states = self.session.run(None, feed)[0]  # [B, T, D]
        mean = (states * seen[..., None]).sum(1) / seen.sum(1, keepdims=True)
        length_one: np.ndarray = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
        return length_one.astype(np.float32)

    def _compute(
        self, ids: np.ndarray, seen: np.ndarray, places: np.ndarray, kept: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        feed = {"input_ids": ids, "attention_mask": seen, "position_ids": places.astype(np.int64)}
        logits, *kept = self.session.run(None, {**feed, **dict(zip(self.past, kept, strict=True))})
        return logits, kept

    def _read(self, request: Any) -> list[tuple[list[int], int]]:
        """The texts of a request as token ids, each with how many tokens are wanted."""
        given = pb_utils.get_input_tensor_by_name(request, "prompt").as_numpy().reshape(-1)
        counts = pb_utils.get_input_tensor_by_name(request, "max_tokens")
        most = [None] * len(given) if counts is None else counts.as_numpy().reshape(-1).tolist()
        return [self._ids(text, n) for text, n in zip(given, most, strict=True)]

    def _ids(self, given: bytes, most: int | None) -> tuple[list[int], int]:
        if len(given) > MOST_BYTES:
            raise RefusedError(f"body_too_large: The prompt is longer than {MOST_BYTES:,} bytes. Send less.")
        try:
            text = given.decode("utf-8")
        except UnicodeDecodeError:
            raise RefusedError("text_not_unicode: The prompt is no UTF-8.") from None
        ids = self.tokenizer.encode(text, add_special_tokens=not self.causal).ids
        ids = [*self.before, *ids] if self.causal else ids
        if not ids:
            raise RefusedError("prompt_empty: The prompt gives no token. Write something.")
        if most is not None and most < 1:
            raise RefusedError(f"invalid_request: max_tokens is {most}; it begins at 1.")
        n = (most or max(1, min(USUAL_TOKENS, self.limit - len(ids)))) if self.causal else 0
        if len(ids) + n > self.limit:
            told = f"{len(ids)} in the prompt" + (f", {n} to write" if n else "")
            raise RefusedError(f"context_length_exceeded: {self.limit} tokens fit; you asked for {told}. Shorten it.")
        return ids, n

    def _told(self, rows: list[int] | RefusedError, answer: Callable[[list[int]], list[Any]]) -> Any:
        if isinstance(rows, RefusedError):
            error = pb_utils.TritonError(str(rows), getattr(pb_utils.TritonError, rows.kind))
            return pb_utils.InferenceResponse(error=error)
        return pb_utils.InferenceResponse(output_tensors=answer(rows))

    def _texts(self, rows: list[int], texts: list[list[int]], written: list[list[int]]) -> list[Any]:
        said = [self.tokenizer.decode(written[row], skip_special_tokens=True).encode() for row in rows]
        return [
            pb_utils.Tensor("text", np.array(said, dtype=np.object_)[:, None]),
            _counts("prompt_tokens", [len(texts[row]) for row in rows]),
            _counts("completion_tokens", [len(written[row]) for row in rows]),
        ]


def _vectors(rows: list[int], texts: list[list[int]], vectors: np.ndarray) -> list[Any]:
    return [
        pb_utils.Tensor("embedding", vectors[rows]),
        _counts("prompt_tokens", [len(texts[row]) for row in rows]),
    ]


def _counts(name: str, counts: list[int]) -> Any:
    return pb_utils.Tensor(name, np.array(counts, dtype=np.int32)[:, None])
