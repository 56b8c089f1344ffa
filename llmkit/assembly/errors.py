"""What can go wrong with a plan, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "plan_json",
    "plan_foreign",
    "plan_number",
    "plan_choice",
    "plan_big_file",
    "plan_link",
    "plan_unfinished",
    "plan_misfit",
    "plan_too_big",
    "plan_context",
]


class PlanError(ValueError):
    """A plan cannot be read or built.

    Args:
        code: ``plan_json`` (no JSON), ``plan_foreign`` (JSON of something else), ``plan_number`` (a number out of its
            range), ``plan_choice`` (no such part), ``plan_big_file``, ``plan_link`` (a link that holds no plan),
            ``plan_unfinished`` (parts are missing), ``plan_misfit`` (two parts do not fit), ``plan_too_big`` (more
            memory than this machine has free), ``plan_context`` (a text longer than the plan reads).
        values: what a message needs: the field, the number, the limit.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code: Code = code
        self.values = values
