"""Step 4-4: versions are tried as llmkit tries them, a winner is said only where scipy would, nonsense is counted."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from streamlit.testing.v1 import AppTest

from components import prompt_tuning_engine as found
from components import prompt_tuning_picture as picture
from lessons import words
from llmkit import jobs, journal
from llmkit.generate.nonsense import Fact, facts, judge
from llmkit.generate.trial_rows import sets
from llmkit.tune.data.prepared import PreparedRow, keep
from llmkit.write import changes, kept
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
HOSTILE = "</b><img src=x onerror=alert(1)>"
LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])


@pytest.fixture(autouse=True)
def bundled_box_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page asks the box on the workbench, whatever else is on this machine."""
    monkeypatch.setattr("components.prompts_engine.usual", lambda box_id, boxes: box_id)


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


def until_done(app: AppTest, *, seconds: float = 200) -> AppTest:
    """Draw the page again once no job is going on."""
    deadline = time.monotonic() + seconds
    while any(job.active for job in jobs.all_jobs()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return app.run()


def trial(lang: str, name: str = "mood") -> Any:
    return next(one for one in sets(lang) if one.id == name)


def result(right: list[bool]) -> dict[str, Any]:
    return {"rows": [{"right": one} for one in right], "right": sum(right), "n": len(right), "low": 0.0, "high": 1.0}


def tried(name: str, right: list[bool]) -> found.Tried:
    return found.Tried(version=found.Version(name=name, template=name), result=result(right), badge=found.Badge.live())


@LANGS
def test_both_versions_are_tried_and_the_board_says_what_the_jobs_found(open_page: OpenPage, lang: str) -> None:
    say = words(lang)
    app = open_page("prompt_tuning", lang=lang, box=BOX)
    assert not app.exception
    own = trial(lang)
    assert app.text_area(key=f"prompt_tuning_a_mood_{lang}").value == own.vague
    until_done(press(app, "prompt_tuning_try"))
    assert not app.exception
    assert not app.error
    results = []
    for side, template in (("a", own.vague), ("b", own.precise)):
        job = jobs.find("prompt_trial", found.trial_settings(BOX, own, template))
        assert job is not None
        assert job.state == "done"
        results.append(job.result)
        name = say(f"prompt_tuning.side.{side}")
        assert say(
            "prompt_tuning.board.one",
            name=name,
            right=job.result["right"],
            n=16,
            low=f"{job.result['low']:.0%}",
            high=f"{job.result['high']:.0%}",
        ) in seen(app)
    first, second = ([row["right"] for row in one["rows"]] for one in results)
    only = [sum(a and not b for a, b in zip(x, y, strict=True)) for x, y in ((first, second), (second, first))]
    p = binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
    assert (
        say("prompt_tuning.unclear", first="@", second="@", only_first="@", only_second="@", p="@")[:4] in seen(app)
    ) == (p >= 0.05)
    assert done(app)[2] == "done"
    assert "prompt_tuning_try" not in [button.key for button in app.button]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ([True] * 9 + [False], [False] * 10, "first"),
        ([False] * 10, [True] * 9 + [False], "second"),
        ([True] * 5 + [False] * 5, [False] * 10, "none"),
        ([True] * 10, [True] * 10, "none"),
    ],
)
def test_a_winner_is_said_only_where_the_exact_test_says_so(first: list[bool], second: list[bool], kind: str) -> None:
    one, two = tried("a", first), tried("b", second)
    duel = found.half_duel(
        tried("a", [x for x in first for _ in (0, 1)]), tried("b", [x for x in second for _ in (0, 1)])
    )
    total = duel.only_first + duel.only_second
    assert duel.p == pytest.approx(binomtest(duel.only_first, total).pvalue if total else 1.0)
    assert found.decided(duel) == kind
    ranking = found.rank([one, two])
    assert bool(ranking.unclear or ranking.tied) == (kind == "none")
    if kind != "none":
        assert ranking.winner == ("a" if kind == "first" else "b")


def test_three_versions_are_corrected_for_being_three() -> None:
    good, bad = [True] * 6 + [False] * 4, [False] * 10
    assert not found.rank([tried("a", good), tried("b", bad)]).unclear
    pair = found.rank([tried("a", good), tried("b", bad), tried("c", [True] * 5 + [False] * 5)])
    assert pair.p["b"] == pytest.approx(2 * binomtest(6, 6).pvalue)
    assert set(pair.unclear) == {"b", "c"}


