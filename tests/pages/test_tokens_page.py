"""Step 1-1 on three small boxes that are trained here; what it counts is counted again by the reference."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from tokenizers import Tokenizer as Reference
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from components import engine
from lessons import words
from llmkit import shelf
from tests.pages.conftest import OpenPage, done, shown_text
from tests.pages.moving import sent, settle

SENTENCE = "這本書 the movie 😀"
TEXTS = ["The movie was good, and I liked the movie.", "這本書很好看，我很喜歡這本書。", "the end"] * 4
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>"


def byte_level() -> Reference:
    reference = Reference(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.decoder = decoders.ByteLevel()
    specials = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    reference.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=specials)
    )
    return reference


def word_piece() -> Reference:
    reference = Reference(models.WordPiece(unk_token="[UNK]"))
    reference.normalizer = normalizers.BertNormalizer()
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[UNK]", "[CLS]", "[SEP]"]
    reference.train_from_iterator(TEXTS[:1], trainers.WordPieceTrainer(vocab_size=80, special_tokens=specials))
    reference.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return reference


def unigram() -> Reference:
    return Reference(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0, byte_fallback=False))


REFERENCES = {"gpt2-starter": byte_level(), "chatty": byte_level(), "bert": word_piece(), "other": unigram()}


@pytest.fixture(autouse=True)
def boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the small boxes on the shelf; no review set is there."""
    for box_id, reference in REFERENCES.items():
        (tmp_path / box_id).mkdir()
        reference.save(str(tmp_path / box_id / "tokenizer.json"))
    (tmp_path / "chatty" / "chat_template.jinja").write_text(CHATML)
    here = {box_id: tmp_path / box_id for box_id in REFERENCES}
    monkeypatch.setattr(shelf, "locate", here.get)
    monkeypatch.setattr(engine, "boxes_here", lambda default, asked=None: tuple(here))
    monkeypatch.setattr(engine, "fingerprint", lambda box_id: f"{tmp_path}/{box_id}")


