"""How many tokens a text costs."""

from collections.abc import Iterable
from dataclasses import dataclass

from llmkit.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some texts cost in one box.

    Args:
        texts: how many texts.
        characters: how many characters they have together.
        tokens: how many tokens they become, special tokens left out.
        unknown: how many of those are the token for an unknown word: cheap, but the text is lost.
        split: characters that are spread over more than one token.
    """

    texts: int
    characters: int
    tokens: int
    unknown: int
    split: int

    @property
    def tokens_per_character(self) -> float:
        """Tokens for one character, on average; 0 where there is no character."""
        return self.tokens / self.characters if self.characters else 0.0


def measure_cost(tokenizer: Tokenizer, texts: Iterable[str]) -> Cost:
    """Cut texts into tokens and count.

    Args:
        tokenizer: a box's tokenizer.
        texts: any texts.

    Raises:
        TokenizerError: ``text_not_unicode`` when a text holds a lone surrogate.
    """
    unk_token = tokenizer.model.unk_token
    unk_id = None if unk_token is None else tokenizer.model.vocab.get(unk_token)
    count = characters = tokens = unknown = split = 0
    for text in texts:
        encoding = tokenizer.encode(text, specials=False)
        count += 1
        characters += len(text)
        tokens += len(encoding)
        unknown += encoding.ids.count(unk_id) if unk_id is not None else 0
        split += len(split_characters(encoding.offsets))
    return Cost(texts=count, characters=characters, tokens=tokens, unknown=unknown, split=split)


def split_characters(offsets: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Which characters of a text are spread over more than one token.

    Args:
        offsets: each token's half-open character span, in order.

    >>> split_characters([(0, 1), (1, 2), (1, 2), (1, 3), (2, 3)])
    (1, 2)
    """
    found: list[int] = []
    reach = 0
    for start, end in offsets:
        if start < min(reach, end) and (not found or found[-1] != start):
            found.append(start)
        reach = max(reach, end)
    return tuple(found)
