"""What the Embeddings page computes, once for all sessions: the table, neighbours, layouts, likeness by layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components import engine, tokens_engine
from components.engine import Made
from llmkit.tokens import Encoding, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmkit.tokens import Tokenizer
    from llmkit.trace import Trace, Value
    from llmkit.trace.space import Analogy, Method, Neighbours

Floats = NDArray[np.float32]

MAX_TOKENS = 64
"""Tokens of the sentence that the heatmap and the layouts show."""

MAX_NEIGHBOURS = 30
"""Neighbours that are kept for the slider."""

CLOUD_NEIGHBOURS = 5
"""Neighbours that each token of the sentence brings into the layout."""

PARTS: tuple[Value, ...] = ("token_embeddings", "embeddings", "residual_post")
"""What one forward pass keeps for the whole page."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The sentence's tokens and their neighbours, laid out.

    Args:
        ids: token ids, each once; the sentence's own first. n_own: how many of them are the sentence's.
        layout: [N, dims].
        kept: share of the variance that these dimensions keep; None where the method keeps none (t-SNE, UMAP).
        cut: whether the sentence had more tokens than are laid out.
    """

    ids: tuple[int, ...]
    n_own: int
    layout: Floats
    kept: float | None
    cut: bool


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word as rows of the table.

    Args:
        text: as written. ids: its tokens; one where it has a row of its own.
    """

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TwoUses:
    """One word in two sentences, from the table's row through every layer.

    Args:
        word: cosine of the word with itself in the other sentence, one a stage.
        others: mean cosine between all other tokens of both sentences, one a stage: what is ordinary there.
        pieces: into how many tokens the word is cut in each sentence; their mean is compared.
    """

    word: tuple[float, ...]
    others: tuple[float, ...]
    pieces: tuple[int, int]


class UseError(ValueError):
    """A word that is not in a sentence cannot be followed through it.

    Args:
        word, sentence: which.
    """

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(word, sentence)
        self.word = word
        self.sentence = sentence


def table(box_id: str) -> Made[Floats]:
    """Return the box's embedding table, [V, D] float32; read only."""
    return _table(box_id, engine.fingerprint(box_id))


def encode(box_id: str, text: str) -> Encoding:
    """Return the text as the box's tokens, as the model reads them."""
    return tokens_engine.encode(box_id, text, specials=True).value


def label(box_id: str, token_id: int) -> str:
    """Return one row's token as ``labels`` does."""
    return labels(box_id, [token_id])[0]


def labels(box_id: str, token_ids: Sequence[int]) -> list[str]:
    """Return rows' tokens, made visible; a dash and its number where the table has more rows than tokens."""
    tokenizer = tokens_engine.open_tokenizer(box_id)
    return [_label(tokenizer, token_id) for token_id in token_ids]


def _label(tokenizer: Tokenizer, token_id: int) -> str:
    try:
        piece = tokenizer.piece(token_id)
        shown = visible(tokenizer.token_bytes(token_id))
    except (KeyError, IndexError):
        return f"– {token_id}"
    return f"##{shown}" if tokenizer.kind == "wordpiece" and piece.startswith("##") else shown


def neighbours(box_id: str, token_ids: tuple[int, ...]) -> Made[tuple[Neighbours, ...]]:
    """Return, for each of some rows, the MAX_NEIGHBOURS rows nearest to it, itself left out."""
    return _neighbours(box_id, engine.fingerprint(box_id), token_ids)


def cloud(box_id: str, text: str, method: Method, dims: int) -> Made[Cloud]:
    """Return the sentence's tokens with their neighbours in 2 or 3 dimensions."""
    return _cloud(box_id, engine.fingerprint(box_id), text, method, dims)


def likeness(box_id: str, text: str) -> Made[Floats]:
    """Return the cosine of every token with every other, stage by stage: [n_layers + 2, T, T].

    Stage 0 is the table's row, 1 what enters layer 0, and s + 2 what leaves layer s.

    Raises:
        TraceError: the text has no token, or more than MAX_TOKENS.
    """
    return _likeness(box_id, engine.fingerprint(box_id), text)


def find_word(box_id: str, text: str) -> Word:
    """Return a word's tokens: as it stands inside a sentence, after a blank, where it is one token so."""
    tokenizer = tokens_engine.open_tokenizer(box_id)
    forms = [tokenizer.encode(start + text.strip(), specials=False).ids for start in (" ", "")]
    return Word(text=text.strip(), ids=min(forms, key=len))


def solve(box_id: str, a: Word, b: Word, c: Word, expected: Word) -> Made[Analogy]:
    """Return where a − b + c lands in the table."""
    wanted = expected.ids[0] if len(expected.ids) == 1 else None
    return _solve(box_id, engine.fingerprint(box_id), a.ids, b.ids, c.ids, wanted)


def two_uses(box_id: str, word: str, first: str, second: str) -> Made[TwoUses]:
    """Return one word's way through the layers in two sentences, side by side.

    Raises:
        UseError: the word is not in one of them.
        TraceError: a sentence is empty or too long.
    """
    return _two_uses(box_id, engine.fingerprint(box_id), word.strip(), first, second)


