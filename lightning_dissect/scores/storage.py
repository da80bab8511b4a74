"""Scores as a Parquet file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lightning_dissect.files import Place, whole
from lightning_dissect.files.layout import Stage, check_one_run, list_scores, untrained_file
from lightning_dissect.files.parquet import read_parquet, to_frame
from lightning_dissect.scores.columns import COLUMNS, check_columns

_KEY = b"lightning_dissect"


def write_table(table: pd.DataFrame, settings: Mapping[str, Any], path: Place) -> None:
    """Write a table and its settings, wholly or not at all."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    metadata = {**(arrow.schema.metadata or {}), _KEY: json.dumps(settings).encode()}
    with whole(path, durable=True) as file:
        pq.write_table(arrow.replace_schema_metadata(metadata), file, compression="zstd")


def read_table(path: Place, units: Sequence[int] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the table and the settings of a file that :func:`write_table` wrote.

    To read some units alone, those with these indices in any layer, takes less time than to read all.

    Raises:
        ValueError: If the file cannot be read, was not written by :func:`write_table`, or holds what no run writes.
    """
    arrow = read_parquet(path, "scores")
    metadata = arrow.schema.metadata or {}
    if _KEY not in metadata:
        raise ValueError(f"{path} is a Parquet file, but its scores were not written by lightning_dissect.")
    check_columns(arrow.column_names, f"{path}: its table")
    if units is not None and pa.types.is_integer(arrow.field("unit").type):
        arrow = arrow.filter(pc.is_in(arrow["unit"], pa.array(units, arrow["unit"].type)))
    if "stage" not in arrow.column_names:
        arrow = arrow.append_column("stage", pa.repeat("validate", len(arrow)))
    table = to_frame(arrow, COLUMNS, f"{path}: its table")
    if (table["unit"] < 0).any():
        raise ValueError(f"{path}: its table has a unit {table['unit'].min():.0f}; units count from 0.")
    return table, _read_settings(metadata[_KEY], path)


def read_run(place: Place, stage: Stage | None) -> tuple[pd.DataFrame, dict[str, Any], Place | None]:
    """Read a file, or all the epochs of a run: see :meth:`Scores.load`.

    Returns:
        The table, the settings of the last epoch, and the file of its baseline, if there is one.

    Raises:
        FileNotFoundError: If there is no such file, or none in the folder.
        ValueError: If a file cannot be read, the folder holds several runs, or the stage is none.
    """
    if stage not in (None, "validate", "test"):
        raise ValueError(f"stage={stage!r} is none of 'validate' and 'test'; None takes what there is.")
    files = list_scores(place, stage) if place.is_dir() else [place] if place.exists() else []
    check_one_run(files, place, stage)
    tables, settings = zip(*map(read_table, files), strict=True)
    joined: pd.DataFrame = pd.concat(tables, ignore_index=True).sort_values(["epoch", "step"], kind="stable")
    beside = untrained_file(files[-1])
    return joined, settings[-1], beside if beside.exists() else None


def _read_settings(text: bytes, path: Place) -> dict[str, Any]:
    try:
        settings = json.loads(text)
        json.dumps(settings, ensure_ascii=False).encode()  # JSON can hold halves of letters, which nothing can write
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its settings cannot be read: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("versions", {}), dict) or not _is_flat(settings):
        raise ValueError(f"{path}: its settings are no names with values, as lightning_dissect writes them.")
    return settings


def _is_flat(settings: Any, depth: int = 8) -> bool:
    """Whether settings are nested no deeper than that; a run's are not."""
    inner = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ()
    return all(depth > 0 and _is_flat(value, depth - 1) for value in inner)
