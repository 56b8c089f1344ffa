"""Our tokenizers against the reference on every row of both review sets, with the boxes' own files."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import processors
from transformers import AutoTokenizer

from llmkit import shelf
from llmkit.tokens import ChatTemplate, Encoding, Tokenizer

pytestmark = pytest.mark.registry

BOXES = ("gpt2-starter", "minilm-l6", "smollm2-135m-instruct")
REVIEWS = ("reviews-en", "reviews-zh-tw")
CHUNK = 2_000


def folder(box_id: str) -> Path:
    """The box's folder, fetched if need be; the bundled box is there or its tests are skipped while it is made."""
    return shelf.locate(box_id) or shelf.get(box_id)


@pytest.fixture(scope="module", params=BOXES)
def pair(request: pytest.FixtureRequest) -> tuple[Reference, Tokenizer]:
    """The reference with truncation and padding off, and without the cosmetic trimming of offsets."""
    path = folder(request.param)
    reference = Reference.from_file(str(path / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    if isinstance(reference.post_processor, processors.ByteLevel):
        reference.post_processor = processors.ByteLevel(trim_offsets=False)
    return reference, Tokenizer.from_folder(path)


@functools.cache
def opened(box_id: str) -> tuple[Reference, Tokenizer]:
    """The reference as the file says, and ours; read once, not for every example."""
    path = folder(box_id)
    return Reference.from_file(str(path / "tokenizer.json")), Tokenizer.from_folder(path)


def alike(theirs: object, ours: Encoding) -> bool:
    return (
        ours.ids == tuple(theirs.ids)
        and ours.pieces == tuple(theirs.tokens)
        and ours.offsets == tuple(theirs.offsets)
        and ours.word_ids == tuple(theirs.word_ids)
    )


@pytest.mark.slow
@pytest.mark.parametrize("data_id", REVIEWS)
def test_agrees_on_every_review(pair: tuple[Reference, Tokenizer], data_id: str) -> None:
    reference, tokenizer = pair
    folder(data_id)
    rows = [row.text for row in shelf.open_data(data_id).rows]
    assert len(rows) > 20_000
    wrong = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        for text, theirs in zip(chunk, reference.encode_batch(chunk), strict=True):
            ours = tokenizer.encode(text)
            if not alike(theirs, ours) or tokenizer.decode(ours.ids) != reference.decode(theirs.ids):
                wrong.append(text)
    assert wrong == []


@given(text=st.text(alphabet=st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"]), max_size=60))
@settings(max_examples=300, deadline=None)
def test_byte_level_boxes_agree_on_any_text(text: str) -> None:
    for box_id in ("gpt2-starter", "smollm2-135m-instruct"):
        reference, tokenizer = opened(box_id)
        assert tokenizer.encode(text).ids == tuple(reference.encode(text).ids)


def test_agrees_with_what_transformers_opens(pair: tuple[Reference, Tokenizer], request: pytest.FixtureRequest) -> None:
    path = folder(request.node.callspec.params["pair"])
    reference = AutoTokenizer.from_pretrained(path)
    for text in (
        "The movie was good.",
        "這本書很好看 😀",
        "",
        "  a\r\n\tb  ",
        "don't <|im_start|> [MASK] <|endoftext|>",
    ):
        assert pair[1].encode(text).ids == tuple(reference(text)["input_ids"])


def test_the_instruct_box_is_sent_what_transformers_sends() -> None:
    path = folder("smollm2-135m-instruct")
    template = ChatTemplate.from_folder(path)
    reference = AutoTokenizer.from_pretrained(path)
    talk = [{"role": "user", "content": "你好,<b>介紹一下你自己。"}, {"role": "assistant", "content": "好。"}]
    assert template is not None
    for prompt in (True, False):
        sent = template.render(talk, add_generation_prompt=prompt)
        assert sent == reference.apply_chat_template(talk, tokenize=False, add_generation_prompt=prompt)
        expected = reference.apply_chat_template(talk, tokenize=True, add_generation_prompt=prompt, return_dict=False)
        assert Tokenizer.from_folder(path).encode(sent, specials=False).ids == tuple(expected)
