"""The KV cache on and off: the same text written both ways, every token timed both ways."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from llmkit import shelf
from llmkit.generate.decode import greedy, read_on, require_next_token, require_prompt
from llmkit.jobs import Report
from llmkit.parts import KVCache
from llmkit.reference import Assembled, open_box

EVERY = 4
"""After so many tokens what is measured is shown."""


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``kv_compare``: write greedily, each token once from the cache and once by reading everything again.

    Both ways take turns token by token, so that whatever else the machine does slows both. Where the unembedding
    is concerned they are alike: it reads the last place only.

    Args:
        settings: box_id; fingerprint; ids (the prompt's); max_new_tokens; device.
        report: told after every token; partial: what the result will hold, so far.

    Returns:
        tokens: what each way has read when it chose; with, without: seconds of each token; with_ids, without_ids: the
        tokens chosen; cache_bytes: what the cache held after each.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty``, ``prompt_too_long``. ShelfError: ``box_changed``.
    """
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    box = open_box(settings["box_id"], device=settings["device"])
    ids = list(settings["ids"])
    require_next_token(box)
    require_prompt(box, ids)
    count = min(int(settings["max_new_tokens"]), box.config.max_seq_len - len(ids) + 1)
    found: dict[str, list[Any]] = {
        name: [] for name in ("tokens", "with", "without", "with_ids", "without_ids", "cache_bytes")
    }
    cached, plain = _Cached(box, ids), _Plain(box, ids)
    _likeliest(box, ids, KVCache())  # the first pass of a process is the slowest: neither way should pay for it
    for at in range(count):
        found["tokens"].append(len(ids) + at)
        for name, way in (("with", cached), ("without", plain)):
            began = time.perf_counter()
            token_id = way.next()
            found[name].append(time.perf_counter() - began)
            found[f"{name}_ids"].append(token_id)
        found["cache_bytes"].append(cached.cache.size_bytes)
        report(
            at + 1, count, "", {name: list(kept) for name, kept in found.items()} if at % EVERY == EVERY - 1 else None
        )
    return dict(found)


class _Cached:
    """Reads only what it has not read yet."""

    def __init__(self, box: Assembled, ids: Sequence[int]) -> None:
        self._box, self._unread, self.cache = box, list(ids), KVCache()

    def next(self) -> int:
        token_id = _likeliest(self._box, self._unread, self.cache)
        self._unread = [token_id]
        return token_id


class _Plain:
    """Reads everything again for every token."""

    def __init__(self, box: Assembled, ids: Sequence[int]) -> None:
        self._box, self._ids = box, list(ids)

    def next(self) -> int:
        token_id = _likeliest(self._box, self._ids, KVCache())
        self._ids.append(token_id)
        return token_id


@torch.inference_mode()
def _likeliest(box: Assembled, ids: Sequence[int], cache: KVCache) -> int:
    return greedy(read_on(box.model, torch.tensor([list(ids)], device=box.device), cache)[0])
