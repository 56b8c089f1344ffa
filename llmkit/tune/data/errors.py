"""What can go wrong with a learner's data, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "data_empty",
    "data_not_table",
    "data_too_big",
    "data_too_many_rows",
    "data_too_many_columns",
    "data_cell_too_long",
    "data_password",
    "data_old_excel",
    "data_broken",
    "data_pickle",
    "data_compressed",
    "data_bomb",
    "data_nul",
    "data_quote_open",
    "data_encoding",
    "data_no_column",
    "data_too_few",
    "data_missing",
    "data_damaged",
    "data_shelf_full",
]


class DataError(ValueError):
    """A file cannot be read as a table, or a data set cannot be made, kept or opened.

    Args:
        code: ``data_empty`` (nothing in it), ``data_not_table`` (something else: an image, a program),
            ``data_too_big`` (bytes), ``data_too_many_rows``, ``data_too_many_columns``, ``data_cell_too_long``,
            ``data_password`` (Excel behind a password), ``data_old_excel`` (.xls), ``data_broken`` (it begins like
            its format and does not go on so), ``data_pickle`` (could run code), ``data_compressed`` (unpack it
            first), ``data_bomb`` (unpacks to far more than it weighs), ``data_nul`` (NUL characters in a text),
            ``data_quote_open`` (a quotation mark that never closes), ``data_encoding`` (the encoding asked for does
            not fit), ``data_no_column``, ``data_too_few`` (rows for a split), ``data_missing`` (no such prepared
            set), ``data_damaged`` (its files are not whole), ``data_shelf_full``.
        values: what exactly: the name, the row (1-based, as in the file), the numbers.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code: Code = code
        self.values = values
