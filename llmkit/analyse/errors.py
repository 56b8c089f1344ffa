"""What can go wrong with a table, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "op_no_column",
    "op_wrong_kind",
    "op_bad_value",
    "ask_empty",
    "ask_too_long",
    "read_no_text",
    "read_no_labels",
    "read_too_many_labels",
    "read_no_question",
    "read_too_few",
    "export_too_big",
]


class AnalyseError(ValueError):
    """A table cannot be worked on as asked.

    Args:
        code: ``op_no_column`` (the table has no such column), ``op_wrong_kind`` (a sum of texts), ``op_bad_value`` (no
            number, no date, no such choice), ``ask_empty``, ``ask_too_long`` (the question), ``read_no_text`` (the
            column holds nothing), ``read_no_labels`` (fewer than two to choose from), ``read_too_many_labels``,
            ``read_no_question``, ``read_too_few`` (fewer different texts than clusters), ``export_too_big`` (more
            than a spreadsheet holds).
        values: the names and numbers of the message.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code: Code = code
        self.values = values
