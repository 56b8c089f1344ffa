"""Where a word stands in a text, whatever its case, width and accents are written as."""

import unicodedata

_MARKS = "\uff9e\uff9f"
"""Half-width voicing marks: characters of their own that belong to the one before."""

_SAME = {"臺": "台"}
"""Taiwan writes both."""

Span = tuple[int, int]
"""Half-open, in characters of the text."""


def fold(text: str) -> str:
    """Return a text as it is compared: NFKC, no case, each run of blanks one blank, 臺 as 台.

    >>> fold("Ｔａｉｐｅｉ　 臺北")
    'taipei 台北'
    """
    return _folded(text)[0].strip()


def find(text: str, word: str) -> tuple[Span, ...]:
    """Return where a word stands, as spans of the text as it is written.

    A word of letters or digits is found as a whole word; among Chinese characters there are no such ends.

    >>> find("ART starts here; the art of tea", "art"), find("我住在臺北市", "台北")
    (((0, 3), (21, 24)), ((3, 5),))
    """
    needle = fold(word)
    if not needle:
        return ()
    folded, places = _folded(text)
    found: list[Span] = []
    at = folded.find(needle)
    while at >= 0:
        end = at + len(needle)
        if not (_inside_word(folded, at) or _inside_word(folded, end)):
            found.append((places[at][0], places[end - 1][1]))
            at = folded.find(needle, end)
        else:
            at = folded.find(needle, at + 1)
    return tuple(found)


def is_han(char: str) -> bool:
    """Whether a character is a Chinese one."""
    return "\u3400" <= char <= "\u9fff" or "\uf900" <= char <= "\ufaff" or "\U00020000" <= char <= "\U000323af"


def is_letter(char: str) -> bool:
    """Whether a character is part of a word that is set off by blanks."""
    return char.isalnum() and not is_han(char) and not "\u3040" <= char <= "\u30ff"


def _inside_word(text: str, at: int) -> bool:
    """Whether a cut at this place would part a word."""
    return 0 < at < len(text) and is_letter(text[at - 1]) and is_letter(text[at])


def _folded(text: str) -> tuple[str, list[Span]]:
    """A text as it is compared, and for each of its characters where that comes from."""
    made: list[str] = []
    places: list[Span] = []
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and (unicodedata.combining(text[end]) or text[end] in _MARKS):
            end += 1
        cluster = unicodedata.normalize("NFKC", text[start:end]).casefold()
        for char in unicodedata.normalize("NFKC", cluster):
            if char.isspace():
                if made and made[-1] == " ":
                    places[-1] = (places[-1][0], end)
                    continue
                char = " "
            made.append(_SAME.get(char, char))
            places.append((start, end))
        start = end
    return "".join(made), places
