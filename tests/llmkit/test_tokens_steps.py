"""A sentence's steps begin with its first pieces, change one thing at a time and end in its tokens."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.tokens import AddedToken, ByteLevelBPE, Merge, Tokenizer, Try, WordPiece, sentence_steps
from llmkit.tokens.byte_level_bpe import BYTE_TO_SYMBOL, GPT2_PATTERN
from llmkit.tokens.measure import measure_cost, split_characters
from llmkit.tokens.normalise import keep
from llmkit.tokens.pretokenise import split_by
from llmkit.tokens.wordpiece import BertNormaliser, split_words

PAIRS = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("a", "t"), ("å", "¥"), ("å¥", "½"), ("l", "l"), ("ll", "ll")]
SYMBOLS = list(BYTE_TO_SYMBOL.values()) + [left + right for left, right in PAIRS]
BPE = Tokenizer(
    model=ByteLevelBPE(
        vocab={piece: token_id for token_id, piece in enumerate(SYMBOLS)},
        ranks={pair: rank for rank, pair in enumerate(PAIRS)},
    ),
    normaliser=keep,
    pretokeniser=split_by(GPT2_PATTERN),
    added=(AddedToken(token_id=999, content="<|end|>"),),
)
PIECES = ["[UNK]", "un", "##do", "##ing", "the", "好", "!"]
WORD_PIECE = Tokenizer(
    model=WordPiece(vocab={piece: token_id for token_id, piece in enumerate(PIECES)}),
    normaliser=BertNormaliser(),
    pretokeniser=split_words,
)


@given(st.text(alphabet="the llat好奸<|end|>😀 \n", max_size=40))
@settings(deadline=None)
def test_merges_of_a_sentence_go_from_bytes_to_tokens_by_rank(text: str) -> None:
    steps = sentence_steps(BPE, text)
    plain = text.replace("<|end|>", "")
    assert [piece.data for word in steps[0].words for piece in word] == [bytes([byte]) for byte in plain.encode()]
    encoding = BPE.encode(text)
    tokens = [data for data, token_id in zip(encoding.token_bytes, encoding.ids, strict=True) if token_id != 999]
    assert [piece.data for word in steps[-1].words for piece in word] == tokens
    for before, now in pairwise(steps):
        assert isinstance(now.event, Merge)
        assert now.word is not None
        assert PAIRS[now.event.rank] == (now.event.left, now.event.right)
        fresh = [(at, piece) for at, word in enumerate(now.words) for piece in word if piece.state == "new"]
        assert [at for at, _ in fresh] == [now.word]
        assert [w for at, w in enumerate(now.words) if at != now.word] == [
            tuple(type(piece)(data=piece.data, state="piece") for piece in w)
            for at, w in enumerate(before.words)
            if at != now.word
        ]
        assert sum(map(len, now.words)) == sum(map(len, before.words)) - 1


def test_ranks_of_a_sentence_rise() -> None:
    ranks = [step.event.rank for step in sentence_steps(BPE, "the the at llll") if isinstance(step.event, Merge)]
    assert ranks == sorted(ranks)
    assert len(ranks) > 5


def test_looks_into_the_vocabulary_end_in_the_tokens() -> None:
    steps = sentence_steps(WORD_PIECE, "Undoing the 好!")
    assert [[p.data.decode() for p in word] for word in steps[0].words] == [
        ["undoing"],
        ["the"],
        ["好"],
        ["!"],
    ]
    assert [[p.data.decode() for p in word] for word in steps[-1].words] == [
        ["un", "do", "ing"],
        ["the"],
        ["好"],
        ["!"],
    ]
    assert [step.event.piece for step in steps[1:7] if isinstance(step.event, Try)] == [
        "undoing",
        "undoin",
        "undoi",
        "undo",
        "und",
        "un",
    ]
    assert [p.state for p in steps[6].words[0]] == ["new", "waiting"]


def test_an_unknown_word_is_marked_whole() -> None:
    last = sentence_steps(WORD_PIECE, "unx the")[-1]
    assert [(p.data, p.state) for p in last.words[0]] == [(b"unx", "unknown")]
    long = sentence_steps(WORD_PIECE, "x" * 101)
    assert len(long) == 1
    assert WORD_PIECE.encode("x" * 101).pieces == ("[UNK]",)


def test_costs_are_counted() -> None:
    cost = measure_cost(BPE, ["the好", "奸<|end|>", ""])
    assert (cost.texts, cost.characters, cost.tokens) == (
        3,
        12,
        2 + 1 + 2 + 1,
    )  # t he, 好, two bytes with one, <|end|>
    assert cost.split == 1  # 奸: only its first two bytes have a merge
    assert cost.tokens_per_character == pytest.approx(6 / 12)
    assert measure_cost(WORD_PIECE, ["unx the"]).unknown == 1
    assert measure_cost(BPE, []).tokens_per_character == 0


def test_split_characters() -> None:
    assert split_characters([]) == ()
    assert split_characters([(0, 0), (0, 1), (0, 1), (1, 2), (0, 0)]) == (0,)
