"""Step 4-2 on the bundled box: the prompt follows the brief, drafts are the reference's, checks are those of llmkit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoModelForCausalLM

from components import content_engine as found
from components import generate_engine as generating
from lessons import words
from llmkit import journal, shelf
from llmkit.generate.decode import Step
from llmkit.write import Brief, check, kept, lines
from tests.llmkit.random_box import random_box
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
SENTENCE = "The movie was good."
HOSTILE = "</b><img src=x onerror=alert(1)>"
LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])


def usual(lang: str) -> Brief:
    say = words(lang)
    return found.usual(lang, SENTENCE, say("content.must.usual"), say("content.must_not.usual"))


def html_of(app: AppTest, part: str) -> list[str]:
    """The page's pieces of HTML that hold `part`."""
    bodies = [element.proto.body for element in app.get("html")]
    return [body for body in bodies if part in body and not body.startswith("<style>")]


def brief_in(app: AppTest) -> str:
    """The brief of the address bar."""
    value: Any = app.query_params["brief"]
    return str(value[0] if isinstance(value, list) else value)


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


def until_written(app: AppTest, *, seconds: float = 120) -> AppTest:
    deadline = time.monotonic() + seconds
    while any(button.key == "content_stop" for button in app.button):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        app.run()
    return app


@LANGS
def test_the_prompt_follows_the_brief_and_the_link_opens_it_again(open_page: OpenPage, lang: str) -> None:
    app = open_page("content", lang=lang, box=BOX, sentence=SENTENCE)
    assert not app.exception
    for line in lines(usual(lang)):
        assert line.text in seen(app)
    assert done(app) == ["open"] * 4
    app.text_input(key=f"content_must_{lang}").set_value("tea, 茶").run()
    app.segmented_control(key="content_kind").set_value("email").run()
    app.slider(key="content_length").set_value((10, 20)).run()
    asked = Brief(
        lang=usual(lang).lang,
        topic=SENTENCE,
        kind="email",
        least=10,
        most=20,
        must_have=("tea", "茶"),
        must_not=usual(lang).must_not,
    )
    for line in lines(asked):
        assert line.text in seen(app)
    assert done(app)[0] == "done"
    address = brief_in(app)
    again = open_page("content", lang=lang, box=BOX, sentence=SENTENCE, brief=address)
    for line in lines(asked):
        assert line.text in seen(again)


def test_the_topic_is_the_workbenchs_sentence_until_the_learner_has_one(open_page: OpenPage) -> None:
    app = open_page("content", lang="en", box=BOX, sentence=SENTENCE)
    app.text_input(key="content_must_en").set_value("tea").run()
    app.text_area(key="sentence").set_value("A day at the sea.").run()
    assert "about: A day at the sea." in seen(app)
    assert "Use these words: tea." in seen(app)
    app.text_input(key="content_topic_en").set_value("my cat").run()
    app.text_area(key="sentence").set_value("Another day.").run()
    assert "about: my cat" in seen(app)
    assert "Use these words: tea." in seen(app)
    assert not app.exception


@pytest.mark.parametrize(
    "address",
    [
        "[",
        "[]",
        "3",
        '{"kind":"poem"}',
        '{"kind":[1]}',
        '{"least":"x"}',
        '{"must_have":[1]}',
        '{"x":1}',
        '{"most":900}',
    ],
)
def test_nonsense_in_the_link_gives_the_usual_brief(open_page: OpenPage, address: str) -> None:
    app = open_page("content", lang="en", box=BOX, sentence=SENTENCE, brief=address)
    assert not app.exception
    assert not app.error
    for line in lines(usual("en")):
        assert line.text in seen(app)


@LANGS
def test_a_brief_that_cannot_be_is_said(open_page: OpenPage, lang: str) -> None:
    app = open_page("content", lang=lang, box=BOX, sentence=SENTENCE)
    app.text_input(key=f"content_must_not_{lang}").set_value("Tea").run()
    app.text_input(key=f"content_must_{lang}").set_value("ｔｅａ").run()
    assert not app.exception
    assert [error.value for error in app.error] == [words(lang)("common.error.brief_conflict", word="ｔｅａ")]
    assert words(lang)("content.warning") in seen(app)


