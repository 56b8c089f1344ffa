"""The corpus: nothing held out is learned from, nothing is lost, and any text can be written as tokens."""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.implementations import ByteLevelBPETokenizer

from llmkit.tune.corpus import END_OF_TEXT, Source, encode, is_held_out, one_row, read_text, train_tokenizer
from llmkit.tune.pretrain import Corpus, PretrainConfig

ROOT = Path(__file__).parents[2]
POEM = "《春曉》\n春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。"
DOCUMENTS = tuple(f"第 {n} 首：{POEM} The {n}th cat sat on the mat." for n in range(400))
ODD = (
    "👩‍👩‍👧‍👦",
    "a\u0301 ḉ",
    "\x00\x1b[31m",
    "\u202eright to left\u202c",
    " \t\u3000 ",
    "𠮷野家",
    "\r\n",
    "x" * 5_000,
)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(name="poems", documents=DOCUMENTS, repeats=3)


@pytest.fixture(scope="module")
def tokenizer(source: Source) -> Tokenizer:
    return train_tokenizer(source.train, vocab_size=400)


def test_the_two_sides_share_no_text_and_lose_none(source: Source) -> None:
    assert source.held_out
    assert sorted(source.train + source.held_out) == sorted(DOCUMENTS)
    assert not set(source.train) & set(source.held_out)


def test_a_text_stays_on_its_side_wherever_it_stands(source: Source) -> None:
    twice = Source(name="other", documents=(*reversed(DOCUMENTS), "one more", *DOCUMENTS))
    assert set(twice.held_out) - {"one more"} == set(source.held_out)
    assert len(twice.held_out) >= 2 * len(source.held_out)


def test_two_in_a_hundred_are_held_out() -> None:
    n, p = 20_000, 0.02
    found = sum(is_held_out(f"文件 {i}") for i in range(n))
    assert abs(found - n * p) < 5 * (n * p * (1 - p)) ** 0.5  # five standard deviations of a fair draw


