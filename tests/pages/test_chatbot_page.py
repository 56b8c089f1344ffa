"""Step 4-1 as a learner sees it: chats with boxes and servers, branches, the window, and no key anywhere."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoModelForCausalLM

from components import chatbot_engine as found
from components import chatbot_more as more
from components import chatbot_text, chatbot_tokens
from components.workbench import DEFAULT_BOX
from lessons import words
from llmkit import shelf
from llmkit.chat.conversation import ROOT, Answer, Conversation, Token
from llmkit.chat.conversation_file import to_json
from llmkit.generate.decode import Step
from llmkit.serve import process
from llmkit.serve.deployment import Deployment
from tests.llmkit.random_box import random_box
from tests.llmkit.rough_server import RoughServer, http
from tests.llmkit.serve_boxes import is_ready, long_llama, wait_for
from tests.pages.conftest import OpenPage, done, seen, shown_text

LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
INSTRUCT = "smollm2-135m-instruct"
KEY = "sk-key-of-the-chatbot-page-27182818"
HOSTILE = "</script><img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](http://x/y.png) $x$ **c** 書🙂"


def talk(app: AppTest) -> found.Talk:
    return app.session_state["_chatbot"]


def until_answered(app: AppTest, seconds: float = 90) -> AppTest:
    deadline = time.monotonic() + seconds
    while any(button.key == "chatbot_stop" for button in app.button):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        app.run()
    assert not app.exception
    return app


def say(app: AppTest, text: str) -> AppTest:
    return until_answered(app.chat_input(key="chatbot_input").set_value(text).run())


def press(app: AppTest, key: str) -> AppTest:
    app = app.button(key=key).click().run()
    assert not app.exception
    return app


def bodies(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def keys(app: AppTest) -> list[str]:
    return [str(button.key) for button in app.button]


class Scripted:
    """A box that says what a test wants; held, it waits after each token."""

    def __init__(self, ids: list[int], *, held: bool = False) -> None:
        self.ids, self.held, self.closed = ids, held, False

    def __iter__(self) -> Iterator[Step]:
        for one in self.ids:
            yield Step(token_id=one, logprob=-2.0)
            while self.held and not self.closed:
                time.sleep(0.01)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the box says from now on, and what it was given to read."""
    script: dict[str, Any] = {"says": "Yes.", "held": False, "read": [], "made": []}

    def begin(box: Any, ids: tuple[int, ...], length: int, stop_ids: frozenset[int], sampling: Any) -> Scripted:
        script["read"].append((ids, sampling))
        said = box.tokenizer.encode(script["says"], specials=False).ids[:length]
        script["made"].append(Scripted(list(said), held=script["held"]))
        return script["made"][-1]

    monkeypatch.setattr(found, "_steps", begin)
    return script


# ---- a box of this machine


