"""What can go wrong in tuning, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "setting_out_of_range",
    "no_targets",
    "too_few_examples",
    "one_class",
    "no_labels",
    "data_changed",
    "another_run",
    "out_of_memory",
    "no_head",
    "too_many_labels",
    "other_labels",
    "qlora_missing",
]


class TuneError(ValueError):
    """A training cannot begin or go on.

    Args:
        code: ``setting_out_of_range`` (with the setting, what was asked, the least and the most), ``no_targets``
            (no layer to put an adapter beside), ``too_few_examples``, ``one_class`` (all rows have one label),
            ``no_labels`` (no row has one), ``data_changed`` (not what was chosen any more),
            ``another_run`` (the folder holds one with other settings), ``out_of_memory``,
            ``no_head`` (the box was never tuned to classify), ``too_many_labels`` (so many are no classes),
            ``other_labels`` (the box tells other labels apart), ``qlora_missing`` (with what is missing here).
        values: the numbers and names that the message needs.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code: Code = code
        self.values = values
