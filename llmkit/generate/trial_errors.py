"""What can go wrong when prompts are tried on a test set, each with a code that a page can say."""

from typing import Literal

Code = Literal[
    "prompt_empty_version",
    "prompt_brace",
    "prompt_unknown_variable",
    "prompt_without_variable",
    "trial_no_rows",
    "trial_too_many_rows",
    "trial_no_expected",
    "trial_cell_empty",
    "trial_expected_bad",
]


class TrialError(ValueError):
    """A prompt or a test set cannot be tried.

    Args:
        code: ``prompt_empty_version``, ``prompt_brace``, ``prompt_unknown_variable``, ``prompt_without_variable``,
            ``trial_no_rows``, ``trial_too_many_rows``, ``trial_no_expected`` (no column says what is right),
            ``trial_cell_empty`` (a row lacks a variable or its answer), ``trial_expected_bad`` (an answer is no number,
            or no JSON object, and is to be scored as one).
        values: what exactly: names, the row's number from 1, the place of a brace.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code: Code = code
        self.values = values