@LANGS
def test_it_answers_what_the_reference_answers(open_page: OpenPage, standard_kit: tuple[str, ...], lang: str) -> None:
    """Greedily, through the reference's own chat template."""
    query = {"chatbot_temperature": "0.0", "chatbot_penalty": "1.0", "chatbot_length": "16"}
    app = open_page("chatbot", lang=lang, box=INSTRUCT, **query)
    assert words(lang)("chatbot.talk.empty") in seen(app)
    app = say(app, "What is the capital of France?")
    assert not app.error
    from transformers import AutoTokenizer

    folder = shelf.locate(INSTRUCT)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(asked, tokenize=True, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        made = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=16)[0, len(ids) :].tolist()
        logprobs = model(torch.tensor([ids + made])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    answer = talk(app).conversation.turns[1].answer
    assert answer is not None
    assert [token.token_id for token in answer.tokens] == made
    assert (answer.prompt_tokens, answer.new_tokens, answer.limit) == (len(ids), len(made), 8192)
    expected = [-float(row[one]) / math.log(2) for row, one in zip(logprobs, made, strict=True)]
    assert [token.bits for token in answer.tokens] == pytest.approx(expected, abs=1e-3)
    assert talk(app).conversation.turns[1].text == tokenizer.decode(made, skip_special_tokens=True).strip()
    assert f"<dd>{sum(expected) / len(expected):.1f}</dd>" in bodies(app)
    assert done(app)[0] == "done"

    talk(app).picked = 1  # as a press in the strip does
    app = app.run()
    assert not app.exception
    assert not app.error
    p = math.exp(float(logprobs[1, made[1]]))
    label = chatbot_tokens._labels(answer)[1]
    assert words(lang)("chatbot.why.alt", token=label, p=f"{p:.1%}", q="100.0%", kept="1") in seen(app)
    assert done(app)[1] == "done"


@LANGS
def test_edit_answer_again_and_turn_between_branches(open_page: OpenPage, scripted: dict[str, Any], lang: str) -> None:
    app = say(open_page("chatbot", lang=lang, box=DEFAULT_BOX, chatbot_seed="5"), "first")
    assert "Yes." in seen(app)
    scripted["says"] = "No!"
    app = until_answered(press(app, "chatbot_again_1"))
    assert [turn.text for turn in talk(app).conversation.turns] == ["first", "Yes.", "No!"]
    assert [sampling.seed for _, sampling in scripted["read"]] == [5, 6]  # another draw each time
    assert done(app)[2] == "done"
    assert '<span class="chat-place">2/2</span>' in bodies(app)
    app = press(app, "chatbot_previous_2")
    assert "Yes." in seen(app)
    assert talk(app).conversation.path == (0, 1)
    app = press(press(app, "chatbot_next_1"), "chatbot_edit_0")
    app.text_area(key="chatbot_editor_0").set_value("second")
    scripted["says"] = "Maybe."
    app = until_answered(press(app, "chatbot_save_0"))
    conversation = talk(app).conversation
    assert [conversation.turns[at].text for at in conversation.path] == ["second", "Maybe."]
    assert "chatbot_previous_3" in keys(app)
    app = press(press(app, "chatbot_previous_3"), "chatbot_edit_2")
    app.text_area(key="chatbot_editor_2").set_value("put into its mouth")
    app = press(app, "chatbot_save_2")
    conversation = talk(app).conversation
    assert [conversation.turns[at].text for at in conversation.path] == ["first", "put into its mouth"]
    assert len(scripted["read"]) == 3  # nothing was asked
    app = press(press(app, "chatbot_edit_0"), "chatbot_cancel_0")
    assert "chatbot_save_0" not in keys(app)


@LANGS
def test_clear_can_be_undone_and_a_file_comes_back(open_page: OpenPage, scripted: dict[str, Any], lang: str) -> None:
    app = say(open_page("chatbot", lang=lang, box=DEFAULT_BOX), "first")
    before = talk(app).conversation
    app = press(app, "chatbot_clear")
    assert not talk(app).conversation.turns
    assert words(lang)("chatbot.talk.empty") in seen(app)
    app = press(app, "chatbot_undo")
    assert talk(app).conversation == before
    brought = Conversation(system="Be brief.").say(ROOT, "user", HOSTILE)
    hostile = Answer(by="../../etc", tokens=(Token(data=HOSTILE.encode(), logprob=-3.0, token_id=1),))
    brought = brought.say(0, "assistant", HOSTILE, answer=hostile)
    file = app.get("file_uploader")[0]
    app = file.upload("talk.json", to_json(brought).encode(), "application/json").run()
    assert not app.exception
    assert talk(app).conversation == brought
    assert app.text_area(key="chatbot_system").value == "Be brief."
    assert "<img src=x" not in bodies(app)
    assert "</script>" not in bodies(app)
    assert "](javascript" not in "\n".join(str(element.proto) for element in app.get("markdown"))
    talk(app).picked = 0
    app = app.run()
    assert [error.value for error in app.error] == [words(lang)("common.error.chat_elsewhere")]
    app = press(app, "chatbot_undo")
    assert talk(app).conversation == before
    app = app.get("file_uploader")[0].upload("x.json", b"{}", "application/json").run()
    assert words(lang)("common.error.chat_file_bad", detail="format") in [error.value for error in app.error]
    assert talk(app).conversation == before


@LANGS
def test_long_chats_lose_their_first_turns(open_page: OpenPage, scripted: dict[str, Any], lang: str) -> None:
    app = open_page("chatbot", lang=lang, box=DEFAULT_BOX, chatbot_window="128", chatbot_length="32")
    app.text_area(key="chatbot_system").set_value("Be brief.").run()
    for at in range(4):
        app = say(app, f"turn {at} " + "word " * 12)
    assert not app.error
    ids = scripted["read"][-1][0]
    tokenizer = found.tokens_engine.open_tokenizer(DEFAULT_BOX)
    read = tokenizer.decode(ids)
    fallen = [at for at in range(4) if f"turn {at}" not in read]
    assert fallen
    assert "Be brief." in read
    assert "turn 3" in read
    assert len(ids) + 32 <= 128
    text = seen(app)
    assert words(lang)("chatbot.talk.fallen") in text
    assert done(app)[3] == "done"
    standing = [at for at in range(4) if f">{at + 1}<" in re.sub(r'<div class="chat-in".*', "", bodies(app))]
    assert set(fallen) <= set(standing)
    answer = talk(app).conversation.turns[-1].answer
    assert answer is not None
    assert answer.fallen == 2 * len(fallen)
    app = say(app, "word " * 300)
    assert "chat_no_room" not in shown_text(app)
    needed = words(lang)("common.error.chat_no_room", tokens="@", reserve="@", limit="@").split("@")[0]
    assert needed in "\n".join(error.value for error in app.error)


@LANGS
def test_stop_keeps_what_was_said(open_page: OpenPage, scripted: dict[str, Any], lang: str) -> None:
    scripted["held"], scripted["says"] = True, "One two three"
    app = open_page("chatbot", lang=lang, box=DEFAULT_BOX)
    app = app.chat_input(key="chatbot_input").set_value("count").run()
    wait_for(lambda: bool(talk(app).run.speaking.read().text))
    app = app.run()
    assert app.chat_input(key="chatbot_input").proto.disabled
    assert "One" in seen(app)
    app = press(app, "chatbot_stop")
    app = until_answered(app)
    assert talk(app).conversation.turns[1].text == "One"
    assert words(lang)("chatbot.end.stopped") in seen(app)
    wait_for(lambda: scripted["made"][0].closed)


def test_leaving_the_page_ends_the_answer(
    open_page: OpenPage, scripted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmkit.generate import answering

    monkeypatch.setattr(answering.LocalAnswer.__init__, "__kwdefaults__", {"left_s": 0.3})
    scripted["held"], scripted["says"] = True, "One two three"
    app = open_page("chatbot", lang="en", box=DEFAULT_BOX)
    app = app.chat_input(key="chatbot_input").set_value("count").run()
    app = app.switch_page("pages/parts/tokens.py").run()
    time.sleep(0.5)
    scripted["made"][0].held = False
    wait_for(lambda: scripted["made"][0].closed)
    app = until_answered(app.switch_page("pages/use/chatbot.py").run())
    assert talk(app).conversation.turns[1].answer.end == "stopped"


@LANGS
def test_what_it_says_stays_text(open_page: OpenPage, scripted: dict[str, Any], lang: str) -> None:
    scripted["says"] = HOSTILE
    app = say(open_page("chatbot", lang=lang, box=DEFAULT_BOX), HOSTILE)
    assert not app.error
    assert "<img src=x" not in bodies(app)
    assert "javascript:alert(1)" in bodies(app)  # seen, as text
    assert "](javascript" not in "\n".join(str(element.proto) for element in app.get("markdown"))
    assert talk(app).conversation.turns[1].text == HOSTILE
    assert 'title="2.9"' in bodies(app)  # 2 nats in bits
    assert chatbot_text.share(3.0) == 0.25


@LANGS
def test_an_encoder_cannot_write_and_the_way_out_is_there(
    open_page: OpenPage, standard_kit: tuple[str, ...], lang: str
) -> None:
    app = open_page("chatbot", lang=lang, box="minilm-l6")
    assert not app.exception
    assert words(lang)("common.error.no_next_token", box="minilm-l6") in seen(app).replace("\\", "")
    assert app.chat_input(key="chatbot_input").proto.disabled
    assert words(lang)("chatbot.warning") in seen(app)
    app = press(app, f"chatbot_use_{DEFAULT_BOX}")
    assert app.selectbox(key="box").value == DEFAULT_BOX
    assert not app.warning


@LANGS
def test_the_check_is_answered_from_this_chat(open_page: OpenPage, lang: str) -> None:
    app = open_page("chatbot", lang=lang, box=DEFAULT_BOX, chatbot_length="16")
    app.radio(key="guess_chatbot_surprise").set_value("own").run()
    app = press(app, "run_chatbot_surprise")
    assert [error.value for error in app.error] == [words(lang)("common.error.chat_first")]
    app = say(app, "The movie was zebra quantum")
    app = press(app, "run_chatbot_surprise")
    answer = talk(app).conversation.turns[1].answer
    ids = [*answer.prompt_ids, *(token.token_id for token in answer.tokens)]
    folder = shelf.locate(DEFAULT_BOX)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    bits = [-float(row[one]) / math.log(2) for row, one in zip(rows, ids[1:], strict=True)]
    tokenizer = found.tokens_engine.open_tokenizer(DEFAULT_BOX)
    before = len(tokenizer.encode("User:", specials=False).ids)
    said = len(tokenizer.encode(" The movie was zebra quantum", specials=False).ids)
    own = bits[len(answer.prompt_ids) - 1 :]
    user = bits[before - 1 : before - 1 + said]
    found_user, found_own, n, m = more.compare(talk(app))
    assert (found_user, n) == (pytest.approx(sum(user) / len(user), abs=1e-3), said)
    assert (found_own, m) == (pytest.approx(sum(own) / len(own), abs=1e-3), len(answer.tokens))
    assert bool(app.success) == (found_own >= found_user)


# ---- servers


def chunk(text: str, **more: Any) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}, **more}]})}\n\n"


