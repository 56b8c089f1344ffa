"""Byte-level byte-pair encoding: start from bytes, join the pair that was learned first, again and again.

GPT-2 introduced it (Radford et al. 2019, section 2.2) on top of BPE for words (Sennrich et al. 2016,
arXiv:1508.07909): every text is a run of bytes, so no character is ever unknown. Matches the ``BPE`` model of
the ``tokenizers`` library.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# How GPT-2 cuts a text first: English endings, then words, numbers and signs with the blank before them.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Qwen2 and Qwen3: a sign may lead a word, digits stand alone, line ends are kept together.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CACHED_WORD_BYTES = 64
_CACHED_WORDS = 100_000


def _byte_alphabet() -> dict[int, str]:
    """One printable character for each of the 256 bytes.

    A vocabulary file wants to be readable text: printable Latin-1 bytes stand for themselves, the other 68
    are moved to U+0100 and on, in order (a blank becomes ``Ġ``, a line end ``Ċ``). Same table as GPT-2's
    encoder.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    moved = [byte for byte in range(256) if byte not in set(printable)]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(moved)}


BYTE_TO_SYMBOL: Mapping[int, str] = _byte_alphabet()
SYMBOL_TO_BYTE: Mapping[str, int] = {symbol: byte for byte, symbol in BYTE_TO_SYMBOL.items()}


def to_symbols(data: bytes) -> str:
    """Write bytes in the printable alphabet.

    >>> to_symbols("你 a".encode())
    'ä½łĠa'
    """
    return "".join(BYTE_TO_SYMBOL[byte] for byte in data)


