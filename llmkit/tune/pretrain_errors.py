"""What can go wrong when a model is trained from nothing, each with a code that a page can say."""

from typing import Literal

Code = Literal[
    "pretrain_setting",
    "pretrain_not_text",
    "pretrain_text_short",
    "pretrain_one_character",
    "pretrain_memory",
    "pretrain_another_run",
    "pretrain_prompt",
    "pretrain_not_run",
]


class PretrainError(ValueError):
    """A training from nothing cannot begin or go on.

    Args:
        code: ``pretrain_setting`` (out of its range: setting, asked, low, high), ``pretrain_not_text`` (a file of
            something else), ``pretrain_text_short`` (tokens, and how many it takes), ``pretrain_one_character``
            (nothing to guess), ``pretrain_memory`` (with the sizes that can be lowered), ``pretrain_another_run``
            (the folder holds one with other settings), ``pretrain_prompt`` (a sample cannot begin with it),
            ``pretrain_not_run`` (an answer was asked for that only a run gives).
        values: the numbers and names that the message needs.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code: Code = code
        self.values = values
