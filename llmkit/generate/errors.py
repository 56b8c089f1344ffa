"""What can go wrong when text is asked for, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "no_next_token",
    "prompt_empty",
    "prompt_too_long",
    "prompt_unknown_token",
    "answer_empty",
    "generation_busy",
    "generation_no_room",
    "box_unloaded",
]


class GenerateError(ValueError):
    """A box cannot go on with a text.

    Args:
        code: ``no_next_token`` (the box looks both ways, or ends in hidden states), ``prompt_empty`` (no token to go
            on from), ``prompt_too_long`` (more tokens than the box has positions), ``prompt_unknown_token`` (a number
            that is no token's), ``answer_empty`` (an answer that is to be scored has no token), ``generation_busy``
            (others were before it for too long), ``generation_no_room`` (prompt and answer need more memory than there
            is), ``box_unloaded`` (the box was put away meanwhile).
        box: its id. tokens: how many the prompt has, or are needed. limit: how many fit. ahead: how many others wait
            before it. All also in ``values``.
    """

    def __init__(self, code: Code, *, box: str, tokens: int = 0, limit: int = 0, ahead: int = 0) -> None:
        super().__init__(f"{code}: {box}: {tokens} tokens, {limit} fit" if limit else f"{code}: {box}")
        self.code: Code = code
        self.values = {"box": box, "tokens": tokens, "limit": limit, "ahead": ahead}
