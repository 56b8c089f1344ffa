"""Texts written together against each written alone, and against the reference; who comes, goes, waits and fails."""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llmkit.generate import GenerateError, Step, stream
from llmkit.generate.decode import sampled
from llmkit.generate.rows_cache import RowsCache
from llmkit.generate.sampling import Sampling
from llmkit.generate.together import Together, together
from llmkit.parts import KVCache, assemble, llama
from llmkit.parts import gpt2 as gpt2_parts
from llmkit.reference import Assembled, open_box, open_folder
from llmkit.tune.classifier import Examples
from llmkit.tune.finetune import FinetuneConfig, Finetuning
from tests.llmkit.random_box import random_box
from tests.llmkit.test_generate import make_box, theirs

module = importlib.import_module("llmkit.generate.together")

PROMPTS = ((5, 9, 77, 200, 31, 8), (44,), (1, 2, 3), (250, 17, 17, 17, 17, 99, 3, 8, 120, 0, 64), tuple(range(60)))
GREEDY = Sampling(temperature=0)
WAYS = (
    None,
    GREEDY,
    Sampling(seed=3),
    Sampling(seed=4, temperature=0.7, top_k=12),
    Sampling(seed=5, top_p=0.8, min_p=0.01, repetition_penalty=1.4),
    Sampling(temperature=0, repetition_penalty=1.8),
)
FAMILIES = ("gpt2", "llama", "linear", "llama3", "yarn", "dynamic", "alibi", "none", "sinusoidal", "learned")


def scaled_box(path: Path) -> Path:
    """NTK-aware scaling, whose angles grow with the text."""
    folder = random_box(path, "llama", seed=11)
    file = folder / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0, "original_max_position_embeddings": 16}
    file.write_text(json.dumps(settings | {"rope_parameters": scaling}), encoding="utf-8")
    return folder


def bare_box(positions: str) -> Assembled:
    """Random parts with an encoding that no box of the shelf has."""
    torch.manual_seed(3)
    parts = gpt2_parts(vocab_size=256, d_model=24, n_layers=2, n_heads=3, max_seq_len=64)
    config = replace(parts, positions=positions, tied=False)  # type: ignore[arg-type]
    model = assemble(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    return replace(open_box("gpt2-starter"), box_id=positions, model=model, config=config)


@pytest.fixture(scope="module", params=FAMILIES)
def any_box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    name = request.param
    if name in ("alibi", "none", "sinusoidal", "learned"):
        return bare_box(name)
    path = tmp_path_factory.mktemp(name)
    return open_folder(scaled_box(path) if name == "dynamic" else make_box(path, name), dtype=torch.float64)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    return open_folder(random_box(tmp_path_factory.mktemp("llama"), "llama", seed=11), dtype=torch.float64)


def alone(box: Assembled, prompt: Sequence[int], n: int, sampling: Sampling | None = None, **rest: Any) -> list[int]:
    choose = sampled(sampling or GREEDY)
    return [step.token_id for step in stream(box, prompt, max_new_tokens=n, choose=choose, **rest)]


def ids_of(steps: Sequence[Step] | Any) -> list[int]:
    return [step.token_id for step in steps]


def many(n: int, vocab_size: int = 256, longest: int = 24) -> list[tuple[int, ...]]:
    """Prompts of all lengths, none like another."""
    luck = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, longest, (n,), generator=luck).tolist()
    return [
        (at, *torch.randint(0, vocab_size, (length,), generator=luck).tolist()) for at, length in enumerate(lengths)
    ]


def at_once(
    group: Together, prompts: Sequence[Sequence[int]], n: int, ways: Sequence[Sampling | None] = (None,)
) -> list[list[int]]:
    """All in the queue before the first is read, so that what is read in one piece does not hang on the threads."""
    with group._lock:
        streams = [
            group.stream(prompt, max_new_tokens=n, sampling=ways[at % len(ways)]) for at, prompt in enumerate(prompts)
        ]
    return [ids_of(one) for one in streams]


def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- the same as alone