def to_bytes(symbols: str) -> bytes:
    """Read the printable alphabet back as bytes; a character outside it stands for its own UTF-8 bytes.

    Such characters occur only in added tokens; then the whole piece is taken as it is, as the reference does.

    >>> to_bytes("ä½łĠa").decode()
    '你 a'
    """
    try:
        return bytes(SYMBOL_TO_BYTE[symbol] for symbol in symbols)
    except KeyError:
        return symbols.encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """One piece of a word: which token it is and where it lies.

    Args:
        token_id: its row in the vocabulary.
        start, end: half-open span in the word, in bytes (byte-level BPE) or characters (WordPiece).
    """

    token_id: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """Two neighbours that become one.

    Args:
        rank: the line of the merge table that allows it; 0 was learned first.
        left, right: the two pieces, in the printable alphabet.
    """

    rank: int
    left: str
    right: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeState:
    """A word after some merges.

    Args:
        pieces: the pieces now, in the printable alphabet.
        merge: what was just joined; None for the first state, the single bytes.
        merged_index: which of ``pieces`` was just made; None for the first state.
    """

    pieces: tuple[str, ...]
    merge: Merge | None
    merged_index: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ByteLevelBPE:
    """The merge table at work on one word at a time.

    Args:
        vocab: piece (printable alphabet) → id.
        ranks: pair of pieces → its line in the merge table, 0 first.
        unk_token: the piece for a byte without a token; None: such a byte is dropped, as the reference does.
        ignore_merges: a word that is in the vocabulary is taken whole, merges or not (Llama 3).

    Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units"; Radford et al. 2019,
    section 2.2. Matches ``tokenizers.models.BPE``.
    """

    vocab: Mapping[str, int] = field(repr=False)
    ranks: Mapping[tuple[str, str], int] = field(repr=False)
    unk_token: str | None = None
    ignore_merges: bool = False
    _cache: dict[bytes, tuple[Cut, ...]] = field(default_factory=dict, init=False, repr=False)

    def cut(self, word: bytes) -> tuple[Cut, ...]:
        """Cut one word into tokens.

        Args:
            word: UTF-8 bytes of one pre-token.

        Returns:
            the pieces from left to right; their spans are bytes of ``word``.
        """
        known = self._cache.get(word)
        if known is not None:
            return known
        cuts = self._cut_anew(word)
        if len(word) <= _CACHED_WORD_BYTES and len(self._cache) < _CACHED_WORDS:
            self._cache[word] = cuts
        return cuts

    def merge_steps(self, word: bytes) -> list[MergeState]:
        """Every state of a word from single bytes to tokens, one merge at a time.

        The memory grows with the square of the word's length: meant for words that a person looks at.

        Args:
            word: UTF-8 bytes of one pre-token.

        Returns:
            the single bytes first, then one state per merge; the last one is what ``cut`` gives
            (unless ``ignore_merges`` took the word whole).
        """
        pieces = [symbol for symbol, _, _ in self._symbols(word)]
        states = [MergeState(pieces=tuple(pieces), merge=None, merged_index=None)]
        for rank, left, right in self._joins(pieces):
            merge = Merge(rank=rank, left=pieces[left], right=pieces[right])
            now = list(states[-1].pieces)
            index = sum(1 for piece in pieces[:left] if piece)
            now[index : index + 2] = [merge.left + merge.right]
            states.append(MergeState(pieces=tuple(now), merge=merge, merged_index=index))
        return states

    def _joins(self, pieces: list[str]) -> Iterator[tuple[int, int, int]]:
        """Join neighbours while a pair is in the merge table: the lowest rank first, the leftmost of equals.

        A heap holds the pairs and a linked list the neighbours, so that n symbols cost n log n.

        Args:
            pieces: the symbols to begin with, joined in place; a piece that went into its left neighbour
                becomes "".

        Yields:
            ``(rank, left, right)`` just before ``pieces[left]`` takes ``pieces[right]`` in.
        """
        count = len(pieces)
        after = list(range(1, count + 1))
        before = list(range(-1, count - 1))
        rank_of = self.ranks.get
        waiting = [
            (rank, left, pieces[left], pieces[left + 1])
            for left in range(count - 1)
            if (rank := rank_of((pieces[left], pieces[left + 1]))) is not None
        ]
        heapq.heapify(waiting)
        while waiting:
            rank, left, left_piece, right_piece = heapq.heappop(waiting)
            right = after[left]
            if pieces[left] != left_piece or right == count or pieces[right] != right_piece:
                continue  # an earlier join took one of the two
            yield rank, left, right
            joined = pieces[left] = left_piece + right_piece
            pieces[right] = ""
            after[left] = follower = after[right]
            if follower < count:
                before[follower] = left
                rank_after = rank_of((joined, pieces[follower]))
                if rank_after is not None:
                    heapq.heappush(waiting, (rank_after, left, joined, pieces[follower]))
            leader = before[left]
            if leader >= 0:
                rank_before = rank_of((pieces[leader], joined))
                if rank_before is not None:
                    heapq.heappush(waiting, (rank_before, leader, pieces[leader], joined))

    def _symbols(self, word: bytes) -> list[tuple[str, int, int]]:
        """The first pieces with their byte spans: one per byte that the vocabulary knows."""
        found = []
        for at, byte in enumerate(word):
            symbol = BYTE_TO_SYMBOL[byte]
            if symbol not in self.vocab:
                if self.unk_token is None:
                    continue
                symbol = self.unk_token
            found.append((symbol, at, at + 1))
        return found

    def _cut_anew(self, word: bytes) -> tuple[Cut, ...]:
        if self.ignore_merges:
            whole = self.vocab.get(to_symbols(word))
            if whole is not None:
                return (Cut(token_id=whole, start=0, end=len(word)),)
        first = self._symbols(word)
        pieces = [symbol for symbol, _, _ in first]
        ends = [end for _, _, end in first]
        for _, left, right in self._joins(pieces):
            ends[left] = ends[right]
        return tuple(
            Cut(token_id=self.vocab[piece], start=first[at][1], end=ends[at])
            for at, piece in enumerate(pieces)
            if piece
        )