@LANGS
def test_a_prompt_that_cannot_be_filled_is_said_and_nothing_is_tried(open_page: OpenPage, lang: str) -> None:
    say = words(lang)
    app = open_page("prompt_tuning", lang=lang, box=BOX)
    key = f"prompt_tuning_a_mood_{lang}"
    for text, code, values in (
        ("{texts}", "prompt_unknown_variable", {"name": "texts", "known": "\\{text\\}"}),
        ("good?", "prompt_without_variable", {"known": "\\{text\\}"}),
        ("", "prompt_empty_version", {}),
        ("{text", "prompt_brace", {"at": 1, "near": "\\{text"}),
    ):
        app.text_area(key=key).set_value(text).run()
        assert not app.exception
        assert say(f"common.error.{code}", **values) in [error.value for error in app.error]
        assert "prompt_tuning_try" not in [button.key for button in app.button]
        assert say("prompt_tuning.warning") in seen(app)
    assert done(app)[1] == "done"


@LANGS
def test_versions_are_kept_restored_and_deleted(open_page: OpenPage, lang: str) -> None:
    app = open_page("prompt_tuning", lang=lang, box=BOX)
    key = {side: f"prompt_tuning_{side}_mood_{lang}" for side in "ab"}
    app.text_area(key=key["a"]).set_value("First? {text}").run()
    app.text_input(key="prompt_tuning_name_a").set_value(HOSTILE).run()
    press(app, "prompt_tuning_keep_a")
    me = journal.profiles()[0].id
    (one,) = kept(me, "prompts")
    assert (one.name, one.text) == (HOSTILE, "First? {text}")
    assert done(app)[3] == "done"
    app.text_area(key=key["a"]).set_value("Second? {text}").run()
    press(app, f"prompt_tuning_restore_b_{one.id}")
    assert app.text_area(key=key["b"]).value == "First? {text}"
    html = picture.difference(changes("Second? {text}", "First? {text}"), words(lang))
    assert html in [element.proto.body for element in app.get("html")]
    press(app, f"prompt_tuning_delete_{one.id}")
    assert kept(me, "prompts") == ()
    press(app, "prompt_tuning_back")
    assert [text.text for text in kept(me, "prompts")] == ["First? {text}"]
    assert not app.exception
    assert not [element for element in app.get("html") if "<img" in element.proto.body]
    assert not [element for element in app.markdown if re.search(r"(?<!\\)<img", element.value)]


def test_a_kept_version_that_was_tried_stands_on_the_board(open_page: OpenPage) -> None:
    app = open_page("prompt_tuning", lang="en", box=BOX)
    key = "prompt_tuning_a_mood_en"
    app.text_input(key="prompt_tuning_name_a").set_value("old").run()
    press(app, "prompt_tuning_keep_a")
    until_done(press(app, "prompt_tuning_try"))
    app.text_area(key=key).set_value("New {text}").run()
    assert "old: " in seen(app)
    until_done(press(app, "prompt_tuning_try"))
    assert len([job for job in jobs.all_jobs() if job.kind == "prompt_trial"]) == 3  # B was not tried again
    assert "old: " in seen(app)
    assert not app.exception


@LANGS
def test_pasted_rows_are_tried(open_page: OpenPage, own_home: Any, lang: str) -> None:
    app = open_page("prompt_tuning", lang=lang, box=BOX)
    app.segmented_control(key="prompt_tuning_set").set_value("pasted").run()
    app.text_area(key="prompt_tuning_paste").set_value("question,x\n1+1,2").run()
    press(app, "prompt_tuning_use")
    assert [error.value for error in app.error]
    app.text_area(key="prompt_tuning_paste").set_value(f'question,expected\n"1+1, {HOSTILE}",2\n2+2,4').run()
    press(app, "prompt_tuning_use")
    app.selectbox(key="prompt_tuning_score_pasted").set_value("number").run()
    assert not app.exception
    assert not app.error
    assert app.text_area(key=f"prompt_tuning_a_own_{lang}").value == "{question}"
    until_done(press(app, "prompt_tuning_try"))
    (job,) = [jobs.get(one.id) for one in jobs.all_jobs() if one.settings["template"] == "{question}"]
    assert [row["question"] for row in job.result["rows"]] == [f"1+1, {HOSTILE}", "2+2"]
    assert not app.exception
    assert not [element for element in app.get("html") if "<img" in element.proto.body]


def test_prepared_data_gives_its_test_part_in_turns(own_home: Any) -> None:
    rows = [PreparedRow(f"text {n}", ("good", "bad")[n < 6], "test" if n % 2 else "train", n) for n in range(12)]
    rows.append(PreparedRow("no label", None, "test", 99))
    about = keep(rows, name="x", text="t", label="l", threshold=None, mendings=(), seed=0, shares=(0.5, 0.0, 0.5))
    given = found.prepared_rows(about.id)
    assert [(row.values["text"], row.expected) for row in given] == [
        ("text 1", "bad"),
        ("text 7", "good"),
        ("text 3", "bad"),
        ("text 9", "good"),
        ("text 5", "bad"),
        ("text 11", "good"),
    ]


