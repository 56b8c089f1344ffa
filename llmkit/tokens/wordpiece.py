"""WordPiece as BERT uses it: tidy the text, split it into words and signs, take the longest known piece.

Schuster & Nakajima 2012; Wu et al. 2016 (arXiv:1609.08144, section 4.1); BERT's own ``tokenization.py``.
Matches ``BertNormalizer``, ``BertPreTokenizer`` and the ``WordPiece`` model of the ``tokenizers`` library.
That library carries Unicode 8's tables of marks and punctuation; a character of a later Unicode may be sorted
differently here.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmkit.tokens.byte_level_bpe import Cut
from llmkit.tokens.normalise import Aligned

_CACHED_WORDS = 100_000

# The blocks that BERT calls Chinese: ideographs, no kana, no hangul. The reference, too, starts at U+2B920.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_ideograph(char: str) -> bool:
    """Whether BERT puts blanks around this character.

    >>> is_ideograph("書"), is_ideograph("の"), is_ideograph("한")
    (True, False, False)
    """
    return any(low <= ord(char) <= high for low, high in _IDEOGRAPHS)


def is_punctuation(char: str) -> bool:
    """Whether this character is a word of its own: any ASCII sign, and Unicode's punctuation.

    >>> is_punctuation("$"), is_punctuation("。"), is_punctuation("€")
    (True, True, False)
    """
    return (char.isascii() and char.isprintable() and not char.isalnum() and char != " ") or unicodedata.category(
        char
    ).startswith("P")


@dataclass(frozen=True, kw_only=True, eq=False)
class BertNormaliser:
    """Tidy a text as the box says. What one character becomes depends on that character alone.

    Args:
        clean_text: drop control characters, turn every white space into a blank.
        handle_chinese_chars: put blanks around ideographs.
        strip_accents: drop accents (``é`` → ``e``). None: follow ``lowercase``.
        lowercase: write small letters.
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True
    _cache: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, text: str) -> Aligned:
        """Tidy ``text``; each new character keeps the span of the old one.

        >>> BertNormaliser()("Café 書!").text
        'cafe  書 !'
        """
        changed: list[str] = []
        origins: list[int] = []
        for at, char in enumerate(text):
            new = self._cache.get(char)
            if new is None:
                new = self._cache[char] = self._change(char)
            changed.append(new)
            origins.extend([at] * len(new))
        return Aligned(text="".join(changed), starts=tuple(origins), ends=tuple(origin + 1 for origin in origins))

    def _change(self, char: str) -> str:
        new = char
        if self.clean_text:
            if char in "\t\n\r" or (char.isspace() and unicodedata.category(char) != "Cc"):
                new = " "
            elif char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co"):
                return ""
        if self.handle_chinese_chars and is_ideograph(new):
            new = f" {new} "
        if self.lowercase if self.strip_accents is None else self.strip_accents:
            new = "".join(c for c in unicodedata.normalize("NFD", new) if unicodedata.category(c) != "Mn")
        return new.lower() if self.lowercase else new


def split_words(text: str) -> list[tuple[int, int]]:
    """BERT's basic tokenisation: blanks part words and vanish, every sign is a word of its own.

    Args:
        text: the tidied text.

    Returns:
        half-open spans of ``text``, in characters.

    >>> [("don't!")[a:b] for a, b in split_words("don't!")]
    ['don', "'", 't', '!']
    """
    spans: list[tuple[int, int]] = []
    begin = 0
    for at, char in enumerate(text):
        blank = char.isspace() and char not in "\x1c\x1d\x1e\x1f"  # Unicode's White_Space; Python adds four controls
        if not blank and not is_punctuation(char):
            continue
        if begin < at:
            spans.append((begin, at))
        if not blank:
            spans.append((at, at + 1))
        begin = at + 1
    if begin < len(text):
        spans.append((begin, len(text)))
    return spans


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """One look into the vocabulary.

    Args:
        piece: what was looked for, with the mark of a continuation where it does not begin the word.
        start, end: half-open span in the word, in characters.
        found: whether it is in the vocabulary.
    """

    piece: str
    start: int
    end: int
    found: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class WordPiece:
    """The longest known piece from the left, then the longest of the rest.

    Args:
        vocab: piece → id.
        unk_token: the token for a word that cannot be put together.
        prefix: the mark of a piece that does not begin a word.
        max_word_chars: a longer word is unknown unseen.

    Source: Schuster and Nakajima 2012; Wu et al. 2016, section 4.1. Matches ``tokenizers.models.WordPiece``.
    """

    vocab: Mapping[str, int] = field(repr=False)
    unk_token: str = "[UNK]"
    prefix: str = "##"
    max_word_chars: int = 100
    _cache: dict[str, tuple[Cut, ...]] = field(default_factory=dict, init=False, repr=False)

    def match_steps(self, word: str) -> list[Try]:
        """Every look into the vocabulary, in order. The word is unknown when the last one finds nothing.

        Args:
            word: one word of ``split_words``; one longer than ``max_word_chars`` is not looked up at all.

        >>> [t.piece for t in WordPiece(vocab={"[UNK]": 0, "un": 1, "##do": 2}).match_steps("undo")]
        ['undo', 'und', 'un', '##do']
        """
        tries: list[Try] = []
        start = 0
        while start < len(word) <= self.max_word_chars:
            for end in range(len(word), start, -1):
                piece = (self.prefix if start else "") + word[start:end]
                tries.append(Try(piece=piece, start=start, end=end, found=piece in self.vocab))
                if tries[-1].found:
                    break
            else:
                break
            start = end
        return tries

    def cut(self, word: str) -> tuple[Cut, ...]:
        """Cut one word into tokens; a word that does not come out whole is one ``unk_token``.

        Args:
            word: one word of ``split_words``.

        Returns:
            the pieces from left to right; their spans are characters of ``word``.
        """
        cuts = self._cache.get(word)
        if cuts is None:
            tries = self.match_steps(word)
            if tries and tries[-1].found:
                cuts = tuple(Cut(token_id=self.vocab[t.piece], start=t.start, end=t.end) for t in tries if t.found)
            else:
                cuts = (Cut(token_id=self.vocab[self.unk_token], start=0, end=len(word)),)
            if len(self._cache) < _CACHED_WORDS:
                self._cache[word] = cuts
        return cuts
