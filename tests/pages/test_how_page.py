"""Step 1-7: what it shows is computed again with the reference's own model; what a box cannot do is said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM, AutoTokenizer

from components import engine, how_uses
from components import how_answers as answers
from components import how_engine as found
from components.badge import Badge
from components.engine import Made
from lessons import words
from llmkit import shelf
from llmkit.generate.reasoning import run
from llmkit.jobs import DirectReport
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and this book is long."
CHINESE = "這本書很好看，鬱鬱寡歡的我很喜歡。"


def their_bits(folder: Path, text: str) -> tuple[list[int], np.ndarray]:
    """Token ids and −log2 p of each but the first, by transformers."""
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    return ids[0].tolist(), -logprobs.gather(1, ids[0, 1:, None])[:, 0].numpy() / math.log(2)


@pytest.mark.parametrize("text", [SENTENCE, CHINESE])
def test_bits_are_transformers_own_at_every_stage(text: str) -> None:
    folder = shelf.locate(BOX)
    growth = found.growth(text).value
    for stage, place in (("trained", folder), ("001pct", folder / "checkpoints/001pct")):
        ids, bits = their_bits(place, text)
        assert growth.found[stage].ids == tuple(ids)
        np.testing.assert_allclose(growth.found[stage].bits, bits, atol=1e-3)
    means = [growth.found[stage].mean_bits for stage in found.STAGES]
    assert means[0] == pytest.approx(math.log2(growth.vocab_size), abs=0.6)
    assert means[3] < means[1] < means[0]
    read = found.read(BOX, text).value
    assert read.bits_per_byte == pytest.approx(
        read.found.bits.sum() / len(b"".join(engine.open_box(BOX).tokenizer.encode(text).token_bytes[1:]))
    )


@pytest.mark.parametrize("text", [SENTENCE, CHINESE])
def test_the_game_is_fair(text: str) -> None:
    read = found.read(BOX, text).value
    turns = found.turns(read)
    assert [turn["start"] for turn in turns] == [group.start for group in read.groups[1:]]
    for turn in turns:
        assert turn["options"][turn["right"]] == turn["shown"]
        assert len(turn["options"]) == len(set(turn["options"])) == found.OPTIONS
        assert not any("⟨" in label or "\ufffd" in label for label in turn["options"])
        rows = slice(turn["start"] - 1, turn["end"] - 1)
        assert turn["bits"] == pytest.approx(read.found.bits[rows].sum())
        assert turn["hit"] == bool((read.found.ranks[rows] == 1).all())
    assert len({turn["right"] for turn in turns}) > 1  # the place tells nothing
    assert "".join([read.groups[0].shown, *(turn["shown"] for turn in turns)]).replace("·", " ") == text


def test_a_character_of_several_tokens_is_one_turn() -> None:
    read = found.read(BOX, "我很\U00020000喜歡").value  # a character that no merge holds
    split = [turn for turn in found.turns(read) if len(turn["pieces"]) > 1]
    assert [turn["shown"] for turn in split] == ["\U00020000"]
    assert all(piece.startswith("⟨") for piece in split[0]["pieces"])


def test_each_stage_goes_on_as_transformers_does() -> None:
    growth = found.growth(SENTENCE).value
    folder = shelf.locate(BOX)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(growth.prompt.replace("·", " "), return_tensors="pt").input_ids
    for stage, place in (("010pct", folder / "checkpoints/010pct"), ("trained", folder)):
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=found.NEW_TOKENS, pad_token_id=0
        )
        text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert growth.went_on[stage].replace("·", " ") == text


def test_the_curve_is_the_box_s_own_record() -> None:
    training = found.training()
    folder = shelf.locate(BOX)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(training.bits * math.log(2), [row["loss"] for row in log], rtol=1e-6)
    facts = json.loads((folder / "training.json").read_text())
    assert [training.kept[s] for s in found.STAGES[1:]] == [
        *(kept["tokens"] for kept in facts["kept"]),
        facts["end"]["tokens"],
    ]
    assert facts["machine"]["cpu"] in training.device


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_the_page_says_what_was_measured(open_page: OpenPage, lang: str) -> None:
    app = open_page("how", lang=lang, box=BOX, sentence=SENTENCE)
    assert not app.exception
    assert not app.error
    said = seen(app)
    read = found.read(BOX, SENTENCE).value
    assert f"{read.found.bits.sum():.0f}" in said
    for stage in found.STAGES:
        assert words(lang)(f"how.stage.{stage}") in said
        assert f"{found.growth(SENTENCE).value.found[stage].mean_bits:.1f}" in said
    assert done(app) == ["open"] * 3


@pytest.mark.parametrize("guess", ["less", "more"])
def test_the_check_is_computed(open_page: OpenPage, guess: str) -> None:
    app = open_page("how", lang="en", box=BOX, sentence=SENTENCE)
    app.radio(key="guess_how_shuffle").set_value(guess).run()
    app = app.button(key="run_how_shuffle").click().run()
    before, mixed, text = found.shuffled_bits(BOX, SENTENCE).value
    _, bits = their_bits(shelf.locate(BOX), SENTENCE)
    assert before == pytest.approx(bits.mean(), abs=1e-3)
    right = (mixed > before * 1.1) == (guess == "more")
    assert f"{mixed:.1f}" in (app.success if right else app.info)[-1].value
    assert text.replace("·", "") != SENTENCE.replace(" ", "")


@pytest.mark.parametrize("sentence", ["x", "。"])
def test_a_text_of_one_token_is_a_message(open_page: OpenPage, sentence: str) -> None:
    app = open_page("how", lang="en", box=BOX, sentence=sentence)
    assert not app.exception
    message = words("en")("common.error.text_short", tokens=1)
    assert message in [error.value for error in app.error]


def test_another_line_and_the_own_sentence_can_be_played(open_page: OpenPage) -> None:
    app = open_page("how", lang="en", box=BOX, sentence=SENTENCE)
    app = app.button(key="how_next").click().run()
    assert app.session_state["how_line"] == 1
    assert not app.exception


def test_boxes_that_are_not_here_are_named(open_page: OpenPage, own_home: Path) -> None:
    app = open_page("how", lang="en", box=BOX, sentence=SENTENCE)
    assert not app.exception
    missing = [words("en")("how.missing", box=box) for box in (answers.INSTRUCT, answers.ENCODER)]
    assert [info.value for info in app.info] == [missing[0], missing[1], missing[0]]


def test_what_the_reasoning_job_found_is_counted(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = run({"box_id": BOX, "questions": 2}, DirectReport(tmp_path))["rows"]
    rows[0]["right"] = True
    result = Made(value={"rows": rows}, badge=Badge.cached())
    monkeypatch.setattr(how_uses, "draw_job", lambda *args, **kwargs: result)
    monkeypatch.setattr(answers, "instruct_box", lambda box_id: BOX)
    app = open_page("how", lang="en", box=BOX, sentence=SENTENCE)
    assert not app.exception
    counts = answers.count_right(rows)
    assert [(one.kind, one.way, one.n) for one in counts] == [
        (kind, way, 2) for kind in ("arithmetic", "logic") for way in ("plain", "steps")
    ]
    assert counts[0].right >= 1
    assert counts[0].chance == 0
    assert counts[2].chance == pytest.approx((10 / 3 + 10 / 2) / 20)
    assert f"{counts[0].right} of 2 (95 % interval" in seen(app)
    assert rows[-1]["question"] in app.dataframe[-1].value.to_string(max_colwidth=None)
    app = app.toggle(key="how_only_wrong").set_value(True).run()
    assert not app.exception


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (9, 1), (1, 9), (5, 3), (6, 0)])
def test_the_comparison_is_mcnemar_s_exact_test(gained: int, lost: int) -> None:
    pairs = [(True, False)] * lost + [(False, True)] * gained + [(True, True)] * 3
    rows = [
        {"number": n, "way": way, "right": right}
        for n, pair in enumerate(pairs)
        for way, right in zip(("plain", "steps"), pair, strict=True)
    ]
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    expected = "unclear" if p >= 0.05 else "helped" if gained > lost else "hurt"
    assert answers.compare(rows) == (expected, gained, lost)


@pytest.mark.registry
@pytest.mark.parametrize(("box", "player"), [("minilm-l6", BOX), ("smollm2-135m-instruct", "smollm2-135m-instruct")])
def test_every_family_is_drawn_or_said(
    open_page: OpenPage, standard_kit: tuple[str, ...], box: str, player: str
) -> None:
    app = open_page("how", lang="zh-TW", box=box, sentence=CHINESE)
    assert not app.exception
    assert not app.error
    said = words("zh-TW")("how.other", box=box, other=player) in seen(app)
    assert said == (box != player)
    turns = found.turns(found.read(box, CHINESE).value)
    assert not any("\ufffd" in text for turn in turns for text in (*turn["options"], turn["guess"], *turn["pieces"]))


@pytest.mark.registry
@pytest.mark.slow
def test_the_template_makes_the_difference(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app = open_page("how", lang="en", box=BOX, sentence=SENTENCE)
    app = app.button(key="how_ask").click().run()
    assert not app.exception
    asked = answers.ask(words("en")("how.tune.example"), answers.INSTRUCT).value
    assert "<|im_start|>" in asked["chat"].sent
    assert "Paris" in asked["chat"].wrote
    assert asked["chat"].ended
    assert asked["chat"].wrote in seen(app)
    assert done(app)[2] == "done"
