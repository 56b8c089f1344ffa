"""The window: how a conversation is written for a box, how many tokens each turn takes, and which turns still fit.

The system prompt always stays. Where the rest does not fit, the oldest turn falls out with its answer, then the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmkit.chat.errors import ChatError
from llmkit.tokens import ChatTemplate, Tokenizer

TEMPLATE = -1
"""The owner of tokens that are nobody's words: what the format writes around the turns."""

PLAIN_NAMES = {"system": "", "user": "User: ", "assistant": "Assistant: "}
PLAIN_STOP = "\nUser:"
"""Where a box without a template begins to write the other side, too: its answer ends there."""

_MARK = "\ue000"
"""A character that is nobody's."""

Message = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a conversation becomes one text.

    Args:
        template: the box's own; None for the plain format: ``User: …``, ``Assistant: …``, a blank line after the
            system prompt.
    """

    template: ChatTemplate | None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer; a box with a template ends it with a token of its own."""
        return () if self.template is not None else (PLAIN_STOP,)

    def write(self, messages: Sequence[Message], *, answers: bool = True) -> str:
        """Return the text that is sent.

        Args:
            answers: end where the answer begins.

        Raises:
            TokenizerError: the template refuses these messages.

        >>> print(Format(template=None).write([{"role": "system", "content": "Be brief."},
        ...     {"role": "user", "content": "Hi"}]))
        Be brief.
        <BLANKLINE>
        User: Hi
        Assistant:
        """
        if self.template is not None:
            return self.template.render(messages, add_generation_prompt=answers)
        lines = [
            f"{PLAIN_NAMES[one['role']]}{one['content']}" + ("\n" if one["role"] == "system" else "")
            for one in messages
        ]
        return "\n".join([*lines, PLAIN_NAMES["assistant"].rstrip()] if answers else lines)


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is sent, and what it holds.

    Args:
        text: what is sent. ids: its tokens.
        owners: for each token whose words it is: a place among the messages, or TEMPLATE.
        tokens: for each message how many tokens its own words take; also for those that fell out.
        fallen: the places of the messages that are not sent.
        limit: tokens of the window. reserve: how many of them are kept free for the answer.
    """

    text: str
    ids: tuple[int, ...]
    owners: tuple[int, ...]
    tokens: tuple[int, ...]
    fallen: tuple[int, ...]
    limit: int
    reserve: int

    @property
    def template_tokens(self) -> int:
        """How many tokens are nobody's words."""
        return self.owners.count(TEMPLATE)

    @property
    def free(self) -> int:
        """How many tokens are left for the answer."""
        return self.limit - len(self.ids)


def fit(
    messages: Sequence[Message], *, form: Format, tokenizer: Tokenizer, limit: int, reserve: int, answers: bool = True
) -> Window:
    """Put into the window what fits: all, or all but the oldest turns.

    Args:
        messages: a system prompt first, where there is one; then turns, a user's first. form: how they are written.
        tokenizer: of the box. limit: tokens of its window.
        reserve: how many of them are wanted for the answer; at most half of the window is kept free for it.
        answers: whether an answer is to come now; else this is how the window stands, and it may be overfull.

    Raises:
        ChatError: ``chat_no_room``. TokenizerError: a text cannot be cut, or the template refuses.

    Source: token ids are those of ``transformers``' ``apply_chat_template(..., tokenize=True)``.
    """
    reserve = min(reserve, limit // 2)
    first = 1 if messages and messages[0]["role"] == "system" else 0
    own = [len(tokenizer.encode(one["content"].strip(), specials=False)) for one in messages]
    cut = first
    while cut < len(messages) and sum(own[:first]) + sum(own[cut:]) + reserve > limit:
        if (further := _next_user(messages, cut)) == len(messages):
            break
        cut = further
    while True:
        kept = [*range(first), *range(cut, len(messages))]
        text, ids, owners = _write([messages[at] for at in kept], form, tokenizer, answers=answers)
        if len(ids) + reserve <= limit:
            break
        if (further := _next_user(messages, cut)) == len(messages):
            if answers:
                raise ChatError("chat_no_room", tokens=len(ids), reserve=reserve, limit=limit)
            break
        cut = further
    whose = tuple(TEMPLATE if owner == TEMPLATE else kept[owner] for owner in owners)
    return Window(
        text=text,
        ids=ids,
        owners=whose,
        tokens=tuple(whose.count(at) if at in kept else own[at] for at in range(len(messages))),
        fallen=tuple(range(first, cut)),
        limit=limit,
        reserve=reserve,
    )


def _next_user(messages: Sequence[Message], cut: int) -> int:
    """Where the next pair begins; the number of messages where none does."""
    return next((at for at in range(cut + 1, len(messages)) if messages[at]["role"] == "user"), len(messages))


def _write(
    messages: Sequence[Message], form: Format, tokenizer: Tokenizer, *, answers: bool
) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The text of some messages, its tokens, and whose words each token ends in."""
    if not any(one["role"] == "user" for one in messages):  # many templates refuse to begin otherwise
        return "", (), ()
    text = form.write(messages, answers=answers)
    spans = _spans(messages, text, form, answers=answers)
    encoding = tokenizer.encode(text, specials=False)
    before = tokenizer.before if form.template is None else ()
    owners = [TEMPLATE] * len(before)
    current = 0
    for _, end in encoding.offsets:
        while current < len(spans) and spans[current][1] < end:
            current += 1
        inside = current < len(spans) and spans[current][0] < end
        owners.append(current if inside else TEMPLATE)
    return text, before + encoding.ids, tuple(owners)


def _spans(messages: Sequence[Message], text: str, form: Format, *, answers: bool) -> list[tuple[int, int]]:
    """Where each message's own words stand in the text; an empty span where the template does something else to them.

    What a template writes may hold the same words, so they are not looked for: the template is given marks in their
    place, and what stands between the marks is its own.
    """
    marks = [f"{_MARK}{at}{_MARK}" for at in range(len(messages))]
    pieces: list[str] = []
    rest = form.write([{**one, "content": mark} for one, mark in zip(messages, marks, strict=True)], answers=answers)
    for mark in marks:
        piece, _, rest = rest.partition(mark)
        pieces.append(piece)
    for change in (str, str.strip):
        contents = [change(one["content"]) for one in messages]
        if text == "".join(a + b for a, b in zip(pieces, contents, strict=True)) + rest:
            ends, at = [], 0
            for piece, content in zip(pieces, contents, strict=True):
                ends.append((at + len(piece), at + len(piece) + len(content)))
                at = ends[-1][1]
            return ends
    return [(0, 0)] * len(messages)