def test_another_process_holds_out_the_same() -> None:
    code = (
        "from llmkit.tune.corpus import is_held_out\nprint([i for i in range(400) if is_held_out(f'文件 {i}')], end='')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONUTF8": "1"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.stdout == str([i for i in range(400) if is_held_out(f"文件 {i}")])


def test_no_window_holds_a_held_out_text(source: Source, tokenizer: Tokenizer) -> None:
    corpus = Corpus([source], tokenizer)
    config = PretrainConfig(vocab_size=400, max_seq_len=64, batch_size=4, max_steps=1)
    per_epoch = corpus.tokens_per_epoch // (64 * 4)
    batches = corpus.windows(config)
    seen = [
        tokenizer.decode(ids, skip_special_tokens=False) for _ in range(per_epoch) for ids in next(batches).tolist()
    ]
    shown = "".join(seen)
    numbers = [text.partition("：")[0] for text in source.held_out]
    assert not [number for number in numbers if f"{number}：" in shown]
    learned = [text.partition("：")[0] for text in source.train]
    assert sum(f"{number}：" in shown for number in learned) > 0.95 * len(learned)


def test_windows_overlap_by_the_one_token_that_is_guessed(source: Source, tokenizer: Tokenizer) -> None:
    corpus = Corpus([source], tokenizer)
    config = PretrainConfig(vocab_size=400, max_seq_len=64, batch_size=4, max_steps=1)
    first, second = (batch for batch, _ in zip(corpus.windows(config), range(2), strict=False))
    assert first.shape == second.shape == (4, 65)
    rows = [*first.tolist(), *second.tolist()]
    assert all(before[-1] == after[0] for before, after in pairwise(rows))
    text = tokenizer.decode([i for row in rows for i in row[:-1]], skip_special_tokens=False)
    assert any(f"{END_OF_TEXT}{document}{END_OF_TEXT}" in text for document in source.train)


def test_windows_are_the_same_again_and_a_later_sitting_goes_on(source: Source, tokenizer: Tokenizer) -> None:
    corpus = Corpus([source], tokenizer)
    config = PretrainConfig(vocab_size=400, max_seq_len=64, batch_size=8, max_steps=1)
    count = 2 * corpus.tokens_per_epoch // (64 * 8)  # into a second epoch
    batches = [batch for batch, _ in zip(corpus.windows(config), range(count), strict=False)]
    later = next(corpus.windows(config, skip=count - 1))
    assert later.equal(batches[-1])
    other = next(corpus.windows(PretrainConfig(vocab_size=400, max_seq_len=64, batch_size=8, max_steps=1, seed=1)))
    assert not other.equal(batches[0])


def test_the_figures_are_those_of_the_text(source: Source, tokenizer: Tokenizer) -> None:
    corpus = Corpus([source], tokenizer)
    (figures,) = corpus.figures
    assert (figures.documents, figures.held_out_documents) == (len(source.train), len(source.held_out))
    assert figures.characters == sum(len(text) for text in source.train)
    assert figures.held_out_bytes == sum(len(text.encode()) for text in source.held_out)
    ends = len(source.train)
    assert figures.tokens == sum(len(tokenizer.encode(text).ids) for text in source.train) + ends
    assert corpus.tokens_per_epoch == 3 * figures.tokens
    assert len(corpus.held_out["poems"]) == figures.held_out_tokens


def test_the_tokenizer_is_the_librarys_own_byte_level_bpe(source: Source, tokenizer: Tokenizer) -> None:
    theirs = ByteLevelBPETokenizer()
    theirs.train_from_iterator(
        source.train, vocab_size=400, min_frequency=0, show_progress=False, special_tokens=[END_OF_TEXT]
    )
    assert tokenizer.get_vocab() == theirs.get_vocab()
    for text in (*DOCUMENTS[:5], *ODD):
        assert tokenizer.encode(text).ids == theirs.encode(text).ids


def test_the_tokenizer_is_the_same_again(source: Source, tokenizer: Tokenizer) -> None:
    assert train_tokenizer(source.train, vocab_size=400).to_str() == tokenizer.to_str()


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_any_text_can_be_written_and_read_back(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = encode([text], tokenizer)
    assert ids.dtype == np.uint16
    assert ids[-1] == tokenizer.token_to_id(END_OF_TEXT)
    assert tokenizer.decode(ids[:-1].tolist()) == text


def test_a_row_holds_every_document_once() -> None:
    documents = [np.array([n] * (n + 1), dtype=np.uint16) for n in range(20)]
    row = one_row(documents, seed=3)
    values, counts = np.unique(row, return_counts=True)
    assert counts.tolist() == [n + 1 for n in values]
    assert row.tolist() == one_row(documents, seed=3).tolist()
    assert row.tolist() != one_row(documents, seed=4).tolist()


@pytest.mark.parametrize(
    "data",
    [
        "一\n\n二\n三\n\n\n\n四",
        "\n\n 一 \n\n二\n三\n \t\n四\n\n",
        "一\r\n\r\n二\r\n三\r\n\r\n四\r\n",
        "\ufeff一\n\n二\n三\n\n四",
    ],
    ids=["plain", "blanks", "windows", "byte order mark"],
)
def test_documents_stand_between_blank_lines(tmp_path: Path, data: str) -> None:
    plain, packed = tmp_path / "text.txt", tmp_path / "text.txt.xz"
    plain.write_bytes(data.encode())
    packed.write_bytes(lzma.compress(data.encode()))
    assert read_text(plain) == read_text(packed) == ("一", "二\n三", "四")


@pytest.mark.parametrize("name", ["latin.txt", "not.xz", "half.xz"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, name: str) -> None:
    data = {"latin.txt": "café".encode("latin-1"), "not.xz": b"plain", "half.xz": lzma.compress(b"a" * 999)[:-9]}[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=name):
        read_text(tmp_path / name)


@pytest.mark.parametrize("data", ["", "\n\n \n\n", "\ufeff"])
def test_an_empty_file_is_no_source(tmp_path: Path, data: str) -> None:
    (tmp_path / "empty.txt").write_text(data, encoding="utf-8")
    with pytest.raises(ValueError, match="hollow: no text"):
        Source(name="hollow", documents=read_text(tmp_path / "empty.txt"))


@pytest.mark.parametrize("repeats", [0, -1])
def test_a_source_is_read_at_least_once(repeats: int) -> None:
    with pytest.raises(ValueError, match="repeats"):
        Source(name="a", documents=("text",), repeats=repeats)


def test_too_little_text_is_refused(tokenizer: Tokenizer) -> None:
    corpus = Corpus([Source(name="a", documents=("一",))], tokenizer)
    with pytest.raises(ValueError, match="do not fill one batch of 2048"):
        next(corpus.windows(PretrainConfig(max_steps=1)))
