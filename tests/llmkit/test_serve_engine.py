"""What answers, without a socket: texts in turns, text from tokens, vectors, labels."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from fastapi.testclient import TestClient

from llmkit.compress.runner import Ids, Scores
from llmkit.generate import GenerateError, decode
from llmkit.generate.sampling import Sampling
from llmkit.reference import open_box
from llmkit.serve.app import create_app
from llmkit.serve.engine import open_engine
from llmkit.serve.turns import Turns
from llmkit.serve.writing import Text
from llmkit.tune.classifier import build_classifier
from llmkit.tune.classifier_box import write_classifier
from tests.llmkit.random_box import random_box
from tests.llmkit.serve_boxes import long_llama, wait_for


class ReferenceReading:
    """Texts read by the reference model, with its cache."""

    def __init__(self, model: transformers.PreTrainedModel, ids: Ids, open_readings: list[ReferenceReading]) -> None:
        self._model, self._cache = model, transformers.DynamicCache()
        self._open = open_readings
        self._open.append(self)
        self.logits: Scores
        self._read(torch.tensor(ids))

    def _read(self, ids: torch.Tensor) -> None:
        with torch.no_grad():
            out = self._model(ids, past_key_values=self._cache, use_cache=True)
        self.logits = out.logits[:, -1].float().numpy()

    def step(self, tokens: Ids) -> None:
        self._read(torch.tensor(tokens)[:, None])

    def close(self) -> None:
        self._open.remove(self)


class ReferenceRunner:
    """The reference model as a form of a box."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        self.batches: list[int] = []
        self.open: list[ReferenceReading] = []
        self.closed = False

    def scores(self, input_ids: Ids) -> Scores:
        with torch.no_grad():
            return np.asarray(self.model(torch.tensor(input_ids)).logits.float().numpy())

    def read(self, input_ids: Ids) -> ReferenceReading:
        self.batches.append(len(input_ids))
        return ReferenceReading(self.model, input_ids, self.open)

    def close(self) -> None:
        self.closed = True


def test_texts_in_turns_come_out_as_if_alone(tmp_path: Path) -> None:
    box_id = long_llama(tmp_path / "box", seed=5)
    box, runner = open_box(box_id), ReferenceRunner(tmp_path / "box")
    turns = Turns(runner, box_id=box_id, limit=box.config.max_seq_len, max_rows=4)
    prompts = [(1, 2, 3), (4, 5, 6), (7,), (8, 9, 10), (11, 12), (13, 14, 15)]
    drawn = Sampling(temperature=0.8, seed=4)
    streams = [
        turns.stream(ids, max_new_tokens=6 + at, sampling=drawn if at == 2 else None) for at, ids in enumerate(prompts)
    ]
    for at, (ids, stream) in enumerate(zip(prompts, streams, strict=True)):
        choose = decode.sampled(drawn) if at == 2 else decode.greedy
        alone = list(decode.stream(box, ids, max_new_tokens=6 + at, choose=choose))
        found = list(stream)
        assert [step.token_id for step in found] == [step.token_id for step in alone]
        assert np.allclose([step.logprob for step in found], [step.logprob for step in alone], atol=1e-4)
    wait_for(lambda: not runner.open)
    assert sum(runner.batches) == len(prompts)
    assert (turns.running, turns.waiting) == (0, 0)
    turns.close()
    assert runner.closed
    with pytest.raises(GenerateError):
        turns.stream((1,), max_new_tokens=1)


def test_who_hangs_up_gives_the_turn_away(tmp_path: Path) -> None:
    box_id = long_llama(tmp_path / "box", seed=5)
    runner = ReferenceRunner(tmp_path / "box")
    turns = Turns(runner, box_id=box_id, limit=4096, max_rows=1)
    first, second = (turns.stream((at,), max_new_tokens=4000) for at in (1, 2))
    next(first)
    assert turns.waiting == 1
    first.close()
    assert next(first, None) is None
    assert next(second) is not None
    turns.close()
    with pytest.raises(GenerateError) as told:
        list(second)
    assert told.value.code == "box_unloaded"
    assert not runner.open