@LANGS
def test_drafts_are_what_the_reference_writes_and_are_checked(open_page: OpenPage, lang: str) -> None:
    app = until_written(press(open_page("content", lang=lang, box=BOX, sentence=SENTENCE), "content_start"))
    assert not app.exception
    assert not app.error
    asked = usual(lang)
    task = found.task(BOX, "\n".join(line.text for line in lines(asked)))
    first = generating.finished(found.asked(task, asked, 0.0, 0))
    assert first is not None
    ids = [step.token_id for step in first.written.steps]
    model: Any = AutoModelForCausalLM.from_pretrained(
        shelf.locate(BOX), dtype=torch.float32, local_files_only=True
    ).eval()
    made = model.generate(
        torch.tensor([list(task.ids)]),
        do_sample=False,
        repetition_penalty=found.PENALTY,
        max_new_tokens=len(ids),
        pad_token_id=0,
    )
    assert ids == made[0, len(task.ids) :].tolist()
    assert len(ids) == found.length_of(task, asked) or ids[-1] in task.stop_ids
    text = found.text_of(task, first.written)
    demands = check(text, asked)
    card = html_of(app, "ct-card")[0]
    assert f"<strong>{sum(one.met for one in demands)}/{len(demands)}</strong>" in card
    assert card.count('<li class="missed">') == sum(not one.met for one in demands)
    assert done(app)[1] == "done"
    again = press(open_page("content", lang=lang, box=BOX, sentence=SENTENCE), "content_start")
    assert html_of(again, "ct-card")[0] == card  # found, not written again
    assert words(lang)("common.badge.cached") in seen(again)


class Slow:
    """A model that writes when the test lets it."""

    def __init__(self, length: int) -> None:
        self.let, self.closed, self._length = threading.Semaphore(0), threading.Event(), length

    def __iter__(self) -> Iterator[Step]:
        for at in range(self._length):
            self.let.acquire()
            if self.closed.is_set():
                return
            yield Step(token_id=300 + at, logprob=-1.0)

    def close(self) -> None:
        self.closed.set()
        self.let.release()


def test_stop_stops_all_drafts_and_another_brief_lets_them_go(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Slow] = []

    def begin(box: object, asked: generating.Asked) -> Slow:
        begun.append(Slow(asked.length))
        return begun[-1]

    monkeypatch.setattr(generating, "_steps", begin)
    app = press(open_page("content", lang="en", box=BOX, sentence=SENTENCE), "content_start")
    deadline = time.monotonic() + 20
    while len(begun) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    for one in begun:
        one.let.release(4)
    time.sleep(0.5)
    app.run()
    assert len(html_of(app, "ct-cursor")) >= 1
    press(app, "content_stop").run()
    assert all(one.closed.is_set() for one in begun)
    assert words("en")("content.stopped", foot="@").split("@")[1] in seen(app)
    press(app, "content_start")
    app.text_input(key="content_audience_en").set_value("bees").run()
    assert all(one.closed.wait(10) for one in begun)
    assert not html_of(app, "ct-card")


def write_own(app: AppTest, text: str) -> AppTest:
    return app.text_area(key="content_editor").set_value(text).run()


