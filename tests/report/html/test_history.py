from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_dissect import Scores
from lightning_dissect.report.html import history
from lightning_dissect.report.html.history import Column, read_history
from lightning_dissect.report.run_folder import load_baseline
from lightning_dissect.scores import base_feature, best_first, learned
from lightning_dissect.scores.labels import label_units


def test_arrays_hold_what_the_tables_hold(run: Path) -> None:
    found = read_history(run)
    table = Scores.load(run).table
    table = table.assign(feature=base_feature(table["feature"]))
    assert [tuple(moment) for moment in found.moments] == [(0, 10), (1, 20), (2, 30)]
    keys = ["epoch", "layer", *Column._fields, "unit"]
    best = best_first(table).drop_duplicates(keys).set_index(keys).sort_index()
    compared = 0
    for moment, (epoch, _) in enumerate(found.moments):
        for layer in found.layers:
            for place, column in enumerate(layer.columns):
                rows = best.loc[(epoch, layer.name, *found.columns[column])]
                np.testing.assert_allclose(layer.effect[moment, place], rows["effect"], rtol=1e-6)
                if moment == len(found.moments) - 1:
                    np.testing.assert_allclose(layer.score[place], rows["score"], rtol=1e-6)
                    np.testing.assert_allclose(layer.q_value[place], rows["q_value"], rtol=1e-6)
                compared += len(rows)
    assert compared == len(best)


def test_labels_are_counted_at_each_epoch(run: Path) -> None:
    found = read_history(run)
    assert found.features == ["loudness", "onset_strength", "chroma"]
    assert [layer.name for layer in found.layers] == list(dict.fromkeys(found.labels["layer"]))
    # Of 14 units the first 4, 8 and 12 may follow something: every third onset_strength, every third chroma. Unit 3
    # is shared, 6 trivial.
    assert found.counts[:, 0].tolist() == [[0, 1, 1], [0, 1, 3], [0, 2, 4]]
    assert found.kinds == ["distinct", "shared", "trivial", "none"]
    assert found.parts[:, 0].tolist() == [[2, 1, 0, 11], [4, 1, 1, 8], [6, 1, 1, 6]]
    assert (found.controls, found.explained[:, 0].tolist()) == (["rms_db"], [[0], [1], [1]])
    assert len(found.labels) == 54


def test_epochs_share_the_baseline_of_their_folder(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path)
    table = Scores.load(folder).last()
    copies = pd.concat([table.assign(epoch=copy, effect=table["effect"] / 10) for copy in range(30)])
    Scores(copies).save(folder / "dissect" / "untrained.parquet")
    read = []
    monkeypatch.setattr(history, "load_baseline", lambda file: read.append(file) or load_baseline(file))
    labelled: list[int] = []
    monkeypatch.setattr(learned, "label_units", lambda *a: labelled.append(1) or label_units(*a))
    found = read_history(folder)
    assert found.kinds == ["learned", "distinct", "shared", "trivial", "none"]
    assert found.parts[:, 0, :2].tolist() == [[2, 0], [4, 0], [6, 0]]
    assert (len(read), len(labelled)) == (1, 30)  # each copy once, not in each of three epochs


def test_a_baseline_that_lies_elsewhere_is_not_read(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    elsewhere = Scores(Scores.load(folder).last()).save(tmp_path / "elsewhere.parquet")
    (folder / "dissect" / "untrained.parquet").symlink_to(elsewhere)
    with pytest.warns(UserWarning, match=r"untrained\.parquet is left out: only regular files inside"):
        assert "learned" not in read_history(folder).kinds


def test_a_layer_that_comes_later_is_undefined_before(run: Path, tmp_path: Path) -> None:
    first, last = (Scores.load(file) for file in sorted(run.rglob("*.parquet"))[::2])
    first.filter(layer="embedding").save(tmp_path / "a.parquet")
    last.save(tmp_path / "b.parquet")
    found = read_history(tmp_path)
    early = {layer.name: np.isnan(layer.effect[0]).all() for layer in found.layers}
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
    found = read_history(Scores(table).save(tmp_path / "layers.parquet"))
    assert (found.layers, found.features, len(found.labels)) == ([], [], 0)
    assert found.moments == [(2, 30)]


def test_a_unit_before_which_others_are_missing_is_refused(run: Path, tmp_path: Path) -> None:
    table = Scores.load(run).last()
    table.loc[table["unit"] == 13, "unit"] = 2**31 - 2
    with pytest.raises(ValueError, match="has a unit 2147483646, but no scores of some before it"):
        read_history(Scores(table).save(tmp_path / "large.parquet"))