def test_each_text_is_what_it_is_alone(any_box: Assembled) -> None:
    expected = [alone(any_box, prompt, 30, WAYS[at % 6]) for at, prompt in enumerate(PROMPTS * 2)]
    assert at_once(Together(any_box), PROMPTS * 2, 30, WAYS) == expected


def test_small_pieces_and_shared_beginnings_change_nothing(any_box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 7)
    monkeypatch.setattr(module, "SHARED", 3)
    monkeypatch.setattr("llmkit.generate.rows_cache.SPARE", 4)
    start = tuple(range(40, 60))
    prompts = [*PROMPTS, (*start, 1), (*start, 2, 3), (*start[:9], 7), start, *many(6)]
    expected = [alone(any_box, prompt, 20, WAYS[at % 6]) for at, prompt in enumerate(prompts)]
    assert at_once(Together(any_box, max_rows=4), prompts, 20, WAYS) == expected


@pytest.mark.parametrize("family", ["gpt2", "llama", "dynamic"])
def test_greedy_texts_are_those_of_the_reference(family: str, tmp_path: Path) -> None:
    path = scaled_box(tmp_path) if family == "dynamic" else random_box(tmp_path, family, seed=11)
    box = open_folder(path, dtype=torch.float64)
    prompts = PROMPTS[:4]
    assert at_once(Together(box), prompts, 12) == [theirs(box, prompt, 12) for prompt in prompts]


def test_twenty_threads_each_get_their_own(box: Assembled) -> None:
    """Twice, so that rows join where others have left."""
    prompts, group = many(20), Together(box, max_rows=7)
    before = torch.random.get_rng_state()

    def session(at: int) -> list[list[int]]:
        time.sleep(at % 5 * 0.01)
        ways = WAYS[at % 6], WAYS[(at + 1) % 6]
        return [ids_of(group.stream(prompts[at], max_new_tokens=10 + at, sampling=way)) for way in ways]

    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(session, range(20)))
    assert torch.random.get_rng_state().equal(before)
    for at, two in enumerate(got):
        assert two == [alone(box, prompts[at], 10 + at, way) for way in (WAYS[at % 6], WAYS[(at + 1) % 6])]


def test_each_stops_at_its_own_tokens_and_at_its_own_length(box: Assembled) -> None:
    free = [alone(box, prompt, 30) for prompt in PROMPTS]
    group = Together(box)
    stops = [{free[0][4]}, {free[1][9]}, set(), {free[3][0]}, set()]
    lengths = [30, 30, 7, 30, 30]
    with group._lock:
        streams = [
            group.stream(p, max_new_tokens=n, stop_ids=s) for p, n, s in zip(PROMPTS, lengths, stops, strict=True)
        ]
    got = [ids_of(one) for one in streams]
    assert got == [alone(box, p, n, stop_ids=s) for p, n, s in zip(PROMPTS, lengths, stops, strict=True)]
    assert len(got[3]) == 1
    assert len(got[4]) == 64 - 60 + 1  # to the end of the context
    until(lambda: not group.running)


def test_logprobs_are_those_of_the_model(box: Assembled) -> None:
    expected = [step.logprob for step in stream(box, PROMPTS[0], max_new_tokens=8)]
    beside = Together(box)
    with beside._lock:
        one, _ = (beside.stream(p, max_new_tokens=8) for p in PROMPTS[:2])
    assert [step.logprob for step in one] == pytest.approx(expected, abs=1e-9)


def test_the_bundled_box_says_to_each_what_it_says_alone() -> None:
    """In float32 two tokens that are equally likely but for rounding may change places: not once in these texts."""
    box = open_box("gpt2-starter")
    texts = ["The movie was", "這本書", "春眠不覺曉,處處聞啼鳥。", "I", "A film like this is " * 12, "好看", "It", "夜"]
    prompts = [box.tokenizer.encode(text).ids for text in texts]
    assert at_once(together(box), prompts, 25, WAYS) == [
        alone(box, prompt, 25, WAYS[at % 6]) for at, prompt in enumerate(prompts)
    ]