def endpoint(*chunks: str) -> RoughServer:
    """A server that lists a model, and answers every chat alike."""
    models = http(json.dumps({"data": [{"id": "far-model"}, {"id": "other"}]}))
    answer = http("".join(chunks) + "data: [DONE]\n\n", kind="text/event-stream")

    def give(connection: Any) -> None:
        asked = server.heard[-1]
        connection.sendall(answer if b"/chat/completions" in asked.split(b"\r\n")[0] else models)

    server = RoughServer(give)
    return server


def address_typed(app: AppTest, address: str) -> AppTest:
    app = app.segmented_control(key="chatbot_who").set_value("server").run()
    return app.text_input(key="chatbot_address").set_value(address).run()


@LANGS
def test_an_address_is_confirmed_asked_and_its_key_is_nowhere(
    open_page: OpenPage, own_home: Path, lang: str, own_jobs: Path
) -> None:
    told = {"content": [{"token": "Hello", "logprob": -1.386294361, "bytes": None}]}
    with endpoint(chunk("Hello", logprobs=told), chunk("", finish_reason="stop")) as server:
        app = address_typed(open_page("chatbot", lang=lang, box=DEFAULT_BOX), server.address)
        assert not server.heard  # nothing is asked before the learner has said so
        here = words(lang)("socket.pick.reach.this_machine", host="127.0.0.1", ip="127.0.0.1")
        assert here in [warning.value for warning in app.warning]
        assert app.chat_input(key="chatbot_input").proto.disabled
        app = press(app, "chatbot_confirm")
        app = app.text_input(key=f"chatbot_key_{server.address}").set_value(KEY).run()
        assert app.selectbox(key=f"chatbot_model_{server.address}").value == "far-model"
        app = say(app, "Hi")
        assert not app.error
        sent = [one for one in server.heard if b"/chat/completions" in one]
        assert KEY.encode() in sent[0]
    answer = talk(app).conversation.turns[1].answer
    assert answer.tokens == (Token(data=b"Hello", logprob=-1.386294361),)
    assert 'title="2.0"' in bodies(app)
    talk(app).picked = 0
    app = app.run()
    assert words(lang)("common.error.chat_elsewhere") in [error.value for error in app.error]
    told_all = "\n".join(
        str(element.proto) for kind in ("html", "markdown", "code", "error") for element in app.get(kind)
    )
    assert KEY not in told_all
    assert KEY not in to_json(talk(app).conversation)
    assert KEY not in str(dict(app.query_params))
    for place in (own_home, own_jobs):
        files = [path for path in place.rglob("*") if path.is_file()] if place.exists() else []
        assert not [path for path in files if KEY.encode() in path.read_bytes()]


