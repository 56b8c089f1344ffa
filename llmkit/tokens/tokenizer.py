"""A box's tokenizer: text in, token ids out, and for every token where it came from.

The steps are those of the ``tokenizers`` library: added tokens are taken out of the text first, the rest is
normalised, cut into words, each word is cut into tokens, and the box's own special tokens are put around it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import regex

from llmkit.tokens.byte_level_bpe import ByteLevelBPE, Cut, to_bytes
from llmkit.tokens.errors import TokenizerError
from llmkit.tokens.normalise import Aligned, Normaliser
from llmkit.tokens.pieces import group_tokens, visible
from llmkit.tokens.pretokenise import PreTokeniser
from llmkit.tokens.wordpiece import WordPiece

Kind = Literal["byte_level_bpe", "wordpiece"]


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before anything else is done.

    Args:
        token_id: its id.
        content: the text that stands for it.
        special: it steers the model and is no text; left out when ids are turned back into text.
        single_word: only where no word character touches it.
        lstrip, rstrip: it swallows the blanks to its left, right.
        normalized: it is looked for in the normalised text, not in the text as it is.
    """

    token_id: int
    content: str
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """A text as tokens. All tuples have one entry per token, unless said otherwise.

    Args:
        text: the text that was encoded.
        ids: rows of the vocabulary.
        pieces: the tokens as the vocabulary writes them (``Ġthe``, ``##ing``).
        token_bytes: what each token stands for, as bytes; may be a part of a character.
        offsets: half-open spans of ``text``, in characters; a token that holds a part of a character spans
            the whole character, a token that was put around the text spans nothing.
        special: tokens that steer the model, put around the text or written in it.
        word_ids: which word a token belongs to; None: it was put around the text.
        groups: half-open spans of token indices; the tokens of a group share a character (one entry per
            group).
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    token_bytes: tuple[bytes, ...]
    offsets: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]
    word_ids: tuple[int | None, ...]
    groups: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Each token as one line of visible text: blanks as ``·``, parts of characters as bytes."""
        return tuple(visible(data) for data in self.token_bytes)


