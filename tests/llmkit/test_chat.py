"""A conversation: its branches, its file, and its window beside ``apply_chat_template`` of transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from llmkit import shelf
from llmkit.chat.conversation import MOST_CHARACTERS, MOST_TURNS, ROOT, Answer, Conversation, Token, messages
from llmkit.chat.conversation_file import MOST_BYTES, from_json, to_json, to_markdown
from llmkit.chat.errors import ChatError
from llmkit.chat.window import PLAIN_STOP, TEMPLATE, Format, fit
from llmkit.tokens import ChatTemplate, Tokenizer
from tests.llmkit.random_box import random_box

INSTRUCT = "smollm2-135m-instruct"
HOSTILE = "</script><img src=x onerror=alert(1)> ```\n[x](javascript:alert(1)) 書🙂 \u202e"
TALK = [
    {"role": "system", "content": "  Be brief. 簡短。 "},
    {"role": "user", "content": "us"},
    {"role": "assistant", "content": "user\nassistant"},
    {"role": "user", "content": "你好🙂 <|im_end|> {{ 7 * 7 }} <b>"},
]


def branched() -> Conversation:
    """Two first turns; the second has two answers, the first of which goes on."""
    talk = Conversation(system="S").say(ROOT, "user", "a").say(0, "assistant", "b").edit(0, "c")
    talk = talk.say(2, "assistant", "d").say(3, "user", "e")
    return talk.say(2, "assistant", "f")


def test_the_path_follows_what_was_said_last() -> None:
    talk = branched()
    assert talk.path == (2, 5)
    assert [talk.turns[at].text for at in talk.path] == ["c", "f"]
    assert talk.siblings(0) == talk.siblings(2) == (0, 2)
    assert talk.siblings(3) == (3, 5)


def test_a_branch_is_come_back_to_where_it_was_left() -> None:
    talk = branched()
    assert talk.beside(5, -1).path == (2, 3, 4)
    assert talk.beside(2, -1).path == (0, 1)
    there_and_back = talk.beside(5, -1).beside(2, -1).beside(0, 1)
    assert there_and_back.path == (2, 3, 4)
    assert talk.beside(2, 1) == talk.beside(5, 1) == talk


def test_an_answer_that_is_edited_keeps_the_first() -> None:
    talk = branched().edit(5, "F")
    assert talk.path == (2, 6)
    assert talk.siblings(6) == (3, 5, 6)
    assert talk.turns[6].answer is None


def test_turns_take_turns_and_have_bounds() -> None:
    with pytest.raises(ValueError, match="assistant"):
        Conversation().say(ROOT, "assistant", "x")
    for text, code in ((" \n", "chat_turn_empty"), ("x" * (MOST_CHARACTERS + 1), "chat_turn_too_long")):
        with pytest.raises(ChatError) as caught:
            Conversation().say(ROOT, "user", text)
        assert caught.value.code == code
    full = Conversation()
    for _ in range(MOST_TURNS):
        full = full.say(ROOT, "user", "x")
    with pytest.raises(ChatError, match="chat_full"):
        full.say(ROOT, "user", "x")


def answered() -> Conversation:
    answer = Answer(
        by="box",
        tokens=(
            Token(data=b"\xe4", logprob=-1.5, token_id=3),
            Token(data=b"x"),
            Token(data=b"", logprob=-float("inf")),
        ),
        prompt_tokens=5,
        new_tokens=2,
        limit=64,
        first_s=0.5,
        seconds=1.5,
        end="stopped",
        fallen=2,
        sampling={"temperature": 0.5, "top_k": 3},
        prompt_ids=(1, 2),
        prompt_roles=("", "user"),
    )
    return branched().say(4, "assistant", HOSTILE, answer=answer)


def test_a_file_brings_back_every_branch() -> None:
    talk = answered()
    read = from_json(to_json(talk).encode())
    kept = talk.turns[-1].answer
    assert kept is not None
    last = replace(kept.tokens[-1], logprob=None)  # infinity is no number of JSON
    forgotten = replace(kept, prompt_ids=(), prompt_roles=(), tokens=(*kept.tokens[:-1], last))
    assert read == replace(talk, turns=(*talk.turns[:-1], replace(talk.turns[-1], answer=forgotten)))
    assert kept.per_second == pytest.approx(1.0)
    assert kept.tokens[0].bits == pytest.approx(2.164, abs=1e-3)


def damaged() -> dict[str, Any]:
    told: dict[str, Any] = {}
    whole = json.loads(to_json(answered()))

    def case(name: str, *path: str | int, value: Any) -> None:
        copy = json.loads(json.dumps(whole))
        place = copy
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        told[name] = copy

    case("another format", "format", value="x")
    case("another version", "version", value=2)
    case("no text", "system", value=3)
    case("half a character", "system", value="\ud800")
    case("turns that are none", "turns", value={})
    case("a turn that is none", "turns", 1, value="x")
    case("a parent that comes later", "turns", 1, "parent", value=4)
    case("a parent that is no number", "turns", 1, "parent", value=True)
    case("two of one side", "turns", 1, "role", value="user")
    case("a role that is none", "turns", 1, "role", value="tool")
    case("a user who says nothing", "turns", 0, "text", value=" ")
    case("a text without end", "turns", 0, "text", value="x" * 100_000)
    case("a child that is another's", "picked", 1, value=5)
    case("nobody picked", "picked", 0, value=-1)
    case("picked too short", "picked", value=[])
    case("tokens that are none", "turns", 6, "answer", "tokens", value=[[1, 2, 3]])
    case("bytes that are none", "turns", 6, "answer", "tokens", value=[["zz", 0, 0]])
    case("an infinite number", "turns", 6, "answer", "seconds", value=float("inf"))
    case("a negative number", "turns", 6, "answer", "new_tokens", value=-1)
    case("an end that is none", "turns", 6, "answer", "end", value="x")
    case("settings that are none", "turns", 6, "answer", "sampling", value={"temperature": "hot"})
    return told


DAMAGED = damaged()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(name: str) -> None:
    with pytest.raises(ChatError) as caught:
        from_json(json.dumps(DAMAGED[name]).encode())
    assert caught.value.code == "chat_file_bad"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'"x"'])
def test_what_is_no_file_is_refused(data: bytes) -> None:
    with pytest.raises(ChatError, match="chat_file_bad"):
        from_json(data)
    with pytest.raises(ChatError, match="chat_file_too_big"):
        from_json(data + b" " * (MOST_BYTES + 1))


def test_markdown_brings_nothing_to_life() -> None:
    talk = answered().beside(5, -1)
    written = to_markdown(talk, {"system": "S", "user": "U", "assistant": "A"})
    lines, inside, outside = written.split("\n"), "", []
    for line in lines:
        if inside:
            inside = "" if line == inside else inside
        elif line.startswith("```"):
            inside = line.removesuffix("text")
        else:
            outside.append(line)
    assert not inside
    assert [line for line in outside if line] == ["## S", "## U", "## A", "## U", "## A"]
    assert "````text\n" + HOSTILE + "\n````" in written


@pytest.fixture(scope="module")
def instruct(standard_kit: tuple[str, ...]) -> Path:
    folder = shelf.locate(INSTRUCT)
    assert folder is not None
    return folder


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("answers", [True, False])
def test_the_window_counts_as_the_reference_does(instruct: Path, first: int, answers: bool) -> None:
    talk = TALK[first:]
    tokenizer, template = Tokenizer.from_folder(instruct), ChatTemplate.from_folder(instruct)
    form = Format(template=template)
    window = fit(talk, form=form, tokenizer=tokenizer, limit=4096, reserve=64, answers=answers)
    reference: Any = AutoTokenizer.from_pretrained(instruct, local_files_only=True)
    expected = reference.apply_chat_template(talk, tokenize=True, add_generation_prompt=answers, return_dict=False)
    assert list(window.ids) == expected
    assert window.fallen == ()
    assert sum(window.tokens) + window.template_tokens == len(expected)
    for at, one in enumerate(talk):
        own = [token for token, owner in zip(window.ids, window.owners, strict=True) if owner == at]
        said = tokenizer.decode(own, skip_specials=False)  # a first token may hold the template's line break, too
        assert said.lstrip("\n") == one["content"]


def fitting(talk: list[dict[str, str]], instruct: Path, limit: int) -> tuple[int, ...]:
    """What falls out when everything is tried with the reference: the fewest of the oldest pairs."""
    reference: Any = AutoTokenizer.from_pretrained(instruct, local_files_only=True)
    system, turns = talk[:1], talk[1:]
    for cut in range(0, len(turns), 2):
        ids = reference.apply_chat_template([*system, *turns[cut:]], tokenize=True, add_generation_prompt=True)[
            "input_ids"
        ]
        if len(ids) + 20 <= limit:
            return tuple(range(1, 1 + cut))
    raise AssertionError


@pytest.mark.parametrize("limit", [70, 90, 120, 200, 400])
def test_the_oldest_pairs_fall_out_and_the_system_prompt_stays(instruct: Path, limit: int) -> None:
    words = ["one two three", "vier fünf", "六七八九十", "a b c d e f g h i j k l m n o p q r s t", "x"]
    talk = [{"role": "system", "content": "Be brief."}]
    for word in words:
        talk += [{"role": "user", "content": word}, {"role": "assistant", "content": word * 2}]
    talk.append({"role": "user", "content": "last"})
    form = Format(template=ChatTemplate.from_folder(instruct))
    window = fit(talk, form=form, tokenizer=Tokenizer.from_folder(instruct), limit=limit, reserve=20)
    assert window.fallen == fitting(talk, instruct, limit)
    assert 0 in window.owners
    assert len(talk) - 1 in window.owners
    assert not set(window.fallen) & set(window.owners)
    assert window.free >= 20
    assert all(window.tokens)


def test_a_last_turn_that_is_too_long_is_said(instruct: Path) -> None:
    form, tokenizer = Format(template=ChatTemplate.from_folder(instruct)), Tokenizer.from_folder(instruct)
    talk = messages("S", Conversation().say(ROOT, "user", "long " * 200).turns)
    with pytest.raises(ChatError) as caught:
        fit(talk, form=form, tokenizer=tokenizer, limit=100, reserve=20)
    assert caught.value.code == "chat_no_room"
    standing = fit(talk, form=form, tokenizer=tokenizer, limit=100, reserve=20, answers=False)
    assert standing.free < 0


def test_a_box_without_a_template_reads_the_plain_format(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(random_box(tmp_path, "gpt2", seed=1))
    window = fit(TALK[:3], form=Format(template=None), tokenizer=tokenizer, limit=256, reserve=8)
    assert window.text == "  Be brief. 簡短。 \n\nUser: us\nAssistant: user\nassistant\nAssistant:"
    assert bytes(tokenizer.token_bytes(one)[0] for one in window.ids).decode() == window.text
    assert window.owners[window.text.encode().index(b"us\n")] == 1
    assert window.owners[0] == 0
    assert window.owners[-1] == TEMPLATE
    assert Format(template=None).stops == (PLAIN_STOP,)


def test_nothing_said_is_nothing_sent(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(random_box(tmp_path, "gpt2", seed=1))
    refuses = ChatTemplate(source="{{ messages[0]['role'] }}{{ raise_exception('x') }}", special_tokens={})
    for talk in ([], TALK[:1]):
        window = fit(talk, form=Format(template=refuses), tokenizer=tokenizer, limit=64, reserve=8)
        assert window.ids == ()
        assert window.free == 64


def test_a_template_that_changes_the_words_owns_them(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(random_box(tmp_path, "gpt2", seed=1))
    loud = ChatTemplate(source="{% for m in messages %}{{ m.content | upper }};{% endfor %}", special_tokens={})
    window = fit(TALK[1:2], form=Format(template=loud), tokenizer=tokenizer, limit=64, reserve=8)
    assert window.text == "US;"
    assert window.tokens == (0,)
    assert window.template_tokens == 3