@LANGS
def test_a_redirect_and_nonsense_are_said(open_page: OpenPage, own_home: Path, lang: str) -> None:
    there = "Location: http://evil.example/v1/chat/completions\r\n"
    for answer, code in (
        (http("", status="302 Go", more=there), "redirected"),
        (http("<html><script>alert(1)</script>", kind="text/html"), "not_json"),
    ):
        with RoughServer(answer) as server:
            app = address_typed(open_page("chatbot", lang=lang, box=DEFAULT_BOX), server.address)
            app = say(press(app, "chatbot_confirm"), "Hi")
        text = "\n".join(error.value for error in app.error).replace("\\", "")
        assert words(lang)(f"socket.error.{code}") in text
        assert ("http://evil.example" in text) == (code == "redirected")
        assert len(talk(app).conversation.turns) == 1
        assert "chatbot_answer" in keys(app)


@LANGS
@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("ftp://example.org", "address_scheme"),
        ("http://user:pw@127.0.0.1", "address_bad"),
        ("http://a b", "address_bad"),
    ],
)
def test_an_address_that_is_none(open_page: OpenPage, own_home: Path, typed: str, code: str, lang: str) -> None:
    app = address_typed(open_page("chatbot", lang=lang, box=DEFAULT_BOX), typed)
    assert not app.exception
    assert [one.value.replace("\\", "") for one in app.error] == [words(lang)(f"common.error.{code}", address=typed)]
    assert words(lang)("chatbot.warning") in seen(app)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    place = tmp_path_factory.mktemp("chatbot-page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        running = process.start(long_llama(place / "box", seed=3), key=KEY)
        try:
            wait_for(lambda: is_ready(running), 60)
            yield running
        finally:
            process.stop(running.id)
            process.leave()


@LANGS
def test_a_deployment_answers_and_its_tokens_are_counted_here(
    open_page: OpenPage, deployed: Deployment, lang: str
) -> None:
    app = open_page("chatbot", lang=lang, box=DEFAULT_BOX, chatbot_length="16", chatbot_temperature="0.0")
    app = app.segmented_control(key="chatbot_who").set_value("server").run()
    app = app.selectbox(key="chatbot_pick").set_value(deployed.id).run()
    app = app.text_input(key=f"chatbot_key_{deployed.id}").set_value(KEY).run()
    app = say(app, "Hi")
    assert not app.error
    answer = talk(app).conversation.turns[1].answer
    assert (answer.prompt_tokens, answer.new_tokens) == (len(b"<user>Hi\n<assistant>"), 16)
    assert words(lang)("chatbot.window.told", used="@", limit="4,096", share="@").split("@")[1] in seen(app)
    logs = [path for path in Path(deployed.box.removeprefix("folder:")).parent.rglob("*") if path.is_file()]
    assert logs
    assert not [path for path in logs if KEY.encode() in path.read_bytes()]


def test_a_box_of_any_family_that_writes_can_answer(open_page: OpenPage, tmp_path: Path) -> None:
    folder = random_box(tmp_path / "box", "llama", seed=6)
    app = say(open_page("chatbot", lang="en", box=f"folder:{folder}", chatbot_length="16"), "Hi")
    assert not app.error
    assert talk(app).conversation.turns[1].answer.new_tokens
