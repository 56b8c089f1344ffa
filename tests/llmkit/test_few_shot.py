"""Few-shot runs against a plain reading of every whole prompt by transformers; prompts, splits and intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM

from llmkit import shelf
from llmkit.generate import GenerateError, few_shot, prompt_pair
from llmkit.generate.prompt import Shot, Wording, build, wordings
from llmkit.jobs import Cancelled, DirectReport
from llmkit.shelf.data import DataBox, Row
from llmkit.tokens import ChatTemplate, Tokenizer
from tests.llmkit import random_box as boxes

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXT = 360


@pytest.fixture(autouse=True)
def reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty short reviews of either kind, and what has to be left out."""
    rows = [
        Row(
            f"Number {at} is {'fine' if at % 2 else 'poor'}, a {{word}}", 2.0 if at % 2 else -2.0, "movieReviewSnippets"
        )
        for at in range(80)
    ]
    rows += [
        Row("Too near to nothing at all", 0.4, "movieReviewSnippets"),
        Row("number 1 IS  fine, a {word}", 3.0, "movieReviewSnippets"),  # the same text again
        Row("Both good and bad, they say", 2.0, "amazonReviewSnippets"),
        Row("both good and bad, they say", -2.0, "amazonReviewSnippets"),
        Row("An editorial and no review", 2.0, "nytEditorialSnippets"),
        Row("Short", 3.0, "movieReviewSnippets"),
        Row("long " * 40, 3.0, "movieReviewSnippets"),
    ]
    monkeypatch.setattr(shelf, "open_data", lambda box_id: DataBox(box_id=box_id, rows=tuple(rows)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GPT-2 of random weights that reads CONTEXT bytes, with a chat template."""
    config = transformers.GPT2Config(vocab_size=256, n_positions=CONTEXT, n_embd=24, n_layer=2, n_head=4)
    monkeypatch.setitem(boxes.CONFIGS, "gpt2", config)
    made = boxes.random_box(tmp_path / "box", "gpt2", seed=8)
    (made / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return made


def asked(folder: Path, **other: Any) -> dict[str, Any]:
    return {
        "box_id": f"folder:{folder}",
        "data_id": "reviews-en",
        "lang": "en",
        "form": "plain",
        "wordings": [asdict(way) for way in wordings("en")[:2]],
        "shots": [0, 1, 2, 4, 16],
        "orders": 2,
        "sample": 6,
        "seed": 3,
        **other,
    }


@cache
def opened(folder: Path) -> tuple[Any, Tokenizer]:
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval(), Tokenizer.from_folder(folder)


def reference(folder: Path, text: str, answers: tuple[str, str]) -> np.ndarray:
    """Each answer's summed log-probability, prompt and answer read as one text."""
    model, tokenizer = opened(folder)
    start = len(tokenizer.encode(text))
    found = []
    for answer in answers:
        ids = torch.tensor([tokenizer.encode(text + answer).ids])
        with torch.no_grad():
            table = model(ids).logits[0, start - 1 : -1].double().log_softmax(-1)
        found.append(float(table.gather(1, ids[0, start:, None]).sum()))
    return np.array(found)


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_runs_are_what_the_reference_says(folder: Path, tmp_path: Path, form: str) -> None:
    settings = asked(folder, form=form)
    report = DirectReport(tmp_path)
    made = few_shot.run(settings, report)
    template = ChatTemplate.from_folder(folder) if form == "chat" else None
    pool = few_shot.split(few_shot.read_reviews("reviews-en", "en"), sample=6, seed=3)
    assert {run["shots"] for run in made["runs"]} >= {0, 1, 2}
    for run in made["runs"]:
        way = next(one for one in wordings("en") if one.id == run["wording"])
        chosen = few_shot.choose(pool, order=run["order"], seed=3)[: run["shots"]]
        prompts = [build(way, chosen, review.text, template=template) for review in pool.held_out]
        scores = np.stack([reference(folder, p.text, p.answers) for p in prompts])
        truth = np.array([review.label for review in pool.held_out])
        assert run["mass"] == pytest.approx(np.exp(scores).sum(1).mean(), rel=1e-3)
        assert run["right"] == (scores.argmax(1) == truth).sum()
        assert sum(map(sum, run["confusion"])) == run["n"] == 6
        assert run["confusion"][1][1] == ((scores.argmax(1) == 1) & (truth == 1)).sum()
    assert made["baseline"] == 0.5
    assert report.said[-1][0] == report.said[-1][1]
    json.dumps(made)


def test_shots_that_do_not_fit_are_told_and_left_out(folder: Path, tmp_path: Path) -> None:
    made = few_shot.run(asked(folder), DirectReport(tmp_path))
    assert {one["shots"] for one in made["skipped"]} >= {16}
    assert all(one["tokens"] > one["limit"] == CONTEXT for one in made["skipped"])
    ran = {(run["wording"], run["order"], run["shots"]) for run in made["runs"]}
    left = {(one["wording"], one["order"], one["shots"]) for one in made["skipped"]}
    assert not ran & left
    assert len(ran | left) == 2 * (1 + 2 * 4)  # no shots have one order only


def test_costs_are_measured_and_memory_is_the_formula(folder: Path, tmp_path: Path) -> None:
    made = few_shot.run(asked(folder, sample=2, orders=1), DirectReport(tmp_path))
    assert made["costs"]
    for row in made["costs"]:
        assert row["kv_bytes"] == row["kv_formula"] == 2 * 2 * 4 * 6 * row["tokens"] * 4
        assert row["seconds"] > 0
    assert [row["tokens"] for row in made["costs"]] == sorted(row["tokens"] for row in made["costs"])


def test_the_same_settings_give_the_same_runs(folder: Path, tmp_path: Path) -> None:
    settings = asked(folder, shots=[0, 2], orders=1)
    first, second = (few_shot.run(settings, DirectReport(tmp_path))["runs"] for _ in range(2))
    assert first == second
    other = few_shot.run({**settings, "seed": 4}, DirectReport(tmp_path))["runs"]
    assert other != first


def test_a_cancelled_run_ends(folder: Path, tmp_path: Path) -> None:
    report = DirectReport(tmp_path)
    report.cancelled = True
    with pytest.raises(Cancelled):
        few_shot.run(asked(folder), report)


def test_one_review_behind_more_and_more_shots(folder: Path, tmp_path: Path) -> None:
    way = wordings("en")[0]
    pool = few_shot.split(few_shot.read_reviews("reviews-en", "en"), sample=6, seed=3)
    text = few_shot.choose(pool, order=0, seed=3)[1].text  # it would be a shot itself
    settings = {**asked(folder), "wording": asdict(way), "shots": list(range(17)), "order": 0, "text": text}
    made = few_shot.run_one(settings, DirectReport(tmp_path))
    chosen = few_shot.choose(pool, order=0, seed=3, without=text)
    assert text not in {shot.text for shot in chosen}
    for row in made["rows"]:
        prompt = build(way, chosen[: row["shots"]], text)
        np.testing.assert_allclose(row["probs"], np.exp(reference(folder, prompt.text, prompt.answers)), rtol=1e-3)
        assert row["tokens"] == len(prompt.text.encode())
    assert [one["shots"] for one in made["skipped"]] == list(range(len(made["rows"]), 17))


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    encoder = boxes.random_box(tmp_path / "bert", "bert", seed=1)
    with pytest.raises(GenerateError, match="no_next_token"):
        few_shot.run(asked(encoder), DirectReport(tmp_path))


def test_what_is_no_clear_review_is_left_out() -> None:
    found = few_shot.read_reviews("reviews-en", "en")
    assert len(found) == 80
    assert {review.label for review in found} == {0, 1}
    texts = {review.text for review in found}
    assert not [text for text in texts if "Both" in text or "Short" in text or "editorial" in text or "near" in text]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_that_is_asked_about_is_ever_shown(seed: int) -> None:
    found = few_shot.read_reviews("reviews-en", "en")
    pool = few_shot.split(found, sample=20, seed=seed)
    held_out = {review.text for review in pool.held_out}
    assert len(held_out) == 20
    assert sum(review.label for review in pool.held_out) == 10
    assert held_out.isdisjoint(review.text for review in pool.train)
    assert len(pool.train) + 20 == len(found)
    orders = [few_shot.choose(pool, order=order, seed=seed) for order in range(4)]
    assert len(set(orders)) == 4
    for chosen in orders:
        assert len({shot.text for shot in chosen}) == 16
        assert held_out.isdisjoint(shot.text for shot in chosen)
        assert all(sum(shot.label for shot in chosen[:count]) == count / 2 for count in (2, 4, 8, 16))
    with pytest.raises(ValueError, match="too few"):
        few_shot.split(found, sample=70, seed=seed)


@pytest.mark.parametrize(("right", "n"), [(0, 16), (16, 16), (17, 32), (63, 64)])
def test_intervals_are_scipys(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert few_shot.wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("lang", ["en", "zh-TW"])
@pytest.mark.parametrize("template", [None, ChatTemplate(source=TEMPLATE, special_tokens={})])
def test_a_prompt_is_its_pieces(lang: str, template: ChatTemplate | None) -> None:
    shots = (Shot(text="{text} <b>", label=0), Shot(text="很好 {}", label=1))
    for way in wordings(lang):
        short, prompt = (build(way, shots[:count], "what is {this}?", template=template) for count in (1, 2))
        shown: Mapping[str, str] = {
            role: "".join(piece.text for piece in prompt.pieces if piece.role == role)
            for role in ("instruction", "shot", "label", "question")
        }
        assert shown["instruction"].strip() == way.instruction
        assert shown["label"].replace(" ", "") == "".join(way.labels)
        assert "{text} <b>" in shown["shot"]
        assert shown["question"].strip() == way.ask("what is {this}?").strip()
        first = [piece for piece in short.pieces if piece.role != "question"]
        if template is None:
            assert prompt.text.startswith("".join(piece.text for piece in first))
        if template is not None:
            assert prompt.text.endswith("<assistant>")
            assert not prompt.specials


def test_wordings_differ_within_a_language() -> None:
    for lang in ("en", "zh-TW"):
        ways = wordings(lang)
        assert len(ways) >= 3
        assert len({(way.instruction, way.question) for way in ways}) == len(ways)
        assert all("{text}" in way.question for way in ways)
    assert Wording.from_dict(json.loads(json.dumps(asdict(ways[0])))) == ways[0]


def test_two_instructions_are_answered_as_the_reference_does(folder: Path, tmp_path: Path) -> None:
    settings = {
        "box_id": f"folder:{folder}",
        "instructions": ["What?", "Say <b>yes</b>."],
        "text": "A film.",
        "max_new_tokens": 12,
    }
    report = DirectReport(tmp_path)
    made = prompt_pair.run(settings, report)["answers"]
    model, tokenizer = opened(folder)
    for answer, instruction in zip(made, settings["instructions"], strict=True):
        assert answer["prompt"] == f"<user>{instruction}\n\nA film.</user><assistant>"
        ids = torch.tensor([tokenizer.encode(answer["prompt"]).ids])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        new = out[0, ids.shape[1] :].tolist()
        assert answer["text"] == b"".join(tokenizer.token_bytes(one) for one in new).decode(errors="backslashreplace")
        assert (answer["tokens_in"], answer["tokens_out"], answer["ended"]) == (ids.shape[1], 12, False)
    assert len(report.partials) == 24
    with pytest.raises(GenerateError) as caught:
        prompt_pair.run({**settings, "text": "x" * CONTEXT}, DirectReport(tmp_path))
    assert caught.value.values["limit"] == CONTEXT - 12
