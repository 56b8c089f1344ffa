"""What a draft of a question says, and what a helper would have to ask back for: found by stated patterns."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

Piece = Literal["error", "did", "versions", "box", "expected"]
PIECES: tuple[Piece, ...] = ("error", "did", "versions", "box", "expected")
"""In the order in which a helper asks for them: without the error there is nothing to search for."""

_PATTERNS: Mapping[Piece, re.Pattern[str]] = {
    "error": re.compile(
        r"Traceback \(most recent|\b\w*(?:Error|Exception|Warning)\b\s*[:：(]|\berror\s*[:：]|錯誤訊息|說[：:「]|"
        r"[「“\"][^」”\"\n]{8,}[」”\"]|^(?:`{3}|~{3})",
        re.IGNORECASE | re.MULTILINE,
    ),
    "did": re.compile(
        r"^\s*(?:\d+[.)、]|[-*•])\s+\S|\b(?:step \d-\d|I (?:pressed|clicked|ran|opened|typed|set|chose|used|tried))\b|"
        r"(?:第\s*\d-\d|\d-\d\s*[頁步])|我(?:按|跑|打開|輸入|執行|選|用|試)",
        re.IGNORECASE | re.MULTILINE,
    ),
    "versions": re.compile(
        r"\b(?:python|torch|pytorch|transformers|tokenizers|streamlit|cuda|numpy|peft|onnxruntime)\b"
        r"\W{0,4}(?:version\s*|版本?\s*)?v?\d+\.\d+",
        re.IGNORECASE,
    ),
    "expected": re.compile(
        r"\b(?:expect(?:ed)?|should (?:have|be|give|show)|instead of|supposed to)\b|預期|以為|應該|本來要|期待",
        re.IGNORECASE,
    ),
}
_HUB_NAME = re.compile(r"(?<![\w/.:-])[\w.-]+/[\w.-]*[A-Za-z][\w.-]*(?![\w/])")
_FAMILY = re.compile(r"\b(?:gpt-?2|bert|llama|smollm2?|qwen\d*|minilm|mistral|gemma)\b", re.IGNORECASE)


def found_in(draft: str, boxes: Sequence[str] = ()) -> dict[Piece, str]:
    """Return the pieces that a draft has, each with the words that show it.

    Args:
        boxes: names of boxes that count as naming one, besides ``owner/name`` and the families.

    >>> found_in("torch 2.13, gpt2-starter")
    {'versions': 'torch 2.13', 'box': 'gpt2'}
    """
    found: dict[Piece, str] = {}
    for piece in PIECES:
        if piece == "box":
            named = next((box for box in boxes if box in draft), "")
            match = _FAMILY.search(draft) or _HUB_NAME.search(draft)
            shown = named or (match.group() if match else "")
        else:
            match = _PATTERNS[piece].search(draft)
            shown = match.group().strip() if match else ""
        if shown:
            found[piece] = shown[:60]
    return found


def missing(draft: str, boxes: Sequence[str] = ()) -> tuple[Piece, ...]:
    """Return what a draft lacks, in the order in which a helper would ask.

    >>> missing("It does not work. Can somebody help?")
    ('error', 'did', 'versions', 'box', 'expected')
    """
    found = found_in(draft, boxes)
    return tuple(piece for piece in PIECES if piece not in found)
