"""Step 1-8 as a learner sees it: before and after its jobs ran, with every family, and with bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components import prompts_engine as found
from components import prompts_picture as picture
from components.workbench import DEFAULT_BOX
from lessons import words
from llmkit import jobs, shelf
from llmkit.generate import few_shot, prompt_pair
from llmkit.jobs import DirectReport, Job
from tests.pages.conftest import OpenPage, done, seen

pytestmark = pytest.mark.registry

BOX = DEFAULT_BOX
SMOL = "smollm2-135m-instruct"
HOSTILE = '</script><img src=x onerror=alert(1)> <b>&"bold" {text}'


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Every job that the page asks for has been done: by its real task, on a smaller share of its work."""
    tasks = {"few_shot": few_shot.run, "few_shot_one": few_shot.run_one, "prompt_pair": prompt_pair.run}
    less = {
        "few_shot": {"sample": 4, "orders": 1, "shots": [0, 1, 16]},
        "few_shot_one": {"shots": [0, 2, 16]},
        "prompt_pair": {"max_new_tokens": 6},
    }
    kept: dict[str, Any] = {}

    def find(kind: str, settings: Mapping[str, Any]) -> Job | None:
        if settings["box_id"] != BOX:  # the large box would take minutes
            return None
        key = json.dumps([kind, settings], sort_keys=True)
        if key not in kept:
            kept[key] = tasks[kind]({**settings, **less[kind]}, DirectReport(tmp_path))
            kept[kind] = kept[key]
        return Job(id=f"{kind}-{'0' * 16}", kind=kind, settings=settings, state="done", result=kept[key])

    monkeypatch.setattr(jobs, "find", find)
    return kept


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
@pytest.mark.parametrize("box", [BOX, "minilm-l6", SMOL])
def test_the_page_is_whole_with_every_family(
    open_page: OpenPage, standard_kit: tuple[str, ...], lang: str, box: str
) -> None:
    app = open_page("prompts", lang=lang, box=box)
    assert not app.exception
    assert not app.error
    say = words(lang)
    assert app.selectbox(key=f"prompts_box_{box}").value == SMOL
    assert (say("prompts.encoder", box=box) in seen(app)) == (box == "minilm-l6")
    assert (say("prompts.other_box", own=box, box=SMOL) in seen(app)) == (box == BOX)
    assert "minilm-l6" not in app.selectbox(key=f"prompts_box_{box}").options
    assert done(app) == ["open"] * 3
    shipped = found.recorded(found.Choice(box_id=SMOL, lang="en", form="plain"))
    assert shipped is not None
    medians = found.medians(shipped.result["runs"])
    assert f"{medians[16]:.0%}" in seen(app)
    assert shipped.device in seen(app)


def test_what_ran_is_what_is_said(open_page: OpenPage, standard_kit: tuple[str, ...], ran: dict[str, Any]) -> None:
    app = open_page("prompts", lang="en", box=BOX)
    app.selectbox(key=f"prompts_box_{BOX}").set_value(BOX).run()
    assert not app.exception
    assert not app.error
    runs = ran["few_shot"]["runs"]
    assert {run["shots"] for run in runs} == {0, 1}  # sixteen do not fit into its context
    say, text = words("en"), seen(app)
    skipped = ran["few_shot"]["skipped"]
    most = max(one["tokens"] for one in skipped)
    warnings = [warning.value for warning in app.warning]
    assert any(f"{len(skipped)} runs need up to {most} tokens; this box reads 256" in one for one in warnings)
    assert say("prompts.base", box=BOX, limit=256) in text
    one = ran["few_shot_one"]["rows"][0]["probs"]
    assert f"“negative” {one[0]:.0%}, “positive” {one[1]:.0%}" in text
    for answer in ran["prompt_pair"]["answers"]:
        assert f"Read {answer['tokens_in']} tokens" in text
        assert answer["text"].strip()[:10] in text
    assert done(app)[:2] == ["done", "done"]
    costs = {row["shots"]: row for row in ran["few_shot"]["costs"]}
    assert f"{costs[0]['seconds']:.2f} s" in text


