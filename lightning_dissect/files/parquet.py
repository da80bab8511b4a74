"""Tables from files that anyone may have written: what is taken from them is of the kind that it should be."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lightning_dissect.files import Place

_MAY_LACK_VALUES = ("Int32", "float64", "string")
_LARGEST = float(np.finfo(np.float32).max)


def read_parquet(path: Place, words: str) -> pa.Table:
    """Read a Parquet file that should hold what ``words`` say.

    Raises:
        ValueError: If it is no regular file, or cannot be read.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no regular file")
        with path.open("rb") as raw, pq.ParquetFile(raw) as file:  # of a name with a colon, pyarrow makes a URI
            table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as {words}: {error}") from error
    return table


def to_frame(table: pa.Table, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    """Take columns out of a table of that name, with their pandas types.

    Those of type ``category`` and ``int…`` must have a value in each row; others may lack some.

    Returns:
        Those of the columns that are there. Numbers beyond the range of float32 are undefined, NaN.

    Raises:
        ValueError: If a column is there twice, cannot be of its type, or lacks values that it must have.
    """
    frame = {}
    for column, kind in columns.items():
        if table.column_names.count(column) > 1:
            raise ValueError(f"{name} has several columns {column!r}.")
        if column not in table.column_names:
            continue
        try:
            values = _cast(table[column], kind)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ValueError(f"{name}: the column {column!r} cannot be of type {kind}: {error}") from error
        if kind not in _MAY_LACK_VALUES and values.isna().any():
            raise ValueError(f"{name}: the column {column!r} lacks values.")
        frame[column] = values
    return pd.DataFrame(frame)


def _cast(values: pa.ChunkedArray, kind: str) -> pd.Series:
    names = pa.types.is_dictionary(values.type) and values.type.value_type in (pa.string(), pa.large_string())
    if kind != "category" or not names:  # names stay as they are: a few of them, on many rows
        values = values.cast(pa.string() if kind in ("category", "string") else pa.from_numpy_dtype(kind.lower()))
    if kind == "category" and not names:
        values = values.dictionary_encode()
    series: pd.Series = values.to_pandas()
    if kind == "float64":
        series = series.where(series.abs() <= _LARGEST)
    return series