@pytest.mark.registry
@pytest.mark.slow
def test_the_instruct_box_says_to_each_what_the_reference_says(standard_kit: tuple[str, ...]) -> None:
    box = open_box("smollm2-135m-instruct")
    texts = ("The capital of France is", "Once upon a time there was a", "Water boils at")
    prompts = [box.tokenizer.encode(text).ids for text in texts]
    assert at_once(together(box), prompts, 8) == [theirs(box, prompt, 8) for prompt in prompts]


# --- who waits, comes and goes


def test_nobody_waits_for_a_long_prompt(box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces of it, whoever is in the batch gets a token."""
    turns: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(module, name)

        def call(*args: Any) -> Any:
            turns.append(name)
            return real(*args)

        return call

    for name in ("read_piece", "read_next"):
        monkeypatch.setattr(module, name, noted(name))
    monkeypatch.setattr(module, "PIECE", 10)
    group = Together(box)
    with group._lock:
        short, long = group.stream((1, 2), max_new_tokens=40), group.stream(tuple(range(55)), max_new_tokens=3)
    assert ids_of(short) == alone(box, (1, 2), 40)
    assert ids_of(long) == alone(box, tuple(range(55)), 3)
    assert turns[:14] == ["read_piece", "read_next"] * 7  # one piece of the short one, six of the long one
    assert set(turns[14:]) == {"read_next"}


def test_a_queue_keeps_its_order_and_says_the_place(box: Assembled) -> None:
    group = Together(box, max_rows=2)
    with group._lock:
        streams = [group.stream(prompt, max_new_tokens=20) for prompt in many(5)]
        assert [one.position for one in streams] == [1, 2, 3, 4, 5]
        assert group.waiting == 5
    assert [ids_of(one) for one in streams] == [alone(box, prompt, 20) for prompt in many(5)]
    assert [one.position for one in streams] == [0] * 5


@pytest.mark.parametrize("limit", ["rows", "tokens"])
def test_no_more_are_written_at_once_than_there_is_room_for(
    box: Assembled, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    group = Together(box, max_rows=3) if limit == "rows" else Together(box, max_kv_tokens=150)
    most: list[int] = []
    real = module.read_next

    def look(model: object, ids: list[int], cache: RowsCache) -> torch.Tensor:
        most.append(len(ids))
        assert limit == "rows" or len(ids) * (cache.seq_len + 1) <= 150
        return real(model, ids, cache)

    monkeypatch.setattr(module, "read_next", look)
    prompts = many(9)
    assert at_once(group, prompts, 16) == [alone(box, prompt, 16) for prompt in prompts]
    assert max(most) == 3 if limit == "rows" else 2 <= max(most) <= 9


def test_who_waits_too_long_is_told_how_many_were_before(box: Assembled) -> None:
    group = Together(box, max_rows=1)
    with group._lock:
        running, first = group.stream((1,), max_new_tokens=60), group.stream((2,), max_new_tokens=60)
        late = group.stream((3,), max_new_tokens=5, wait_s=0.0)
        with pytest.raises(GenerateError) as caught:
            next(late)
    assert (caught.value.code, caught.value.values["ahead"]) == ("generation_busy", 2)
    assert list(late) == []
    assert ids_of(running) == alone(box, (1,), 60)
    assert ids_of(first) == alone(box, (2,), 60)
    assert ids_of(group.stream((3,), max_new_tokens=5, wait_s=30.0)) == alone(box, (3,), 5)


def test_a_closed_text_leaves_at_once_and_a_forgotten_one_too(box: Assembled) -> None:
    group = Together(box, max_rows=3)
    with group._lock:
        closed, forgotten, kept, waiting = (group.stream((at,), max_new_tokens=64) for at in range(4))
    next(closed)
    next(forgotten)
    closed.close()
    assert list(closed) == []
    waiting.close()
    assert group.waiting == 0
    del forgotten
    gc.collect()
    assert ids_of(kept) == alone(box, (2,), 64)
    until(lambda: group.running == 0)
    with group.stream((9,), max_new_tokens=64) as left:
        next(left)
    until(lambda: group.running == 0)


def test_a_reader_in_another_thread_is_told_of_the_end(box: Assembled) -> None:
    group = Together(box, max_rows=1)
    with group._lock:  # the worker cannot begin
        waiting = group.stream((1,), max_new_tokens=3)
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(lambda: list(waiting))
            waiting.close()
            assert reader.result(timeout=20) == []


def test_the_worker_ends_when_nobody_comes_and_begins_again(box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    group = Together(replace(box, box_id="resting"))
    for _ in range(3):
        assert ids_of(group.stream((1, 2), max_new_tokens=4)) == alone(box, (1, 2), 4)
        until(lambda: not any(thread.name == "together-resting" for thread in threading.enumerate()))
        assert group._cache is None


# --- what goes wrong stays where it is


def test_what_cannot_be_written_is_refused_at_once(box: Assembled, tmp_path: Path) -> None:
    group = Together(box, max_kv_tokens=40)
    for prompt, n, code in (
        ((), 1, "prompt_empty"),
        ((1,) * 65, 1, "prompt_too_long"),
        ((1, 256), 1, "prompt_unknown_token"),
        ((-1,), 1, "prompt_unknown_token"),
        ((1,) * 30, 30, "generation_no_room"),
    ):
        with pytest.raises(GenerateError) as caught:
            group.stream(prompt, max_new_tokens=n)
        assert caught.value.code == code
    assert list(group.stream((1,), max_new_tokens=0)) == []
    assert group._thread is None
    with pytest.raises(GenerateError) as caught:
        together(open_folder(random_box(tmp_path, "bert", seed=1)))
    assert caught.value.code == "no_next_token"


def test_an_error_of_one_text_reaches_no_other(box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(sampling: Sampling) -> Callable[..., int]:
        choose, calls = sampled(sampling), iter(range(99))

        def call(logits: torch.Tensor, ids: Sequence[int], /) -> int:
            if sampling.seed == 13 and next(calls) == 3:
                raise RuntimeError("probability tensor contains nan")
            return choose(logits, ids)

        return call

    monkeypatch.setattr(module, "sampled", breaking)
    group = Together(box)
    with group._lock:
        streams = [group.stream(p, max_new_tokens=12, sampling=Sampling(seed=12 + at)) for at, p in enumerate(many(3))]
    got = []
    with pytest.raises(RuntimeError, match="nan"):  # noqa: PT012
        for step in streams[1]:
            got.append(step.token_id)
    assert got == alone(box, many(3)[1], 3, Sampling(seed=13))
    for at in (0, 2):
        assert ids_of(streams[at]) == alone(box, many(3)[at], 12, Sampling(seed=12 + at))


def test_a_text_with_no_numbers_leaves_none_behind(box: Assembled) -> None:
    """Keys and values that are no numbers stay out of the row that comes after."""
    cache = RowsCache(box.config, dtype=torch.float64, device=box.device)
    config = box.config
    for size, value in ((6, torch.nan), (2, 1.0)):
        read = KVCache()
        for layer in range(config.n_layers):
            piece = torch.full((1, config.n_kv_heads, size, config.head_dim), value, dtype=torch.float64)
            read.extend(layer, piece, piece)
        cache.join(read, 0, size)
        if size == 6:
            cache.leave(0)
    assert cache.block[:, :, 0].isfinite().all()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_where_memory_runs_out_texts_wait_for_one_another(
    box: Assembled, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real_next, real_packed = module.read_next, module.read_packed

    def small(model: object, ids: list[int], cache: RowsCache) -> torch.Tensor:
        if len(ids) > 2:
            raise error
        return real_next(model, ids, cache)

    def smaller(body: object, prompts: list[list[int]], cache: KVCache) -> torch.Tensor:
        raise error

    monkeypatch.setattr(module, "read_next", small)
    prompts = many(6)
    expected = [alone(box, prompt, 15, WAYS[at % 6]) for at, prompt in enumerate(prompts)]
    assert at_once(Together(box), prompts, 15, WAYS) == expected
    monkeypatch.setattr(module, "read_packed", smaller)
    assert at_once(Together(box), prompts, 15, WAYS) == expected
    monkeypatch.setattr(module, "read_packed", real_packed)


def test_what_was_read_before_memory_ran_out_is_not_read_twice(box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unembedding is what takes the most, and it comes after keys and values were written."""
    real_next = module.read_next

    def late(model: object, ids: list[int], cache: RowsCache) -> torch.Tensor:
        logits = real_next(model, ids, cache)
        if len(ids) > 2:
            raise torch.OutOfMemoryError
        return logits

    monkeypatch.setattr(module, "read_next", late)
    prompts = many(6)
    expected = [alone(box, prompt, 15, WAYS[at % 6]) for at, prompt in enumerate(prompts)]
    assert at_once(Together(box), prompts, 15, WAYS) == expected


def test_where_there_is_no_memory_for_one_it_is_said(box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "read_next", full)
    group = Together(box)
    with pytest.raises(GenerateError) as caught:
        list(group.stream((1, 2, 3), max_new_tokens=9))
    assert (caught.value.code, caught.value.values["tokens"]) == ("generation_no_room", 11)
    monkeypatch.undo()
    assert ids_of(group.stream((1, 2, 3), max_new_tokens=9)) == alone(box, (1, 2, 3), 9)


def test_a_box_that_is_put_away_says_so_to_all(box: Assembled) -> None:
    group = together(box)
    assert together(replace(box, box_id="another name, the same model")) is group
    group.max_rows = group._most = 1
    with group._lock:
        running, waiting = group.stream((1,), max_new_tokens=64), group.stream((2,), max_new_tokens=64)
    next(running)
    group.close()
    for one in (running, waiting):
        with pytest.raises(GenerateError) as caught:
            list(one)
        assert caught.value.code == "box_unloaded"
    with pytest.raises(GenerateError) as caught:
        group.stream((1,), max_new_tokens=1)
    assert caught.value.code == "box_unloaded"
    assert ids_of(together(box).stream((1,), max_new_tokens=5)) == alone(box, (1,), 5)


def test_a_batch_is_forgotten_with_its_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    box = open_folder(random_box(tmp_path, "gpt2", seed=2))
    known = len(module._known)
    list(together(box).stream((1, 2), max_new_tokens=3))
    until(lambda: gc.collect() >= 0 and len(module._known) <= known)


def test_python_ends_while_texts_are_written(tmp_path: Path) -> None:
    """A thread that computes when the interpreter ends would bring it down."""
    random_box(tmp_path, "gpt2", seed=2)
    script = """
import sys
from pathlib import Path
from llmkit.generate.together import Together
from llmkit.reference import open_folder
group = Together(open_folder(Path(sys.argv[1])))
streams = [group.stream((1, 2), max_new_tokens=63) for _ in range(9)]
print(next(streams[0]).token_id)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip().isdigit()


# --- training beside it


@pytest.mark.parametrize("method", ["full", "lora"])
def test_fine_tuning_changes_nothing_that_is_written(tmp_path: Path, method: str) -> None:
    """To the last bit: tokens and log-probabilities, before, while and after a copy of the box learns."""
    box = open_folder(random_box(tmp_path, "llama", seed=5))
    weights = {name: tensor.clone() for name, tensor in box.model.state_dict().items()}
    group = together(box)

    def write() -> list[Step]:
        return list(group.stream(PROMPTS[3], max_new_tokens=30, sampling=Sampling(seed=8, top_p=0.9)))

    before = write()
    examples = Examples(ids=tuple(many(40)), labels=tuple(at % 2 for at in range(40)))
    config = FinetuneConfig(method=method, learning_rate=0.05, epochs=2, batch_size=4)  # type: ignore[arg-type]
    meanwhile: list[list[Step]] = []
    Finetuning(box, examples, examples, n_labels=2, config=config).run(on_step=lambda _: meanwhile.append(write()))
    assert len(meanwhile) == 20
    assert meanwhile == [before] * 20
    assert write() == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in box.model.state_dict().items())
    with ThreadPoolExecutor(1) as pool:  # at the very same time
        learning = pool.submit(Finetuning(box, examples, examples, n_labels=2, config=config).run)
        during = [write() for _ in range(5)]
        learning.result()
    assert during == [before] * 5


# --- the caches


def test_rows_keep_their_own_whatever_joins_leaves_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a plain list for each row."""
    monkeypatch.setattr("llmkit.generate.rows_cache.SPARE", 6)
    config = llama(vocab_size=8, d_model=8, n_layers=2, n_heads=2, n_kv_heads=1, d_mlp=8, max_seq_len=99)
    K, Dh, luck = config.n_kv_heads, config.head_dim, torch.Generator().manual_seed(0)
    cache, plain = RowsCache(config, dtype=torch.float32, device=torch.device("cpu")), list[torch.Tensor]()

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=luck)

    for turn in range(300):
        do = int(torch.randint(4, (), generator=luck))
        if do == 0 and len(plain) < 6:
            size = int(torch.randint(1, 30, (), generator=luck))
            new, read = random(2, 2, K, size, Dh), KVCache()
            for layer in range(2):
                read.extend(layer, new[layer, 0][None], new[layer, 1][None])
            cut = turn % 2 if size > 1 else 0
            cache.join(read, cut, size)
            plain.append(new[..., cut:, :])
        elif do == 1 and plain:
            at = int(torch.randint(len(plain), (), generator=luck))
            cache.leave(at)
            plain[at] = plain[-1]
            plain.pop()
        elif plain:
            new = random(2, 2, len(plain), K, 1, Dh)
            cache.make_room()
            longest = cache.seq_len + 1
            for layer in range(2):
                k, v = cache.extend(layer, new[layer, 0], new[layer, 1])
                assert k.shape == v.shape == (len(plain), K, longest, Dh)
            plain = [torch.cat((old, new[:, :, row]), dim=3) for row, old in enumerate(plain)]
            for row, old in enumerate(plain):
                assert torch.equal(k[row, :, longest - old.shape[3] :], old[1, 0])
                assert torch.equal(v[row, :, longest - old.shape[3] :], old[1, 1])
        assert cache.lengths == [old.shape[3] for old in plain]
        assert cache.seq_len == max(cache.lengths, default=0)
        for row, old in enumerate(plain):
            beginning = cache.beginning(row, old.shape[3])
            assert all(torch.equal(beginning.keys[layer][0], old[layer, 0]) for layer in range(2))
            assert cache.padding[row] == cache.seq_len - old.shape[3]
        assert cache.block.isfinite().all()