@LANGS
def test_the_check_needs_the_trial_and_answers_from_half_of_it(open_page: OpenPage, lang: str) -> None:
    say = words(lang)
    app = open_page("prompt_tuning", lang=lang, box=BOX)
    app.radio(key="guess_prompt_tuning_half").set_value("none").run()
    press(app, "run_prompt_tuning_half")
    assert say("common.error.trial_not_run") in [error.value for error in app.error]
    until_done(press(app, "prompt_tuning_try"))
    press(app, "run_prompt_tuning_half")
    own = trial(lang)
    right = [
        np.array(
            [row["right"] for row in jobs.find("prompt_trial", found.trial_settings(BOX, own, one)).result["rows"]]
        )
        for one in (own.vague, own.precise)
    ]
    a, b = (int((x[::2] & ~y[::2]).sum()) for x, y in (right, right[::-1]))
    p = binomtest(a, a + b).pvalue if a + b else 1.0
    answer = "none" if p >= 0.05 else "first" if a > b else "second"
    said = "".join(element.value for element in (*app.success, *app.info))
    assert (say("common.check.right", answer=say(f"prompt_tuning.check.{answer}")) in said) == (answer == "none")
    assert f"{p:.2f}" in said


@LANGS
def test_nonsense_is_counted_and_can_be_read(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    few = facts(lang)[:3]
    monkeypatch.setattr("llmkit.generate.nonsense.facts", lambda _: few)
    app = open_page("prompt_tuning", lang=lang, box=BOX)
    until_done(press(app, "prompt_tuning_nonsense_start"))
    assert not app.exception
    assert not app.error
    job = jobs.find("nonsense", found.nonsense_settings(BOX, lang))
    assert job is not None
    rows = job.result["rows"]
    for way, kinds in found.counts(rows).items():
        name = words(lang)(f"prompt_tuning.way.{way}")
        assert kinds == {
            kind: sum(row["way"] == way and row["outcome"] == kind for row in rows)
            for kind in ("right", "made_up", "unknown")
        }
        assert words(lang)("prompt_tuning.nonsense.alt", way=name, n=3, **kinds) in seen(app)
    assert done(app)[0] == "done"
    app.selectbox(key="prompt_tuning_nonsense_question").set_value(2).run()
    assert words(lang)("prompt_tuning.nonsense.truth", answers=" / ".join(few[2].answers)) in seen(app)


def test_changes_are_paired_and_corrected() -> None:
    def rows(way: str, outcomes: str) -> list[dict[str, Any]]:
        names = {"r": "right", "m": "made_up", "u": "unknown"}
        return [{"way": way, "outcome": names[one]} for one in outcomes]

    made = found.changes(
        rows("plain", "mmmmmmmmrr") + rows("unsure", "uuuuuuumur") + rows("context", "rrrmmmmmrm"), "made_up"
    )
    assert (made["unsure"].only_first, made["unsure"].only_second) == (7, 0)
    assert (made["context"].only_first, made["context"].only_second) == (3, 1)
    assert made["unsure"].p == pytest.approx(2 * binomtest(7, 7).pvalue)
    assert made["context"].p == pytest.approx(binomtest(3, 4).pvalue)


def test_what_was_recorded_is_what_would_be_asked_now_and_is_judged_alike() -> None:
    listed = json.loads(found.RECORDED.read_text(encoding="utf-8"))
    assert [one["settings"]["lang"] for one in listed] == ["en", "zh-TW"]
    for one in listed:
        lang = one["settings"]["lang"]
        now = json.loads(json.dumps(found.nonsense_settings(BOX, lang)))
        assert {**one["settings"], "box_id": BOX} == {name: now[name] for name in one["settings"]}
        assert all((one["device"], one["date"], one["versions"]))
        rows = one["result"]["rows"]
        assert len(rows) == 3 * len(facts(lang))
        for row in rows:
            fact = Fact(question=row["question"], answers=tuple(row["answers"]), context="")
            assert row["outcome"] == judge(row["text"], fact)


@LANGS
def test_an_answer_of_the_box_stays_text(lang: str) -> None:
    row = {"way": "plain", "text": f"{HOSTILE}\x07", "outcome": "made_up"}
    html = picture.answers([row], words(lang))
    assert "<img" not in html
    assert "\x07" not in html
    assert words(lang)("prompt_tuning.outcome.made_up") in html
