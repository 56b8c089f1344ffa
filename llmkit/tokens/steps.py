"""A whole sentence on its way from words to tokens, one step at a time, for a slider."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmkit.tokens.byte_level_bpe import ByteLevelBPE, Merge, MergeState, to_bytes
from llmkit.tokens.tokenizer import Tokenizer
from llmkit.tokens.wordpiece import Try, WordPiece

PieceState = Literal["waiting", "piece", "new", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPiece:
    """A piece of the sentence as it is cut now.

    Args:
        data: its bytes; may be a part of a character.
        state: ``new`` was made by this very step; ``piece`` stands; ``waiting`` is the uncut rest of a word
            (WordPiece); ``unknown`` belongs to a word that the vocabulary cannot put together (WordPiece).
    """

    data: bytes
    state: PieceState


@dataclass(frozen=True, kw_only=True, slots=True)
class StepView:
    """The sentence after some steps.

    Args:
        words: for each word its pieces now.
        event: what this step did: two pieces joined (byte-level BPE), or one look into the vocabulary
            (WordPiece). None before the first step.
        word: which of ``words`` it did that to; None before the first step.
    """

    words: tuple[tuple[StepPiece, ...], ...]
    event: Merge | Try | None
    word: int | None


def sentence_steps(tokenizer: Tokenizer, text: str) -> tuple[StepView, ...]:
    """Every state of a sentence from its first pieces to its tokens.

    Byte-level BPE begins with single bytes and makes the merges of all words in order of their rank.
    WordPiece begins with whole words and looks into the vocabulary from left to right. Added tokens are cut
    out before and do not appear. The memory grows with the square of the text's length: meant for a sentence,
    not for a book.

    Args:
        tokenizer: a box's tokenizer.
        text: the sentence.

    Returns:
        the first state, then one per step.

    Raises:
        TokenizerError: ``text_not_unicode`` when the text holds a lone surrogate.
    """
    words = [word for _, word in tokenizer.words(text)]
    if isinstance(tokenizer.model, WordPiece):
        return tuple(_word_piece_views(tokenizer.model, words))
    return tuple(_merge_views(tokenizer.model, words))


def _merge_views(model: ByteLevelBPE, words: list[str]) -> Iterator[StepView]:
    histories = [model.merge_steps(word.encode()) for word in words]
    settled = [_pieces(states[0], fresh=False) for states in histories]
    yield StepView(words=tuple(settled), event=None, word=None)
    queues = (
        [(state.merge.rank, at, number) for number, state in enumerate(states) if state.merge is not None]
        for at, states in enumerate(histories)
    )
    for _, at, number in heapq.merge(*queues, key=lambda entry: entry[:2]):
        state = histories[at][number]
        shown = [*settled[:at], _pieces(state, fresh=True), *settled[at + 1 :]]
        yield StepView(words=tuple(shown), event=state.merge, word=at)
        settled[at] = _pieces(state, fresh=False)


def _pieces(state: MergeState, *, fresh: bool) -> tuple[StepPiece, ...]:
    return tuple(
        StepPiece(data=to_bytes(piece), state="new" if fresh and at == state.merged_index else "piece")
        for at, piece in enumerate(state.pieces)
    )


def _word_piece_views(model: WordPiece, words: list[str]) -> Iterator[StepView]:
    settled = [(StepPiece(data=word.encode(), state="waiting"),) for word in words]
    yield StepView(words=tuple(settled), event=None, word=None)
    for at, word in enumerate(words):
        tries = model.match_steps(word)
        found: tuple[StepPiece, ...] = ()
        for number, look in enumerate(tries):
            hopeless = number == len(tries) - 1 and not look.found
            begin = look.end if look.found else look.start
            fresh = (StepPiece(data=word[look.start : look.end].encode(), state="new"),) if look.found else ()
            rest = (StepPiece(data=word[begin:].encode(), state="waiting"),) if begin < len(word) else ()
            unknown = (StepPiece(data=word.encode(), state="unknown"),)
            shown = unknown if hopeless else (*found, *fresh, *rest)
            yield StepView(words=(*settled[:at], shown, *settled[at + 1 :]), event=look, word=at)
            found += tuple(StepPiece(data=piece.data, state="piece") for piece in fresh)
            settled[at] = unknown if hopeless else (*found, *rest)
        if not tries:
            settled[at] = (StepPiece(data=word.encode(), state="unknown"),)
