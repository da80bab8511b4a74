"""Columns of known types out of tables that anyone may have written."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lightning_dissect.files.parquet import to_frame

TYPES = {"name": "category", "unit": "Int32", "count": "int64", "score": "float64", "file": "string"}


def test_columns_get_their_types() -> None:
    table = pa.table(
        {
            "other": [0, 0],
            "score": pa.array([1, None], pa.int8()),
            "unit": pa.array([2.0, None]),
            "count": pa.array(["3", "4"]),
            "name": pa.array(["a", "a"]),
            "file": pa.array([None, "x"]),
        }
    )
    frame = to_frame(table, TYPES, "table")
    assert list(frame) == list(TYPES)
    assert frame["name"].astype(str).tolist() == ["a", "a"]
    assert frame["name"].cat.categories.tolist() == ["a"]
    assert frame["count"].tolist() == [3, 4]
    np.testing.assert_array_equal(frame["unit"], [2, np.nan])
    np.testing.assert_array_equal(frame["score"], [1, np.nan])
    assert frame["file"].isna().tolist() == [True, False]


def test_what_is_missing_is_left_out() -> None:
    assert list(to_frame(pa.table({"score": [0.5]}), TYPES, "table")) == ["score"]


def test_numbers_beyond_all_others_are_undefined() -> None:
    frame = to_frame(pa.table({"score": [np.inf, -np.inf, 1e39, -3e38, np.nan]}), TYPES, "table")
    np.testing.assert_array_equal(frame["score"], [np.nan, np.nan, np.nan, -3e38, np.nan])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": ["a", None]}, "'name' lacks values"),
    "no count": ({"count": [1, None]}, "'count' lacks values"),
    "half a count": ({"count": [0.5, 1]}, "'count' cannot be of type int64"),
    "a list": ({"name": [["a"], ["b"]]}, "'name' cannot be of type category"),
    "a large unit": ({"unit": [2**31, 0]}, "'unit' cannot be of type Int32"),
    "no letters": ({"file": [b"\xff", b"a"]}, "'file' cannot be of type string"),
}


@pytest.mark.parametrize(("columns", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_column_is_named(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^its table: the column {words}"):
        to_frame(pa.table(columns), TYPES, "its table")


def test_a_column_that_is_there_twice_is_named() -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["unit", "unit"])
    with pytest.raises(ValueError, match="several columns 'unit'"):
        to_frame(table, TYPES, "table")
