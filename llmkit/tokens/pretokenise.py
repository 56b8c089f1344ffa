"""Cut a text into words before the tokenizer looks at them; no token ever crosses such a cut.

Matches the pre-tokenizers ``ByteLevel``, ``Digits``, ``Split``, ``BertPreTokenizer`` and ``Sequence`` of the
``tokenizers`` library.
"""

from collections.abc import Callable, Sequence

import regex

Span = tuple[int, int]
PreTokeniser = Callable[[str], list[Span]]


def split_by(pattern: str) -> PreTokeniser:
    r"""Each match of a pattern is a word, and so is each stretch between two matches.

    Args:
        pattern: a regular expression with Unicode classes such as ``\p{L}``.

    Returns:
        a function from a text to half-open spans, in characters, that cover it without a gap.

    >>> text = "I'll pay 42"
    >>> [text[a:b] for a, b in split_by(r"'ll| ?\p{L}+| ?\p{N}+")(text)]
    ['I', "'ll", ' pay', ' 42']
    """
    matcher = regex.compile(pattern)

    def split(text: str) -> list[Span]:
        spans: list[Span] = []
        done = 0
        for match in matcher.finditer(text):
            start, end = match.span()
            if start == end:
                continue
            if done < start:
                spans.append((done, start))
            spans.append((start, end))
            done = end
        if done < len(text):
            spans.append((done, len(text)))
        return spans

    return split


def split_digits(*, individual: bool) -> PreTokeniser:
    """Part digits from the rest; SmolLM2 takes them one by one.

    Args:
        individual: each digit is a word; else a run of digits is one.

    >>> split_digits(individual=True)("a42")
    [(0, 1), (1, 2), (2, 3)]
    """
    return split_by(r"\p{N}" if individual else r"\p{N}+")


def whole(text: str) -> list[Span]:
    """Cut nothing."""
    return [(0, len(text))]


def one_after_another(steps: Sequence[PreTokeniser]) -> PreTokeniser:
    """Each step cuts what the step before left; it sees one piece at a time, never its neighbours.

    Args:
        steps: the cuts, in order.

    >>> both = one_after_another([split_digits(individual=True), split_by(r" ?[a-z]+")])
    >>> both("ab 1 c")
    [(0, 2), (2, 3), (3, 4), (4, 6)]
    """

    def split(text: str) -> list[Span]:
        spans = whole(text)
        for step in steps:
            spans = [(a + c, a + d) for a, b in spans for c, d in step(text[a:b])]
        return spans

    return split