def pictures(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def picture(app: AppTest, name: str) -> str:
    """The one picture that holds an element of this class."""
    return next(element.proto.body for element in app.get("html") if f'class="{name}"' in element.proto.body)


def ids_drawn(app: AppTest) -> list[int]:
    """The ids under the tokens of the first picture."""
    return [int(token_id) for token_id in re.findall(r"<small>(\d+)</small>", picture(app, "tok-row"))]


@pytest.mark.parametrize("box_id", ["gpt2-starter", "bert"])
def test_every_token_is_drawn_with_its_id(open_page: OpenPage, box_id: str) -> None:
    app = open_page("tokens", lang="en", box=box_id, sentence=SENTENCE)
    assert not app.exception
    assert ids_drawn(app) == REFERENCES[box_id].encode(SENTENCE).ids
    app.toggle(key="tokens_specials").set_value(False).run()
    assert ids_drawn(app) == REFERENCES[box_id].encode(SENTENCE, add_special_tokens=False).ids


def test_a_split_character_is_framed_and_shown_as_bytes(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="zh-TW", box="gpt2-starter", sentence="😀")
    seen = pictures(app)
    assert '<bdi class="tok-whole">😀</bdi>' in seen
    for byte in "😀".encode():
        assert f'<span class="tok-byte">{byte:02X}</span>' in seen
    assert "\ufffd" not in seen


def test_an_unknown_word_shows_what_was_lost(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", box="bert", sentence="movie 書")
    assert '<bdi class="tok-whole tok-lost">書</bdi>' in pictures(app)


def test_markup_stays_text(open_page: OpenPage) -> None:
    for box_id in ("gpt2-starter", "bert"):
        app = open_page("tokens", lang="en", box=box_id, sentence="</script><img src=x onerror=alert(1)>")
        assert "<img" not in pictures(app)
        assert "</script" not in pictures(app)
        assert not app.exception


def words_at(data: dict[str, Any], step: int) -> list[list[str]]:
    """The sentence's words after some steps, each as its pieces, put together from what the browser is sent."""
    states = list(data["first"])
    for changes in data["changes"][:step]:
        for word, state in changes:
            states[word] = state
    shown = ["".join(text for _, text in run) for run in data["glyphs"]]
    return [[shown[glyphs] for group in data["states"][state] for glyphs, _, _ in group["pieces"]] for state in states]


@pytest.mark.parametrize("box_id", ["gpt2-starter", "bert"])
def test_steps_go_from_first_pieces_to_tokens(open_page: OpenPage, box_id: str) -> None:
    app = open_page("tokens", lang="en", box=box_id, sentence="the movie")
    data = sent(app, "tokens_steps")
    last = len(data["changes"])
    tokens = REFERENCES[box_id].encode("the movie", add_special_tokens=False).tokens
    assert data["told"][0] == words("en")("tokens.steps.none", last=last)
    assert [(slider["low"], slider["high"]) for slider in data["sliders"]] == [(0, last)]
    end = [piece for word in words_at(data, last) for piece in word]
    if box_id == "bert":
        assert end == [token.removeprefix("##") for token in tokens]
    else:
        assert last == len("the movie") - len(tokens)
        assert words_at(data, 0) == [list("the"), list("·movie")]
        assert end == [token.replace("Ġ", "·") for token in tokens]


def test_every_merge_is_the_references(open_page: OpenPage) -> None:
    """Each step of a word joins the pair that stands first in the file's own list of merges."""
    sentence = "the movie 這本書"
    data = sent(open_page("tokens", lang="en", box="gpt2-starter", sentence=sentence), "tokens_steps")
    merges = json.loads(REFERENCES["gpt2-starter"].to_str())["model"]["merges"]
    ranks = [
        piece[2]
        for changes in data["changes"]
        for _, state in changes
        for group in data["states"][state]
        for piece in group["pieces"]
        if piece[1] == "new"
    ]
    told = [re.search(r"(\S+) \+ (\S+) →.*rank (\d+)", line) for line in data["told"][1:]]
    assert [int(match[3]) for match in told] == ranks == sorted(ranks)
    for match in told:
        if "⟨" not in match[0]:
            assert "".join(merges[int(match[3])]).replace("Ġ", "·") == match[1] + match[2]


def test_a_settled_step_is_said_and_ticks(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", box="gpt2-starter", sentence="the movie")
    assert done(app)[1] == "open"
    app = settle(app, tokens_step=1)
    assert html.escape(sent(app, "tokens_steps")["told"][1]) in pictures(app)
    assert done(app)[1] == "done"


def test_boxes_stand_side_by_side(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", box="gpt2-starter", sentence=SENTENCE)
    app = app.multiselect(key="tokens_boxes_gpt2-starter").set_value(["gpt2-starter", "bert", "chatty"]).run()
    assert not app.exception
    cards = picture(app, "tok-columns")
    for box_id in ("gpt2-starter", "bert", "chatty"):
        assert f"<h3>{box_id}</h3>" in cards
    assert cards.count('class="tok-card"') == 3
    app = app.multiselect(key="tokens_boxes_gpt2-starter").set_value([]).run()
    assert not app.exception


def test_cost_is_what_the_reference_counts(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", box="gpt2-starter", sentence=SENTENCE)
    drawn = picture(app, "tok-bars")
    for lang in ("zh-TW", "en"):
        texts = [words(lang)(f"tokens.parallel.{number}") for number in range(1, 7)]
        tokens = sum(len(REFERENCES["gpt2-starter"].encode(text).ids) for text in texts)
        assert f"<b>{tokens / sum(map(len, texts)):.2f}</b>" in drawn
    assert app.radio(key="tokens_source").options == [words("en")("tokens.cost.parallel")]


def test_what_an_instruct_box_receives(open_page: OpenPage) -> None:
    say = words("en")
    app = open_page("tokens", lang="en", box="chatty", sentence="good <b>")
    sent = "<|im_start|>user\ngood <b><|im_end|>\n<|im_start|>"
    assert f"<bdi>{html.escape(sent)}</bdi>" in pictures(app)
    assert say("tokens.chat.sent", box="chatty", n=len(REFERENCES["chatty"].encode(sent).ids)) in shown_text(app)
    app = open_page("tokens", lang="en", box="bert", sentence="good")
    assert say("tokens.chat.none", box="bert") in shown_text(app)


@pytest.mark.parametrize("guess", ["few", "some", "many", "most"])
def test_the_check_is_counted(open_page: OpenPage, guess: str) -> None:
    app = open_page("tokens", lang="en", box="gpt2-starter", sentence=SENTENCE)
    text = "the movie 鬱鬱鬱"
    app.selectbox(key="tokens_check_box").set_value("chatty")
    app.text_input(key="tokens_check_text_en").set_value(text)
    app.run()
    app.radio(key="guess_tokens_count").set_value(guess).run()
    app.button(key="run_tokens_count").click().run()
    count = len(REFERENCES["chatty"].encode(text).ids)
    limits = {"few": len(text) // 2, "some": len(text), "many": 2 * len(text), "most": count}
    answer = next(name for name, limit in limits.items() if count <= limit)
    verdict = (app.success if guess == answer else app.info)[-1].value
    assert words("en")("tokens.check.because.split", n=3, characters="鬱") in verdict
    assert f"{count} tokens" in verdict


def test_another_kind_of_tokenizer_is_a_message(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", box="other", sentence=SENTENCE)
    assert not app.exception
    assert len(app.error) == 1


def test_a_broken_box_among_the_others_is_a_message(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "chatty" / "tokenizer.json").write_text("{")
    app = open_page("tokens", lang="en", box="gpt2-starter", sentence=SENTENCE)
    app = app.multiselect(key="tokens_boxes_gpt2-starter").set_value(["gpt2-starter", "chatty"]).run()
    assert not app.exception
    assert len(app.error) == 1
    assert ids_drawn(app)
    assert app.radio(key="guess_tokens_count")


def test_a_long_sentence_is_drawn_in_part(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="zh-TW", box="gpt2-starter", sentence="鬱" * 2000)
    assert not app.exception
    drawn = picture(app, "tok-row")
    assert drawn.count('class="tok ') == 300
    assert words("zh-TW")("tokens.picture.more", shown=300, all=6000) in drawn


def test_the_page_needs_no_torch() -> None:
    code = "import sys, components.tokens_sections; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
