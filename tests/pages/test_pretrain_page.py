"""Step 2-6 as a learner meets it: any text, the dial, a run that is watched, stopped and gone on with, the shelf."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lessons import words
from llmkit import jobs, shelf
from llmkit.tune.recipe import from_depth
from tests.pages.conftest import OpenPage, done, seen

LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
POEMS = "".join(f"第 {n} 首：春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n" for n in range(200))


def paste(app: AppTest, text: str) -> AppTest:
    app.session_state["pretrain_kind"] = "paste"
    app = app.run()
    app = app.text_area(key="pretrain_paste").set_value(text).run()
    return app.button(key="pretrain_use").click().run()


def small(app: AppTest, steps: int = 24, depth: int = 1) -> AppTest:
    app.slider(key="pretrain_depth").set_value(depth)
    return app.number_input(key="pretrain_max_steps").set_value(steps).run()


def finish(app: AppTest, timeout_s: float = 90) -> AppTest:
    """Wait until no job goes on, then draw the page again."""
    until = time.monotonic() + timeout_s
    while any(job.active for job in jobs.all_jobs()) and time.monotonic() < until:
        time.sleep(0.3)
    return app.run()


def keys(app: AppTest) -> list[str]:
    return [button.key or "" for button in app.button]


def errors(app: AppTest) -> str:
    return "\n".join(error.value.replace("\\", "") for error in app.error)


@LANGS
def test_without_any_text_the_page_says_where_to_get_one(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("pretrain", lang=lang)
    assert not app.exception
    assert words(lang)("pretrain.text.no_box") in seen(app)
    assert "pretrain_start" not in keys(app)


@LANGS
@pytest.mark.parametrize("depth", [1, 12])
def test_what_follows_from_depth_is_drawn(open_page: OpenPage, own_home: Path, lang: str, depth: int) -> None:
    app = paste(open_page("pretrain", lang=lang), POEMS * 2)
    app = app.slider(key="pretrain_depth").set_value(depth).run()
    assert not app.exception
    assert not app.error
    vocab = 257 + len({c for c in POEMS if not c.isascii()})
    shown = seen(app)
    recipe = from_depth(depth, vocab_size=vocab)
    assert f"{recipe.max_steps:,}" in shown
    assert f"<dd>{recipe.d_model}</dd>" in shown.replace("\\", "")
    assert done(app)[:2] == ["done", "done"]


@LANGS
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a" * 5_000, "pretrain_one_character"),
        ("很短。", "pretrain_text_short"),
        ("😀", "pretrain_one_character"),
        ("  \n ", "data_empty"),
        ("\x00\x01\x02" * 100, "pretrain_not_text"),
    ],
    ids=["one character", "short", "one emoji", "blank", "control characters"],
)
def test_what_cannot_be_learned_is_answered(
    open_page: OpenPage, own_home: Path, lang: str, text: str, code: str
) -> None:
    app = paste(open_page("pretrain", lang=lang), text)
    assert not app.exception
    fields = dict.fromkeys(("name", "characters", "tokens", "context", "need"), "@")
    pieces = words(lang)(f"common.error.{code}", **fields).split("@")
    assert all(piece in errors(app) for piece in pieces)
    assert "pretrain_start" not in keys(app)


def test_markup_stays_text(open_page: OpenPage, own_home: Path) -> None:
    hostile = "<img src=x onerror=alert(1)> **bold** $x$\n" * 100
    app = paste(open_page("pretrain", lang="en"), hostile)
    assert not app.exception
    assert not app.error
    assert "<img" not in "\n".join(element.proto.body for element in app.get("html"))


@LANGS
def test_a_run_ends_on_the_shelf(open_page: OpenPage, own_home: Path, lang: str) -> None:
    say = words(lang)
    app = small(paste(open_page("pretrain", lang=lang), POEMS))
    app = app.radio(key="guess_pretrain_gap").set_value("same").run()
    app = app.button(key="run_pretrain_gap").click().run()
    assert say("common.error.pretrain_not_run") in errors(app)
    app = app.button(key="pretrain_start").click().run()
    assert not app.exception
    app = finish(app)
    assert not app.exception
    assert done(app) == ["done", "done", "done"]
    (job,) = jobs.all_jobs()
    result = jobs.get(job.id).result
    step, held, train = result["measured"][-1]
    assert (step, result["ending"]) == (24, "finished")
    blind = f"{math.log(result['vocab_size']):.2f}"
    alt = say(
        "pretrain.curve.alt",
        step=24,
        held=f"{held:.2f}",
        train=f"{train:.2f}",
        blind=blind,
        vocab=f"{result['vocab_size']:,}",
    )
    assert alt in seen(app)
    assert result["samples"][-1][1].split("\n")[0] in seen(app)
    assert result["box"] in shelf.boxes_here()
    share = (held - train) / train
    right = "same" if share <= 0.03 else "little" if share <= 0.2 else "much"
    app = app.radio(key="guess_pretrain_gap").set_value(right).run()
    app = app.button(key="run_pretrain_gap").click().run()
    assert f"{share:.1%}" in app.success[-1].value.replace("\\", "")
    app = app.button(key="pretrain_use_box").click().run()
    assert app.session_state["box"] == result["box"]
    for page in ("pages/parts/tokens.py", "pages/parts/attention.py", "pages/parts/how.py"):
        opened = app.switch_page(page).run()
        assert not opened.exception, page


def test_a_stopped_run_goes_on_and_a_wild_one_is_stopped(open_page: OpenPage, own_home: Path) -> None:
    say = words("en")
    app = small(paste(open_page("pretrain", lang="en"), POEMS), steps=20_000, depth=2)
    app = app.button(key="pretrain_start").click().run()
    (job,) = jobs.all_jobs()
    while jobs.get(job.id).active and jobs.get(job.id).partial is None:
        time.sleep(0.2)
    app = finish(app.run().button(key="pretrain_stop").click().run())
    assert not app.exception
    step = jobs.get(job.id).result["step"]
    assert 0 <= step < 20_000
    assert say("pretrain.run.stopped", step=step, steps=20_000) in seen(app)
    assert "pretrain_go_on" in keys(app)
    app = app.button(key="pretrain_go_on").click().run()
    while jobs.get(job.id).active and (jobs.get(job.id).partial or {"step": 0})["step"] <= step:
        time.sleep(0.2)
    assert jobs.get(job.id).partial["step"] > step
    jobs.cancel(job.id)
    app = finish(app)
    assert "pretrain_go_on" in keys(app)
    app = app.number_input(key="pretrain_learning_rate").set_value(1_000.0).run()
    app = app.button(key="pretrain_start").click().run()
    app = finish(app)
    assert not app.exception
    assert "diverged" in app.warning[0].value
