"""How long the texts of a source are, in tokens of a box: a job, since a hundred thousand texts take a while."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.tune.data.checks import token_lengths
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.source import Reading, open_source

if TYPE_CHECKING:
    from llmkit.jobs import Report

FILE = "lengths.npz"


def run(settings: Mapping[str, Any], report: "Report") -> dict[str, int]:
    """Count the tokens of every row's text.

    Args:
        settings: ``source`` and ``reading`` (`source.Reading`, as a table), ``text`` (the column), ``box_id``;
            ``fingerprint`` and ``box_fingerprint`` say which versions are meant.

    Returns:
        ``rows``, and the file ``lengths.npz`` with ``lengths`` [rows] int32 in the source's order.

    Raises:
        DataError, ShelfError, TokenizerError: the source or the box's tokenizer cannot be opened.
    """
    from llmkit import shelf
    from llmkit.tokens import Tokenizer

    table = open_source(settings["source"], Reading(**settings["reading"]))
    if settings["text"] not in table.columns:
        raise DataError("data_no_column", column=settings["text"])
    folder = shelf.locate(settings["box_id"])
    if folder is None:
        raise shelf.ShelfError("box_missing", box=settings["box_id"])
    texts = table.frame[settings["text"]]
    report(0, len(texts), settings["box_id"])
    lengths = token_lengths(
        texts,
        Tokenizer.from_folder(folder),
        on_progress=lambda done: report(done, len(texts), settings["box_id"]),
        every=500,
    )
    np.savez_compressed(report.folder / FILE, lengths=np.asarray(lengths, dtype=np.int32))
    return {"rows": len(lengths)}