@dataclass
class _Found:
    """Tokens found so far, and how many words they came from."""

    ids: list[int] = field(default_factory=list)
    offsets: list[tuple[int, int]] = field(default_factory=list)
    word_ids: list[int | None] = field(default_factory=list)
    words: int = 0

    def add(self, token_id: int, span: tuple[int, int], word: int | None) -> None:
        self.ids.append(token_id)
        self.offsets.append(span)
        self.word_ids.append(word)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
    """One box's tokenizer. Open it with ``from_folder``.

    Args:
        model: the algorithm with its vocabulary.
        normaliser: what is done to the text first.
        pretokeniser: how the text is cut into words.
        prefix_space: a blank is put before a text that does not begin with one.
        added: tokens that are found in the text before anything else is done.
        before, after: ids that are put around every text.
        cleanup: WordPiece only; decoding takes the blanks before signs away.
    """

    model: ByteLevelBPE | WordPiece
    normaliser: Normaliser
    pretokeniser: PreTokeniser
    prefix_space: bool = False
    added: tuple[AddedToken, ...] = ()
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    cleanup: bool = True
    _bytes: dict[int, bytes] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_folder(cls, folder: Path | str) -> "Tokenizer":
        """Open the ``tokenizer.json`` of a model's folder.

        Raises:
            TokenizerError: the file is missing or broken, or is of a kind that is not built here.
        """
        from llmkit.tokens.tokenizer_file import read_tokenizer

        return read_tokenizer(Path(folder) / "tokenizer.json")

    @property
    def kind(self) -> Kind:
        """Which algorithm cuts words into tokens."""
        return "byte_level_bpe" if isinstance(self.model, ByteLevelBPE) else "wordpiece"

    @cached_property
    def vocab_size(self) -> int:
        """How many tokens there are, added ones included."""
        return len(self._piece_of)

    def piece(self, token_id: int) -> str:
        """A token as the vocabulary writes it.

        Raises:
            KeyError: no such id.
        """
        return self._piece_of[token_id]

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for, as bytes.

        Raises:
            KeyError: no such id.
        """
        data = self._bytes.get(token_id)
        if data is None:
            piece = self._piece_of[token_id]
            if token_id in self._added_by_id:
                data = piece.encode()
            elif isinstance(self.model, ByteLevelBPE):
                data = to_bytes(piece)
            else:
                data = piece.removeprefix(self.model.prefix).encode()
            self._bytes[token_id] = data
        return data

    def encode(self, text: str, *, specials: bool = True) -> Encoding:
        """Cut a text into tokens.

        Args:
            text: any text; nothing is cut off.
            specials: put the box's own special tokens around it, such as ``[CLS]`` and ``[SEP]``.

        Returns:
            the tokens with their bytes, spans, words and groups.

        Raises:
            TokenizerError: ``text_not_unicode`` when the text holds a lone surrogate.
        """
        _refuse_surrogates(text)
        found = _Found()
        if specials:
            for token_id in self.before:
                found.add(token_id, (0, 0), None)
        for start, end, added in self._raw_matcher.split(text):
            if added is None:
                self._encode_plain(text[start:end], start, found)
            else:
                found.add(added.token_id, (start, end), found.words)
                found.words += 1
        if specials:
            for token_id in self.after:
                found.add(token_id, (0, 0), None)
        special = self._special_ids
        return Encoding(
            text=text,
            ids=tuple(found.ids),
            pieces=tuple(self._piece_of[token_id] for token_id in found.ids),
            token_bytes=tuple(self.token_bytes(token_id) for token_id in found.ids),
            offsets=tuple(found.offsets),
            special=tuple(token_id in special for token_id in found.ids),
            word_ids=tuple(found.word_ids),
            groups=group_tokens(found.offsets),
        )

    def words(self, text: str) -> list[tuple[int, str]]:
        """The words that ``encode`` cuts into tokens, for a look at each one's merges.

        Args:
            text: any text.

        Returns:
            ``(word_id, word)``, the word normalised; added tokens are no words and are left out.

        Raises:
            TokenizerError: ``text_not_unicode`` when the text holds a lone surrogate.
        """
        _refuse_surrogates(text)
        listed: list[tuple[int, str]] = []
        count = 0
        for start, end, added in self._raw_matcher.split(text):
            if added is not None:
                count += 1
                continue
            for aligned, inner in self._normalised_parts(text[start:end]):
                if inner is not None:
                    count += 1
                    continue
                for a, b in self.pretokeniser(aligned.text):
                    listed.append((count, aligned.text[a:b]))
                    count += 1
        return listed

    def decode(self, ids: Iterable[int], *, skip_specials: bool = True) -> str:
        """Turn ids back into text, as the reference does.

        Bytes that do not add up to a character come out as U+FFFD; show tokens with ``token_bytes`` and
        ``pieces.visible`` instead.

        Args:
            ids: token ids.
            skip_specials: leave special tokens out.

        Raises:
            KeyError: no such id.
        """
        kept = [i for i in ids if not (skip_specials and i in self._special_ids)]
        if isinstance(self.model, ByteLevelBPE):
            return b"".join(self.token_bytes(token_id) for token_id in kept).decode(errors="replace")
        words = []
        for at, token_id in enumerate(kept):
            piece = self._piece_of[token_id]
            if at and piece.startswith(self.model.prefix):
                word = piece.removeprefix(self.model.prefix)
            else:
                word = f" {piece}" if at else piece
            words.append(_close_up(word) if self.cleanup else word)
        return "".join(words)

    @cached_property
    def _piece_of(self) -> Mapping[int, str]:
        pieces = {token_id: piece for piece, token_id in self.model.vocab.items()}
        return pieces | {token.token_id: self._content(token) for token in self.added}

    @cached_property
    def _added_by_id(self) -> Mapping[int, AddedToken]:
        return {token.token_id: token for token in self.added}

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(token.token_id for token in self.added if token.special)

    @cached_property
    def _raw_matcher(self) -> "_Matcher":
        return _Matcher({token.content: token for token in self.added if not token.normalized})

    @cached_property
    def _normalised_matcher(self) -> "_Matcher":
        return _Matcher({self._content(token): token for token in self.added if token.normalized})

    def _content(self, token: AddedToken) -> str:
        """What an added token is looked for and written as."""
        return self.normaliser(token.content).text if token.normalized else token.content

    def _normalised_parts(self, plain: str) -> list[tuple[Aligned, AddedToken | None]]:
        """Normalise a stretch of text and take out the added tokens that are looked for afterwards."""
        aligned = self.normaliser(plain)
        parts = []
        for start, end, added in self._normalised_matcher.split(aligned.text):
            part = Aligned(text=aligned.text[start:end], starts=aligned.starts[start:end], ends=aligned.ends[start:end])
            if added is None and self.prefix_space and not part.text.startswith(" "):
                at = part.starts[0]
                part = Aligned(text=f" {part.text}", starts=(at, *part.starts), ends=(at, *part.ends))
            parts.append((part, added))
        return parts

    def _encode_plain(self, plain: str, shift: int, found: _Found) -> None:
        """Cut a stretch without raw added tokens; it begins at character ``shift`` of the text."""
        for aligned, added in self._normalised_parts(plain):
            if added is not None:
                found.add(added.token_id, (shift + aligned.starts[0], shift + aligned.ends[-1]), found.words)
                found.words += 1
                continue
            for start, end in self.pretokeniser(aligned.text):
                for token_id, first, last in self._cut_word(aligned.text[start:end]):
                    span = (shift + aligned.starts[start + first], shift + aligned.ends[start + last])
                    found.add(token_id, span, found.words)
                found.words += 1

    def _cut_word(self, word: str) -> list[tuple[int, int, int]]:
        """The tokens of a word with the first and last character that each holds a part of."""
        if isinstance(self.model, WordPiece):
            return [(cut.token_id, cut.start, cut.end - 1) for cut in self.model.cut(word)]
        data = word.encode()
        cuts: tuple[Cut, ...] = self.model.cut(data)
        if len(data) == len(word):
            return [(cut.token_id, cut.start, cut.end - 1) for cut in cuts]
        char_at = [at for at, char in enumerate(word) for _ in char.encode()]
        return [(cut.token_id, char_at[cut.start], char_at[cut.end - 1]) for cut in cuts]


class _Matcher:
    """Finds added tokens in a text: the leftmost, of those the longest."""

    def __init__(self, tokens: Mapping[str, AddedToken]) -> None:
        self._tokens = tokens
        longest_first = sorted(tokens, key=len, reverse=True)
        self._pattern = regex.compile("|".join(regex.escape(content) for content in longest_first))

    def split(self, text: str) -> list[tuple[int, int, AddedToken | None]]:
        """Cut a text at its added tokens: half-open spans that cover it, with the token or None."""
        spans: list[tuple[int, int, AddedToken | None]] = []
        done = 0
        for match in self._pattern.finditer(text) if self._tokens else ():
            token = self._tokens[match.group()]
            start, end = match.span()
            if token.single_word and (_WORD_END.search(text[:start]) or _WORD_START.match(text[end:])):
                continue
            if token.lstrip:
                start = max(len(text[:start].rstrip()), done)
            if token.rstrip:
                end = len(text) - len(text[end:].lstrip())
            if done < start:
                spans.append((done, start, None))
            spans.append((start, end, token))
            done = end
        if done < len(text):
            spans.append((done, len(text), None))
        return spans


_WORD_END = regex.compile(r"\w\Z")
_WORD_START = regex.compile(r"\w")

_CLOSED_UP = {
    " .": ".",
    " ?": "?",
    " !": "!",
    " ,": ",",
    " ' ": "'",
    " n't": "n't",
    " 'm": "'m",
    " do not": " don't",
    " 's": "'s",
    " 've": "'ve",
    " 're": "'re",
}


def _close_up(word: str) -> str:
    """Take the blank before a sign away, one rule after the other, as the reference does."""
    for apart, together in _CLOSED_UP.items():
        word = word.replace(apart, together)
    return word


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError("text_not_unicode", f"lone surrogate at character {error.start}") from error
