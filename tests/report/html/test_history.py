from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_dissect import Scores
from lightning_dissect.report.html.history import Column, read_history
from lightning_dissect.scores import base_feature, best_first


def test_arrays_hold_what_the_tables_hold(run: Path) -> None:
    history = read_history(run)
    table = Scores.load(run).table
    table = table.assign(feature=base_feature(table["feature"]))
    assert [tuple(moment) for moment in history.moments] == [(0, 10), (1, 20), (2, 30)]
    keys = ["epoch", "layer", *Column._fields, "unit"]
    best = best_first(table).drop_duplicates(keys).set_index(keys).sort_index()
    compared = 0
    for moment, (epoch, _) in enumerate(history.moments):
        for layer in history.layers:
            for place, column in enumerate(layer.columns):
                rows = best.loc[(epoch, layer.name, *history.columns[column])]
                np.testing.assert_allclose(layer.effect[moment, place], rows["effect"], rtol=1e-6)
                if moment == len(history.moments) - 1:
                    np.testing.assert_allclose(layer.score[place], rows["score"], rtol=1e-6)
                    np.testing.assert_allclose(layer.q_value[place], rows["q_value"], rtol=1e-6)
                compared += len(rows)
    assert compared == len(best)


def test_labels_are_counted_at_each_epoch(run: Path) -> None:
    history = read_history(run)
    assert history.features == ["loudness", "onset_strength", "chroma"]
    assert [layer.name for layer in history.layers] == list(dict.fromkeys(history.labels["layer"]))
    # Of 14 units the first 4, 8 and 12 may follow something: every third onset_strength, every third chroma.
    assert history.counts[:, 0].tolist() == [[0, 2, 1], [0, 3, 3], [0, 4, 4]]
    assert len(history.labels) == 54


def test_a_layer_that_comes_later_is_undefined_before(run: Path, tmp_path: Path) -> None:
    first, last = (Scores.load(file) for file in sorted(run.rglob("*.parquet"))[::2])
    first.filter(layer="embedding").save(tmp_path / "a.parquet")
    last.save(tmp_path / "b.parquet")
    history = read_history(tmp_path)
    early = {layer.name: np.isnan(layer.effect[0]).all() for layer in history.layers}
    assert early == {layer: layer != "embedding" for layer in early}
    assert len(early) == 2


def test_one_file_of_several_epochs_is_a_run(run: Path, tmp_path: Path) -> None:
    joined = read_history(Scores.load(run).save(tmp_path / "all.parquet"))
    np.testing.assert_array_equal(joined.counts, read_history(run).counts)


def test_several_runs_are_refused_by_name(run: Path, tmp_path: Path) -> None:
    file = next(run.rglob("*.parquet"))
    for name in ("version_0", "version_1"):
        Scores.load(file).save(tmp_path / name / file.name)
    with pytest.raises(ValueError, match=r"holds 2 runs; name one of them: .*version_0, .*version_1"):
        read_history(tmp_path)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_history(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="no scores here"):
        read_history(tmp_path)


def test_scores_of_whole_layers_alone_have_no_units(run: Path, tmp_path: Path) -> None:
    table = Scores.load(run).last().assign(unit=pd.NA)
    history = read_history(Scores(table).save(tmp_path / "layers.parquet"))
    assert (history.layers, history.features, len(history.labels)) == ([], [], 0)
    assert history.moments == [(2, 30)]


def test_a_unit_before_which_others_are_missing_is_refused(run: Path, tmp_path: Path) -> None:
    table = Scores.load(run).last()
    table.loc[table["unit"] == 13, "unit"] = 2**31 - 2
    with pytest.raises(ValueError, match="has a unit 2147483646, but no scores of some before it"):
        read_history(Scores(table).save(tmp_path / "large.parquet"))