def test_a_cache_writes_behind_what_it_has_and_never_into_another() -> None:
    luck = torch.Generator().manual_seed(0)
    pieces = [torch.randn(2, 3, size, 4, generator=luck) for size in (5, 1, 1, 150, 1, 1)]
    cache = KVCache()
    for n, piece in enumerate(pieces, start=1):
        k, v = cache.extend(0, piece, -piece)
        whole = torch.cat(pieces[:n], dim=2)
        assert torch.equal(k, whole)
        assert torch.equal(v, -whole)
        assert cache.size_bytes == 2 * whole.nbytes
    fork = KVCache()
    fork.keys[0], fork.values[0] = cache.keys[0][:, :, :5], cache.values[0][:, :, :5]
    fork.extend(0, pieces[1] + 1, pieces[1] + 1)
    assert torch.equal(cache.keys[0], torch.cat(pieces, dim=2))
    cache.keys[0], cache.values[0] = cache.keys[0][[1]], cache.values[0][[1]]
    k, _ = cache.extend(0, pieces[1][[0]], pieces[1][[0]])
    assert torch.equal(k, torch.cat([*(piece[[1]] for piece in pieces), pieces[1][[0]]], dim=2))


def test_a_cache_of_inference_goes_on_outside_it_and_gradients_pass() -> None:
    piece, cache = torch.ones(1, 1, 1, 2), KVCache()
    with torch.inference_mode():
        cache.extend(0, piece, piece)
        cache.extend(0, piece, piece)
    assert cache.extend(0, piece, piece)[0].shape[2] == 3
    with torch.inference_mode():
        assert cache.extend(0, piece, piece)[0].shape[2] == 4
    learned, cache = torch.ones(1, 1, 1, 2, requires_grad=True), KVCache()
    for _ in range(3):
        k, _ = cache.extend(0, learned, learned)
    k.sum().backward()
    assert learned.grad is not None
    assert torch.equal(learned.grad, torch.full_like(learned, 3))