def test_a_runner_that_fails_tells_its_texts_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box_id = long_llama(tmp_path / "box", seed=5)
    runner = ReferenceRunner(tmp_path / "box")
    turns = Turns(runner, box_id=box_id, limit=4096, max_rows=2)
    with monkeypatch.context() as patch:
        patch.setattr(ReferenceReading, "step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(turns.stream((1,), max_new_tokens=5))
    assert len(list(turns.stream((1,), max_new_tokens=5))) == 5
    turns.close()


def text_of(data: bytes, *stops: str) -> tuple[list[str], str | None]:
    """What is sent of a text whose tokens are bytes."""
    tokenizer = open_box("gpt2-starter").tokenizer
    by_byte = {tokenizer.token_bytes(at): at for at in range(tokenizer.vocab_size)}
    text = Text(tokenizer, stops=stops)
    sent = []
    for one in data:
        sent.append(text.add(by_byte[bytes([one])]))
        if text.finish:
            break
    return [*sent, text.end()], text.finish


@pytest.mark.parametrize(
    ("data", "stops", "said", "finish"),
    [
        ("這本 🙂!".encode(), (), "這本 🙂!", "length"),
        ("這".encode()[:2], (), "\ufffd", "length"),
        (b"\xff\xfeab", (), "\ufffd\ufffdab", "length"),
        (b"one\nUser: two", ("\nUser:",), "one", "stop"),
        (b"one\nUs", ("\nUser:",), "one\nUs", "length"),
        ("一。二".encode(), ("。",), "一", "stop"),
        (b"aab", ("ab",), "a", "stop"),
        (b"abc", ("c", "bc"), "a", "stop"),
        (b"abc", ("",), "abc", "length"),
    ],
)
def test_no_piece_holds_half_a_character_or_the_beginning_of_a_stop(
    data: bytes, stops: tuple[str, ...], said: str, finish: str
) -> None:
    sent, ended = text_of(data, *stops)
    assert "".join(sent) == said
    assert ended == finish


def test_an_encoder_gives_vectors_and_writes_nothing(tmp_path: Path) -> None:
    folder = random_box(tmp_path, "bert", seed=1)
    engine = open_engine(f"folder:{folder}")
    assert engine.can == ("embeddings",)
    body = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    ids = [engine.tokenizer.encode(text).ids for text in ("a text", "another, longer one")]
    assert engine.vectors is not None
    for one, found in zip(ids, engine.vectors(ids), strict=True):
        with torch.no_grad():
            mean = body(torch.tensor([one])).last_hidden_state[0].mean(0)
        assert torch.allclose(torch.tensor(found), mean / mean.norm(), atol=1e-5)
    with TestClient(create_app(lambda: engine, model="tiny")) as http:
        wait_for(lambda: http.get("/ready").status_code == 200)
        refused = http.post("/v1/completions", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "no_next_token")
        long = http.post("/v1/embeddings", json={"input": "a" * 100})
        assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert "64" in long.json()["error"]["message"]


def test_a_classifier_sorts(tmp_path: Path) -> None:
    (tmp_path / "body").mkdir()
    (tmp_path / "tuned").mkdir()
    box = open_box(f"folder:{random_box(tmp_path / 'body', 'gpt2', seed=1)}")
    classifier = build_classifier(box, n_labels=3, seed=2).eval()
    write_classifier(box, classifier, tmp_path / "tuned", labels=("bad", "so-so", "好"), facts={})
    engine = open_engine(f"folder:{tmp_path / 'tuned'}")
    assert engine.can == ("completions", "embeddings", "classify")
    with TestClient(create_app(lambda: engine, model="tuned")) as http:
        wait_for(lambda: http.get("/ready").status_code == 200)
        said = http.post("/classify", json={"input": ["a text", "b"]}).json()["data"]
    for text, one in zip(("a text", "b"), said, strict=True):
        ids = torch.tensor([box.tokenizer.encode(text).ids])
        with torch.no_grad():
            probs = classifier(ids, torch.ones_like(ids)).softmax(-1)[0]
        assert np.allclose(list(one["probs"].values()), probs, atol=1e-5)
        assert one["label"] == ("bad", "so-so", "好")[int(probs.argmax())]


def test_before_it_is_loaded_only_health_answers() -> None:
    with TestClient(create_app(lambda: time.sleep(0.3) or open_engine("gpt2-starter"), model="x")) as http:  # type: ignore[func-returns-value]
        assert http.get("/health").status_code == 200
        early = http.get("/ready")
        assert (early.status_code, early.json()["error"]["code"]) == (503, "not_ready")
        assert http.post("/v1/completions", json={"prompt": "a"}).headers["Retry-After"]
        wait_for(lambda: http.get("/ready").status_code == 200)