def test_what_has_run_so_far_is_drawn(
    open_page: OpenPage, standard_kit: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = found.recorded(found.Choice(box_id=SMOL, lang="en", form="plain"))
    assert shipped is not None
    partial = {**shipped.result, "runs": shipped.result["runs"][:3]}
    going = Job(
        id=f"few_shot-{'1' * 16}", kind="few_shot", settings={}, state="running", done=3, total=48, partial=partial
    )
    monkeypatch.setattr(jobs, "find", lambda kind, _: going if kind == "few_shot" else None)
    monkeypatch.setattr(jobs, "get", lambda _: going)
    monkeypatch.setattr(jobs, "log", lambda _: "")
    app = open_page("prompts", lang="en", box=BOX)
    assert not app.exception
    assert not app.error
    say = words("en")
    first = found.medians(partial["runs"])
    assert say("prompts.accuracy.one", shots=1, share=f"{first[1]:.0%}") in seen(app)
    assert say("prompts.accuracy.one", shots=16, share="").strip() not in seen(app)
    assert done(app)[0] == "open"


def test_the_check_is_answered_by_what_ran(
    open_page: OpenPage, standard_kit: tuple[str, ...], ran: dict[str, Any]
) -> None:
    app = open_page("prompts", lang="en", box=BOX)
    app.selectbox(key=f"prompts_box_{BOX}").set_value(BOX).run()
    medians = found.medians(ran["few_shot"]["runs"])
    right = "same" if medians[0] == medians[1] else "more" if medians[1] > medians[0] else "fewer"
    app.radio(key="guess_prompts_more_shots").set_value(right).run()
    app.button(key="run_prompts_more_shots").click().run()
    assert not app.exception
    assert f"{medians[0]:.0%}" in app.success[-1].value


def test_the_check_wants_the_experiment_first(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app = open_page("prompts", lang="en", box=BOX)
    app.radio(key="guess_prompts_more_shots").set_value("more").run()
    app.button(key="run_prompts_more_shots").click().run()
    assert not app.exception
    assert words("en")("common.error.few_shot_not_run") in [error.value for error in app.error]


def test_the_prompt_is_shown_as_it_is_sent(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app = open_page("prompts", lang="en", box=SMOL)
    sent = app.get("html")
    assert any("&lt;|im_start|&gt;" in element.proto.body for element in sent)
    assert done(app)[2] == "open"
    app.slider(key="prompts_shots").set_value(3).run()
    assert done(app)[2] == "done"
    choice = found.Choice(box_id=SMOL, lang="en", form="chat")
    text = found.pool(choice).held_out[0].text
    prompt = found.prompt(choice, found.wordings("en")[1], 3, text)
    tokens = len(found.sent(SMOL, prompt).encoding)
    assert f"3 shots, {tokens} tokens in all" in seen(app)
    app.segmented_control(key="prompts_view").set_value("plain").run()
    plain = found.prompt(found.Choice(box_id=SMOL, lang="en", form="plain"), found.wordings("en")[1], 3, text)
    count = len(found.sent(SMOL, plain).encoding)
    assert f"3 shots, {count} tokens in all. The template itself adds 0 of them; 0 are special" in seen(app)


def test_every_token_of_the_prompt_is_coloured_by_its_part(standard_kit: tuple[str, ...]) -> None:
    choice = found.Choice(box_id=SMOL, lang="en", form="chat")
    prompt = found.prompt(choice, found.wordings("en")[1], 2, HOSTILE)
    sent = found.sent(SMOL, prompt)
    assert b"".join(sent.encoding.token_bytes).decode() == prompt.text
    for at, (start, end) in enumerate(sent.encoding.offsets):
        done_characters = 0
        for piece in prompt.pieces:
            if done_characters <= start < done_characters + len(piece.text):
                assert sent.roles[at] == piece.role
            done_characters += len(piece.text)
        assert not (sent.encoding.special[at] and sent.roles[at] != "template"), (start, end)
    drawn = picture.prompt(sent, words("en"))
    assert "<img" not in drawn
    assert "</script" not in drawn


def test_a_character_of_several_tokens_is_shown_whole_with_its_bytes(standard_kit: tuple[str, ...]) -> None:
    choice = found.Choice(box_id=SMOL, lang="zh-TW", form="plain")
    sent = found.sent(SMOL, found.prompt(choice, found.wordings("zh-TW")[1], 1, "鬱金香很美"))
    drawn = picture.prompt(sent, words("zh-TW"))
    text = re.sub(r"<rt>.*?</rt>|<[^>]*>", "", drawn)
    assert "鬱金香很美" in text
    assert "判斷這則評論" in text
    assert re.search(r"鬱<rt>(<span>[0-9A-F]+</span>){2,}</rt>", drawn)
    assert "�" not in drawn


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", "review_empty"),
        ("   ", "review_empty"),
        ("x" * 100_000, "typed_too_long"),
        (HOSTILE, None),
        ("😀👩‍👩‍👧‍👦", None),
        ("a\x01b\x7f\tc", None),
    ],
)
def test_any_review_gets_a_picture_or_a_message(
    open_page: OpenPage, standard_kit: tuple[str, ...], typed: str, code: str | None
) -> None:
    app = open_page("prompts", lang="en", box=BOX)
    app.segmented_control(key="prompts_source").set_value("own").run()
    app.text_area(key="prompts_own_en").set_value(typed).run()
    assert not app.exception
    said = [error.value for error in app.error]
    values = {"n": 100_000, "limit": found.TEXT_LIMIT} if code == "typed_too_long" else {}
    assert said == ([words("en")(f"common.error.{code}", **values)] if code else [])
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body


@pytest.mark.parametrize(
    ("typed", "code"),
    [("", "instruction_empty"), ("\t ", "instruction_empty"), ("x" * 100_000, "typed_too_long"), (HOSTILE, None)],
)
def test_any_instruction_gets_an_answer_or_a_message(
    open_page: OpenPage, standard_kit: tuple[str, ...], typed: str, code: str | None
) -> None:
    app = open_page("prompts", lang="zh-TW", box=BOX)
    app.text_area(key="prompts_vague_en").set_value(typed).run()
    assert not app.exception
    assert bool(app.error) == (code is not None)
    if code:
        start = words("zh-TW")(f"common.error.{code}", n=100_000, limit=found.TEXT_LIMIT)
        assert app.error[0].value == start


def test_an_instruction_that_does_not_fit_is_a_message_with_numbers(
    open_page: OpenPage, standard_kit: tuple[str, ...]
) -> None:
    app = open_page("prompts", lang="en", box=BOX)
    app.selectbox(key=f"prompts_box_{BOX}").set_value(BOX).run()
    app.text_area(key="prompts_precise_en").set_value("word " * 390).run()
    assert not app.exception
    assert re.search(r"has \d{3} tokens; .* reads 216 at most", app.error[0].value)


def test_what_was_typed_survives_a_page_turn(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app: AppTest = open_page("prompts", lang="en", box=BOX)
    app.text_area(key="prompts_vague_en").set_value("Hm?").run()
    app.switch_page("pages/parts/tokens.py").run()
    app.switch_page("pages/parts/prompts.py").run()
    assert app.text_area(key="prompts_vague_en").value == "Hm?"


def test_chinese_reviews_are_run_and_said_to_be_hard(open_page: OpenPage, standard_kit: tuple[str, ...]) -> None:
    app = open_page("prompts", lang="zh-TW", box=BOX)
    app.segmented_control(key="prompts_lang").set_value("zh-TW").run()
    assert not app.exception
    assert not app.error
    assert words("zh-TW")("prompts.english") in seen(app)
    assert app.text_area(key="prompts_precise_zh-TW").value == words("zh-TW")("prompts.pair.precise.zh-TW")


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_without_reviews_the_way_to_get_them_is_shown(
    open_page: OpenPage, own_home: Path, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    app = open_page("prompts", lang=lang, box=BOX)
    assert not app.exception
    assert not app.error
    assert shelf.locate("reviews-en") is None
    assert words(lang)("prompts.no_data", data="reviews-en") in [info.value for info in app.info]
