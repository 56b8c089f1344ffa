"""Step 2-4 on the bundled box and the standard kit: what it writes is what transformers writes, and stop stops."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoModelForCausalLM

from components import generate_engine as found
from components import generate_settings as settings
from components import generate_text
from components import generate_tree as tree
from lessons import words
from llmkit import jobs, shelf
from llmkit.generate.decode import Step
from llmkit.generate.kv_compare import run as kv_compare
from llmkit.generate.sampling import Sampling, SamplingError
from llmkit.tokens.written import left_open
from tests.llmkit.random_box import random_box
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import sent, settle

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and"
HOSTILE = "</script><img src=x onerror=alert(1)>"


def model(box_id: str) -> Any:
    """The Hugging Face model of a box."""
    folder = shelf.locate(box_id)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def reference(box_id: str, **asked: Any) -> list[int]:
    """What the Hugging Face model of a box writes greedily."""
    ids = list(found.task(box_id, SENTENCE).ids)
    made = model(box_id).generate(torch.tensor([ids]), do_sample=False, pad_token_id=0, **asked)
    return made[0, len(ids) :].tolist()


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


def keys(app: AppTest) -> list[str]:
    return [button.key for button in app.button]


def until_written(app: AppTest, *, seconds: float = 60) -> AppTest:
    """Draw the page again until nothing is being written."""
    deadline = time.monotonic() + seconds
    while any(str(key).endswith("_stop") for key in keys(app)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        app.run()
    return app


def count(app: AppTest) -> int:
    """How many tokens the page says that it has written."""
    bodies = [h.proto.body for h in app.get("html") if '<dl class="gen-facts' in h.proto.body]
    return int(re.findall(r"<dd>(\d+)</dd>", bodies[0])[0])


class Slow:
    """A model that thinks until the test lets it."""

    def __init__(self, ids: list[int]) -> None:
        self.let, self.closed = threading.Semaphore(0), threading.Event()
        self._ids = ids

    def __iter__(self) -> Iterator[Step]:
        for one in self._ids:
            self.let.acquire()
            if self.closed.is_set():
                return
            yield Step(token_id=one, logprob=-1.0)

    def close(self) -> None:
        self.closed.set()
        self.let.release()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Slow]]:
    """Texts that come when the test wants them; each that is begun is added to the list."""
    begun: list[Slow] = []

    def begin(box: object, asked: found.Asked) -> Slow:
        begun.append(Slow([300 + at for at in range(asked.length)]))
        return begun[-1]

    monkeypatch.setattr(found, "_steps", begin)
    yield begun
    for one in begun:
        one.close()


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_it_writes_what_the_reference_writes(open_page: OpenPage, lang: str) -> None:
    app = open_page("generate", lang=lang, box=BOX, sentence=SENTENCE, generate_temperature="0", generate_penalty="100")
    until_written(press(app, "generate_start"))
    assert not app.exception
    assert not app.error
    ids = reference(BOX, max_new_tokens=settings.LENGTH)
    task = found.task(BOX, SENTENCE)
    told = found.finished(found.asked(task, settings.greedy(), settings.LENGTH))
    assert told is not None
    assert [step.token_id for step in told.written.steps] == ids[: len(told.written.steps)]
    assert len(told.written.steps) == settings.LENGTH or ids[len(told.written.steps) - 1] in task.stop_ids
    assert words(lang)("generate.fact.first") in seen(app)
    assert done(app)[1] == "done"
    with_sampling = reference(BOX, max_new_tokens=12, repetition_penalty=1.3)
    pushed = found.at_once(task, Sampling(temperature=0.0, repetition_penalty=1.3), 12).value
    assert [step.token_id for step in pushed.steps] == with_sampling[: len(pushed.steps)]


def test_the_same_again_is_there_at_once_and_says_so(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = until_written(press(open_page("generate", lang="en", box=BOX, sentence=SENTENCE), "generate_start"))
    text = [h.proto.body for h in first.get("html") if '<dl class="gen-facts' in h.proto.body]
    monkeypatch.setattr(found, "_steps", lambda *_: pytest.fail("it was written before"))
    other = open_page("generate", lang="en", box=BOX, sentence=SENTENCE)
    assert [h.proto.body for h in other.get("html") if '<dl class="gen-facts' in h.proto.body] == text
    press(other, "generate_start")
    assert not other.exception
    assert not any(str(key).endswith("_stop") for key in keys(other))
    assert words("en")("common.badge.cached") in seen(other)


def test_what_decides_nothing_is_not_in_the_key() -> None:
    task = found.task(BOX, SENTENCE)
    greedy = found.asked(task, Sampling(temperature=0.0, seed=7, top_k=3), 20)
    assert greedy == found.asked(task, settings.greedy(), 20)
    drawn = [found.asked(task, Sampling(seed=seed, top_p=p), 20) for seed in (0, 1) for p in (0.5, 1.0)]
    assert len(set(drawn)) == 4
    assert found.asked(task, settings.greedy(), 10_000).length == task.room


def test_text_appears_while_it_is_written_and_stop_stops_it(open_page: OpenPage, slow: list[Slow]) -> None:
    app = press(open_page("generate", lang="en", box=BOX, sentence=SENTENCE), "generate_start")
    assert "generate_write_stop" in keys(app)
    slow[0].let.release(2)
    deadline = time.monotonic() + 20
    while count(app) < 2:
        assert time.monotonic() < deadline
        app.run()
    press(app, "generate_write_stop")
    app.run()
    assert not app.exception
    assert slow[0].closed.is_set()
    assert "generate_write_stop" not in keys(app)
    assert words("en")("generate.write.stopped") in seen(app)
    slow[0].let.release(50)
    app.run()
    assert count(app) == 2
    press(app, "generate_start")  # what was stopped is not remembered: it is written anew
    assert len(slow) == 2


def test_another_box_or_prompt_in_mid_stream_stops_the_first(
    open_page: OpenPage, slow: list[Slow], tmp_path: Path
) -> None:
    other = f"folder:{random_box(tmp_path / 'box', 'llama', seed=7)}"
    app = press(open_page("generate", lang="en", box=other, sentence=SENTENCE), "generate_start")
    assert len(slow) == 1
    app.selectbox(key="box").set_value(BOX).run()
    assert not app.exception
    assert slow[0].closed.is_set()
    assert "generate_write_stop" not in keys(app)
    press(app, "generate_start")
    app.text_area(key="generate_prompt").set_value("Another prompt").run()
    assert slow[1].closed.is_set()


def test_another_setting_in_mid_stream_leaves_the_text_and_says_so(open_page: OpenPage, slow: list[Slow]) -> None:
    app = press(open_page("generate", lang="en", box=BOX, sentence=SENTENCE), "generate_start")
    settle(app, generate_temperature=150)
    assert not slow[0].closed.is_set()
    assert words("en")("generate.write.older") in seen(app)


def test_two_tabs_write_each_their_own(open_page: OpenPage) -> None:
    left = press(open_page("generate", lang="en", box=BOX, sentence=SENTENCE), "generate_start")
    right = press(open_page("generate", lang="zh-TW", box=BOX, sentence="春眠不覺曉"), "generate_start")
    for app, start in ((left, SENTENCE), (right, "春眠不覺曉")):
        until_written(app)
        assert not app.exception
        given = [h.proto.body for h in app.get("html") if '<dl class="gen-facts' in h.proto.body]
        assert len(given) == 1
        assert f'<span class="gen-given">{start}</span>' in given[0]
        assert "\ufffd" not in given[0]


@pytest.mark.parametrize("box_id", ["minilm-l6", "smollm2-135m-instruct"])
def test_the_other_families(open_page: OpenPage, box_id: str, standard_kit: tuple[str, ...]) -> None:
    app = open_page("generate", lang="en", box=box_id, sentence=SENTENCE, generate_length="10")
    assert not app.exception
    assert not app.error
    writer = BOX if box_id == "minilm-l6" else box_id
    assert (words("en")("generate.other", box=box_id, other=BOX) in seen(app)) == (box_id == "minilm-l6")
    assert words("en")("generate.write.ready", box=writer) in seen(app)
    until_written(press(app, "generate_start"))
    assert not app.exception
    assert done(app)[1] == "done"


@pytest.mark.parametrize("typed", ["😀👩‍👩‍👧‍👦🏳️‍🌈", "a\x01b\x7fc\x1b\u202e", HOSTILE, "   ", "مرحبا", "。。。"])
def test_any_prompt_is_gone_on_with(open_page: OpenPage, typed: str) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE, generate_length="10")
    app.text_area(key="generate_prompt").set_value(typed).run()
    until_written(press(app, "generate_start"))
    assert not app.exception
    assert not app.error
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body
        assert "\ufffd" not in element.proto.body


def test_an_empty_prompt_is_the_workbenchs_sentence_left_open(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence="這本書很好看。")
    assert app.text_area(key="generate_prompt").placeholder == "這本書很好看"
    assert len(found.task(BOX, "這本書很好看").ids) == len(found.task(BOX, left_open("這本書很好看。")).ids)
    assert left_open("。。") == "。。"
    with pytest.raises(ValueError, match="prompt_empty"):
        found.task(BOX, "")


def test_a_prompt_that_does_not_fit_is_said_with_its_numbers(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence="春眠不覺曉" * 200)
    assert not app.exception
    assert len(app.error) == 1
    assert "256" in app.error[0].value
    app.text_area(key="generate_prompt").set_value("x" * 100_000).run()
    assert not app.exception
    assert "100,000" in app.warning[0].value
    assert len(app.text_area(key="generate_prompt").value) == 2_000
    app.text_area(key="generate_prompt").set_value("short").run()
    assert not app.error
    assert not app.warning


def test_a_full_context_has_room_for_one_more(open_page: OpenPage, tmp_path: Path) -> None:
    box_id = f"folder:{random_box(tmp_path / 'box', 'gpt2', seed=7)}"
    app = open_page("generate", lang="en", box=box_id, sentence="x" * 64)
    until_written(press(app, "generate_start"))
    assert not app.exception
    assert words("en")("generate.write.full", limit=64) in seen(app)
    assert len(tree_ids(app)) == 0
    press(app, "generate_dice")
    assert not app.exception
    assert words("en")("generate.steps.over", limit=64) in seen(app)
    press(app, "generate_back")
    assert not app.error


def tree_ids(app: AppTest) -> tuple[int, ...]:
    branches: tree.Branches = app.session_state[tree._TREE]
    return branches.ids()


@pytest.mark.parametrize("top_p", [1, 100])
def test_the_edges_of_the_sliders(open_page: OpenPage, top_p: int) -> None:
    asked = {"generate_temperature": "0", "generate_top_k": "0", "generate_min_p": "50", "generate_top_p": str(top_p)}
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE, generate_length="10", **asked)
    until_written(press(app, "generate_start"))
    assert not app.exception
    settle(app, generate_temperature=200, generate_top_p=top_p, generate_length=10)
    until_written(press(app, "generate_start"))
    assert not app.exception
    assert not app.error
    with pytest.raises(SamplingError):
        Sampling(top_p=0.0)


@pytest.mark.parametrize("asked", ["99999999", "-1", "NaN", "<b>", "٣"])
def test_nonsense_in_the_address_is_one_of_the_places(open_page: OpenPage, asked: str) -> None:
    names = ("temperature", "top_k", "top_p", "min_p", "penalty", "length", "path", "seed", "beams", "columns", "t0")
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE, **{f"generate_{one}": asked for one in names})
    assert not app.exception
    assert not app.error


def test_the_picture_is_sent_whole_and_once(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE)
    data = sent(app, "generate_pipeline")
    task = found.task(BOX, SENTENCE)
    logits = found.logits(task).value
    packed = np.frombuffer(base64.b64decode(data["logits"]), dtype="<f4")
    np.testing.assert_array_equal(packed, logits.values[logits.order])
    assert [logits.order[at] in task.ids for at in data["seen"]] == [True] * len(set(task.ids))
    settle(app, generate_temperature=30, generate_top_k=3, generate_top_p=50, generate_min_p=5, generate_penalty=150)
    assert sent(app, "generate_pipeline") == data
    assert done(app)[0] == "done"
    last = found.odds(task, Sampling(temperature=0.3, top_k=3, top_p=0.5, min_p=0.05, repetition_penalty=1.5)).value[-1]
    assert f"{last.probs.max():.1%}" in seen(app)
    assert "".join(app.query_params["generate_temperature"]) == "30"


def test_branches_are_kept_and_gone_back_to(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE)
    press(press(app, "generate_dice"), "generate_dice")
    first = tree_ids(app)
    assert len(first) == 2
    press(app, "generate_back")
    assert tree_ids(app) == first[:1]
    branches: tree.Branches = app.session_state[tree._TREE]
    order = found.logits(branches.task, first[:1]).value.order
    other = next(int(one) for one in order if one != first[1])
    branches.go_on(other, -1.0)
    app.run()
    assert tree_ids(app) == (first[0], other)
    assert done(app)[2] == "done"
    nodes = sent(app, "generate_steps")["nodes"]
    assert [node["state"] for node in nodes] == ["way", "side", "here"]
    branches.at = 0
    branches.go_on(first[1], -9.0)  # the branch that is there already
    assert len(branches.nodes) == 3
    assert branches.at == 1


def test_a_link_brings_the_way_back(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE)
    for _ in range(3):
        press(app, "generate_dice")
    path = "".join(app.query_params["generate_path"])
    other = open_page("generate", lang="en", box=BOX, sentence=SENTENCE, generate_path=path)
    assert tree_ids(other) == tree_ids(app)
    branches: tree.Branches = other.session_state[tree._TREE]
    ids = list(branches.task.ids)
    with torch.no_grad():
        logprobs = model(BOX)(torch.tensor([[*ids, *tree_ids(other)]])).logits[0].double().log_softmax(-1)
    for at, node in enumerate(branches.nodes):
        assert node.logprob == pytest.approx(float(logprobs[len(ids) - 1 + at, node.token_id]), abs=1e-4)
    for nonsense in ("1.2.x", "99999999", "8191." * 99, f"{path}.999999"):
        assert not open_page("generate", lang="en", box=BOX, sentence=SENTENCE, generate_path=nonsense).exception


@pytest.mark.parametrize("width", [1, 5])
def test_beams_are_the_references(open_page: OpenPage, width: int) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE)
    app.segmented_control(key="generate_beams").set_value(width).run()
    press(app, "generate_beams_start")
    assert not app.exception
    made = found.beams(found.task(BOX, SENTENCE), width, tree.BEAM_LENGTH).value
    ids = list(made.text_ids(made.found[0]))
    end = found.task(BOX, SENTENCE).stop_ids[0]
    assert reference(BOX, num_beams=width, max_new_tokens=tree.BEAM_LENGTH, eos_token_id=end)[: len(ids)] == ids
    nodes = sent(app, "generate_beam_tree")["nodes"]
    assert len([node for node in nodes if node["state"] == "won"]) == len(ids)
    assert width == 1 or "pruned" in {node["state"] for node in nodes}
    assert f"{made.branches[made.found[0]].total:.2f}" in seen(app)
    assert done(app)[3] == "done"


def test_columns_write_each_with_their_own_settings(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE, generate_length="10")
    app.segmented_control(key="generate_columns").set_value(4).run()
    until_written(press(app, "generate_columns_start"))
    assert not app.exception
    assert done(app)[4] == "done"
    texts = [h.proto.body for h in app.get("html") if "gen-text small" in h.proto.body]
    assert len(texts) == 4
    assert len(set(texts)) == 4


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_the_cache_is_measured_both_ways(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lang: str
) -> None:
    monkeypatch.setattr("components.generate_more.KV_TOKENS", 8)
    app = open_page("generate", lang=lang, box=BOX, sentence=SENTENCE)
    press(app, "generate_kv_start")
    asked = found.plain_settings(found.task(BOX, SENTENCE), 8)
    deadline = time.monotonic() + 90
    while (job := jobs.find("kv_compare", asked)) is None or job.active:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    app.run()
    assert not app.exception
    assert not app.error
    assert job.result["with_ids"] == kv_compare(asked, jobs.DirectReport(tmp_path))["without_ids"]
    assert words(lang)("generate.kv.same", text="@").split("@")[0] in seen(app)
    assert done(app)[5] == "done"


def test_the_check_is_computed(open_page: OpenPage) -> None:
    app = open_page("generate", lang="en", box=BOX, sentence=SENTENCE, generate_temperature="0")
    app.radio(key="guess_generate_seeds").set_value("one").run()
    press(app, "run_generate_seeds")
    assert words("en")("generate.check.one") in app.success[-1].value
    settle(app, generate_temperature=200, generate_top_k=0, generate_top_p=100)
    app.radio(key="guess_generate_seeds").set_value("all").run()
    press(app, "run_generate_seeds")
    assert words("en")("generate.check.all") in app.success[-1].value


def test_what_a_model_writes_is_never_run() -> None:
    html = generate_text.written(b"<b>", [HOSTILE.encode(), b"\xe4", b"\xbd"], [-1.0, -1.0, -1.0], end="<i>")
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;img" in html
    assert '<span class="gen-byte">E4</span><span class="gen-byte">BD</span>' in html