@engine.remembered(max_entries=4)
def _table(box_id: str, fingerprint: str) -> Floats:
    weight = engine.open_box(box_id).model.embedding.weight
    rows: Floats = weight.detach().float().cpu().numpy().view()
    rows.flags.writeable = False
    return rows


@engine.remembered(max_entries=32)
def _neighbours(box_id: str, fingerprint: str, token_ids: tuple[int, ...]) -> tuple[Neighbours, ...]:
    from llmkit.trace.space import cosine_to_table, nearest

    rows = _table(box_id, fingerprint).value
    once = list(dict.fromkeys(token_ids))
    found = {
        one: nearest(cosines, MAX_NEIGHBOURS, without=(one,))
        for one, cosines in zip(once, cosine_to_table(rows, rows[once]), strict=True)
    }
    return tuple(found[one] for one in token_ids)


@engine.remembered(max_entries=48)
def _cloud(box_id: str, fingerprint: str, text: str, method: Method, dims: int) -> Cloud:
    from llmkit.trace.space import explained, project

    ids, n_own, cut = _cloud_ids(box_id, fingerprint, text).value
    points = _table(box_id, fingerprint).value[list(ids)]
    return Cloud(
        ids=ids,
        n_own=n_own,
        layout=project(points, method, dims=dims),
        kept=explained(points, dims) if method == "pca" else None,
        cut=cut,
    )


@engine.remembered(max_entries=16)
def _cloud_ids(box_id: str, fingerprint: str, text: str) -> tuple[tuple[int, ...], int, bool]:
    """The sentence's tokens, each once, then their neighbours; how many are the sentence's; whether it was cut."""
    from llmkit.trace.space import cosine_to_table, nearest

    encoding = encode(box_id, text)
    own = list(dict.fromkeys(encoding.ids[:MAX_TOKENS]))
    rows = _table(box_id, fingerprint).value
    found = dict.fromkeys(own)
    for token_id, cosines in zip(own, cosine_to_table(rows, rows[own]), strict=True):
        found.update(dict.fromkeys(nearest(cosines, CLOUD_NEIGHBOURS, without=(token_id,)).ids))
    return tuple(found), len(own), len(encoding) > MAX_TOKENS


@engine.remembered(max_entries=8)
def _likeness(box_id: str, fingerprint: str, text: str) -> Floats:
    from llmkit.trace.space import similarity

    return similarity(stages(engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS).value))


@engine.remembered(max_entries=64)
def _solve(
    box_id: str,
    fingerprint: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    c: tuple[int, ...],
    expected: int | None,
) -> Analogy:
    from llmkit.trace.space import solve

    return solve(_table(box_id, fingerprint).value, a, b, c, expected=expected)


@engine.remembered(max_entries=16)
def _two_uses(box_id: str, fingerprint: str, word: str, first: str, second: str) -> TwoUses:
    from llmkit.trace.space import similarity

    traces = [engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS).value for text in (first, second)]
    spans = [_tokens_of(trace.encoding, word) for trace in traces]
    values = [stages(trace) for trace in traces]
    means = [value[:, span].mean(1) for value, span in zip(values, spans, strict=True)]  # each [S, D]
    rest = [
        [at for at in range(trace.seq_len) if at not in span and not trace.encoding.special[at]]
        for trace, span in zip(traces, spans, strict=True)
    ]
    apart = np.asarray(traces[0].encoding.ids)[rest[0]][:, None] != np.asarray(traces[1].encoding.ids)[rest[1]]
    both = similarity(np.concatenate([values[0][:, rest[0]], values[1][:, rest[1]]], axis=1))
    cross = both[:, : len(rest[0]), len(rest[0]) :][:, apart]  # [S, pairs of different tokens]
    return TwoUses(
        word=tuple(float(pair[0, 1]) for pair in similarity(np.stack(means, axis=1))),
        others=tuple(float(mean) for mean in cross.mean(1)) if cross.size else (),
        pieces=(len(spans[0]), len(spans[1])),
    )


def stages(trace: Trace) -> Floats:
    """Stack a trace's vectors: the table's row, what enters layer 0, what leaves each layer. [n_layers + 2, T, D]."""
    return np.stack([trace["token_embeddings"], trace["embeddings"], *trace["residual_post"]]).astype(np.float32)


def _tokens_of(encoding: Encoding, word: str) -> list[int]:
    """The positions of a word's tokens: the first place where it stands alone, else the first place at all."""
    alone = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", encoding.text)
    start = alone.start() if alone else encoding.text.find(word)
    if not word or start < 0:
        raise UseError(word, encoding.text)
    end = start + len(word)
    spans = zip(encoding.offsets, encoding.special, strict=True)
    found = [at for at, ((a, b), special) in enumerate(spans) if a < end and b > start and not special]
    if not found:
        raise UseError(word, encoding.text)
    return found