@LANGS
def test_a_draft_is_kept_edited_taken_back_and_deleted(open_page: OpenPage, lang: str) -> None:
    app = until_written(press(open_page("content", lang=lang, box=BOX, sentence=SENTENCE), "content_start"))
    press(app, "content_keep_1")
    assert not app.exception
    first = app.text_area(key="content_editor").value
    me = journal.profiles()[0].id
    (one,) = kept(me, "drafts")
    assert one.text == first
    assert one.about["box"] == BOX
    assert done(app)[2] == "done"
    asked = usual(lang)
    own = f"{asked.must_have[0]}. " * 3
    write_own(app, own)
    met = sum(demand.met for demand in check(own, asked))
    assert words(lang)("content.edit.alt", met=met, all=len(check(own, asked))) in seen(app)
    press(app, "content_undo")
    assert app.text_area(key="content_editor").value == first
    press(app, "content_redo")
    assert app.text_area(key="content_editor").value == own
    press(app, "content_edit_keep")
    assert [text.text for text in kept(me, "drafts")] == [own, first]
    newest = kept(me, "drafts")[0]
    press(app, f"content_delete_{newest.id}")
    assert [text.text for text in kept(me, "drafts")] == [first]
    press(app, "content_kept_back")
    assert [text.text for text in kept(me, "drafts")] == [own, first]
    press(app, f"content_open_{one.id}")
    assert app.text_area(key="content_editor").value == first
    assert not app.exception


def test_a_kept_text_that_cannot_be_read_is_said(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path))
    app = write_own(open_page("content", lang="en", box=BOX, sentence=SENTENCE), "Tea.")
    press(app, "content_edit_keep")
    (path,) = (tmp_path / "texts").glob("*.json")
    path.write_text("{")
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert path.read_text() == "{"
    assert app.text_area(key="content_editor").value == "Tea."


@LANGS
def test_a_box_that_writes_nothing_is_said_with_the_way_out(
    open_page: OpenPage, standard_kit: tuple[str, ...], lang: str
) -> None:
    app = open_page("content", lang=lang, box="minilm-l6", sentence=SENTENCE)
    assert not app.exception
    assert "minilm" in "".join(info.value for info in app.info)
    assert not [button for button in app.button if button.key == "content_start"]
    app.radio(key="guess_content_brief").set_value("same").run()
    press(app, "run_content_brief")
    assert len(app.error) == 1


def test_markup_of_the_learner_and_of_the_box_stays_text(open_page: OpenPage, tmp_path: Path) -> None:
    folder = random_box(tmp_path / "box", "gpt2", seed=3)
    app = open_page("content", lang="en", box=f"folder:{folder}", sentence=HOSTILE)
    app.text_input(key="content_must_en").set_value(HOSTILE).run()
    write_own(app, f"{HOSTILE}\n\n- [x](javascript:alert(1)) {HOSTILE}")
    assert not app.exception
    assert html_of(app, "ct-good")
    for element in app.get("html"):
        assert "<img" not in element.proto.body
    assert "](javascript" not in "".join(element.value for element in app.markdown)


@LANGS
def test_the_check_needs_drafts_and_counts_what_both_prompts_get(open_page: OpenPage, lang: str) -> None:
    say = words(lang)
    app = open_page("content", lang=lang, box=BOX, sentence=SENTENCE)
    app.radio(key="guess_content_brief").set_value("brief").run()
    press(app, "run_content_brief")
    assert [error.value for error in app.error] == [say("common.error.draft_not_written")]
    until_written(press(app, "content_start"))
    asked, counts = usual(lang), []
    for one in found.compared(BOX, asked):
        deadline = time.monotonic() + 60
        while (told := generating.finished(one)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert told is not None
        counts.append(sum(demand.met for demand in check(found.text_of(one.task, told.written), asked)))
    assert found.compared(BOX, asked)[0].task.text == f"{lines(asked)[0].text}\n"
    press(app, "run_content_brief")
    assert not app.error
    few, many = counts
    right = "same" if few == many else "brief" if many > few else "line"
    said = "".join(element.value for element in (*app.success, *app.info))
    assert (say("common.check.right", answer=say(f"content.check.{right}")) in said) == (right == "brief")
    assert say("content.check.because", line=few, brief=many, all="@", missed="@").split("@")[0] in said


def test_the_address_is_short_where_the_brief_is_usual(open_page: OpenPage) -> None:
    app = open_page("content", lang="en", box=BOX, sentence=SENTENCE)
    assert "brief" not in app.query_params
    app.segmented_control(key="content_tone").set_value("formal").run()
    assert json.loads(brief_in(app)) == {"tone": "formal"}
    app.segmented_control(key="content_tone").set_value("friendly").run()
    assert "brief" not in app.query_params
