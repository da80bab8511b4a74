"""Score files, playlists and settings with random damage: what commands answer is an exit status and one line."""

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_dissect.cli import main

KEY = b"lightning_dissect"
ODD: list[Any] = [
    None, -1, 0, 1, 7, 2**31 - 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), "", "a",
    "chroma[A]", "[", "../x", "\x1b[31m\n", "\u202e", "<b>", "n" * 3_000, b"\xff\xfe", [], [1], ["a"], {"a": 1}, True,
]  # fmt: skip
KINDS = [None, pa.string(), pa.binary(), pa.int8(), pa.uint64(), pa.float16(), pa.list_(pa.int32()), pa.date32()]


def odd_column(rng: np.random.Generator, size: int) -> pa.Array | None:
    """Odd values of one type in all rows or among plain ones; None where Arrow has no such column."""
    value, plain = (ODD[rng.integers(len(ODD))] for _ in range(2))
    values = [value if rng.random() < 0.5 else plain for _ in range(size)] if rng.random() < 0.5 else [value] * size
    try:
        made = pa.array(values, KINDS[rng.integers(len(KINDS))] if rng.random() < 0.3 else None)
        return made.dictionary_encode() if rng.random() < 0.3 else made
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None


def change_table(file: Path, rng: np.random.Generator) -> None:
    table, metadata = pq.read_table(file), pq.read_schema(file).metadata
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(table.num_columns))
        made, name = odd_column(rng, len(table)), table.column_names[place]
        if made is None or rng.random() < 0.1:
            table = table.remove_column(place)
        elif rng.random() < 0.1:
            table = table.append_column(name, made)
        else:
            table = table.set_column(place, name, made)
    if rng.random() < 0.2:
        table = table.take(pa.array(rng.integers(len(table), size=rng.integers(4))))
    with contextlib.suppress(pa.ArrowNotImplementedError):  # Arrow has columns that Parquet has not
        pq.write_table(table.replace_schema_metadata(metadata), file)


def change_settings(file: Path, rng: np.random.Generator) -> None:
    table = pq.read_table(file)
    names = ["versions", "sample_rate", "n_fft", "hop_length", "layers", "a"]
    odd = [value for value in ODD if not isinstance(value, bytes)]
    made: Any = {name: odd[rng.integers(len(odd))] for name in names if rng.random() < 0.5}
    made = made if rng.random() < 0.9 else odd[rng.integers(len(odd))]
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(made).encode()}), file)


def change_bytes(file: Path, rng: np.random.Generator) -> None:
    content = bytearray(file.read_bytes())
    if rng.random() < 0.2:
        del content[rng.integers(len(content)) :]
    # The end holds the schema and the places of everything else.
    low = max(len(content) - 2_000, 0) if rng.random() < 0.5 else 0
    for place in rng.integers(low, max(len(content), low + 1), size=rng.integers(1, 6)):
        if place < len(content):
            content[place] = rng.integers(256)
    file.write_bytes(content)


SCORES, PLAYLIST = "epoch=0001-step=00000001.parquet", "playlist.parquet"
CHANGES = {"values": change_table, "settings": change_settings, "bytes": change_bytes}
CASES = [(change, SCORES) for change in CHANGES] + [("values", PLAYLIST), ("bytes", PLAYLIST)]


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("quiet", "little_memory")
@pytest.mark.parametrize(("change", "name"), CASES)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damage_never_ends_in_a_traceback(
    change: str, name: str, seed: int, scores_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, folder = np.random.default_rng([seed, len(change), len(name)]), tmp_path / "changed"
    seen = set()
    for _ in range(300 if seed else 12):
        shutil.copytree(scores_folder, folder)
        CHANGES[change](folder / name, rng)
        command = ["report", "show", "show --summary", "show --csv --all"][rng.integers(4)]
        status = main([*command.split(), str(folder)])
        shown = capsys.readouterr()
        assert status in (0, 1, 2)
        assert len(shown.err.splitlines()) == (status == 2), shown.err
        assert all(sign.isprintable() or sign == "\n" for sign in shown.err + shown.out)
        seen.add(status)
        shutil.rmtree(folder)
    assert 2 in seen  # some of the damage matters
