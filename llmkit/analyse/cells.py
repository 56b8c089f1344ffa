"""The texts of a column, each different one once: what is repeated is read once, however many rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmkit.analyse.errors import AnalyseError

MOST_CHARACTERS = 8_000
"""A cell is cut there before it is read; every box reads less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """A column's texts.

    Args:
        texts: U different ones, those that are to be read. places: [rows], the number of each row's text; -1 where the
            cell is empty or its text is not to be read. different: how many different texts the column has in all.
    """

    texts: tuple[str, ...]
    places: NDArray[np.int64]
    different: int

    def spread(self, values: Sequence[object]) -> list[object]:
        """One value for each row from one for each text; None where there is none."""
        return [values[at] if at >= 0 else None for at in self.places]


def cells_of(column: pd.Series, *, most: int = 0) -> Cells:
    """Take the different texts of a column.

    Args:
        column: of any kind; numbers and dates are read as they are written. most: texts to read at most, spread evenly
            over the column; 0 for all.

    Raises:
        AnalyseError: ``read_no_text`` where every cell is empty.
    """
    filled = column.notna().to_numpy()
    written = column.astype(object).where(column.notna(), "").astype(str).str.slice(0, MOST_CHARACTERS).str.strip()
    codes, different = pd.factorize(written.where(filled & (written != "").to_numpy(), None))
    total = len(different)
    if not total:
        raise AnalyseError("read_no_text", column=str(column.name))
    places = np.asarray(codes, dtype=np.int64)
    if not most or most >= total:
        return Cells(texts=tuple(map(str, different)), places=places, different=total)
    chosen = np.unique(np.linspace(0, total - 1, most).round().astype(np.int64))
    new = np.full(total + 1, -1, dtype=np.int64)  # the last is for -1
    new[chosen] = np.arange(len(chosen))
    return Cells(texts=tuple(str(different[at]) for at in chosen), places=new[places], different=total)
