"""Parquet files as tables."""

import io
from typing import Any

from llmkit.tune.data.dataset import MAX_COLUMNS, MAX_ROWS, Table, make_frame
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.read_excel import MAX_UNPACKED
from llmkit.tune.data.read_text import json_cell

BATCH_ROWS = 1_000


def read_parquet(content: bytes, name: str) -> Table:
    """Read all columns, a batch at a time, so that a small file of huge repeated cells is stopped in time.

    Raises:
        DataError: ``data_broken, data_bomb, data_empty`` and those of a table too large.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        columns = list(file.schema_arrow.names)
        count = file.metadata.num_rows
        if count > MAX_ROWS:
            raise DataError("data_too_many_rows", name=name, rows=count, limit=MAX_ROWS)
        if len(columns) > MAX_COLUMNS:
            raise DataError("data_too_many_columns", name=name, columns=len(columns), limit=MAX_COLUMNS)
        groups = range(file.metadata.num_row_groups)
        _refuse_bomb(sum(file.metadata.row_group(at).total_byte_size for at in groups), name)
        rows: list[list[str | None]] = []
        size = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            size += batch.nbytes
            _refuse_bomb(size, name)
            rows += [
                [_cell(value) for value in row] for row in zip(*(column.to_pylist() for column in batch), strict=True)
            ]
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("data_broken", name=name, detail=f"Parquet: {type(error).__name__}") from error
    frame = make_frame(columns, rows, list(range(1, len(rows) + 1)), name=name)
    return Table(name=name, format="parquet", frame=frame)


def _refuse_bomb(size: int, name: str) -> None:
    if size > MAX_UNPACKED:
        raise DataError("data_bomb", name=name, size=f"{size / 1e6:.0f}", limit=f"{MAX_UNPACKED / 1e6:.0f}")


def _cell(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else json_cell(value)
