from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_dissect import dissect
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.scores import COLUMNS, LABEL_COLUMNS, Block, Scores, adjust_p_values

NAN = float("nan")


def similarity(score: list[list[float]], p: list[list[float]]) -> Similarity:
    scores, p_values = torch.tensor(score, dtype=torch.float64), torch.tensor(p, dtype=torch.float64)
    null = torch.full_like(scores, 0.1)
    return Similarity(scores, null, scores - null, p_values, torch.full_like(scores, 20))


def constant(**changes: object) -> dict[str, object]:
    return {"epoch": 0, "step": 10, "dataloader": 0, "layer": "conv", "level": "clip", "metric": "pearson"} | changes


@pytest.fixture
def scores() -> Scores:
    return Scores.from_blocks(
        [
            Block(
                constant(),
                ("loudness", "rms"),
                similarity([[0.9, 0.8], [0.2, NAN], [-0.7, 0.1]], [[0, 0], [0.6, NAN], [1e-4, 0.5]]),
            ),
            Block(
                constant(metric="sift", level="map"),
                ("harmonic",),
                similarity([[0.3], [0.1], [NAN]], [[1e-9], [0.4], [NAN]]),
            ),
            Block(constant(layer="dense"), ("chroma[A]", "chroma[C]"), similarity([[0.4, 0.1]], [[0.06, 0.7]])),
        ],
        {"sample_rate": 8_000},
    )


def test_the_table_has_a_row_for_each_unit_and_feature(scores: Scores) -> None:
    table = scores.table
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 3 * 2 + 3 + 2
    row = table[(table["unit"] == 2) & (table["feature"] == "loudness")].iloc[0]
    assert (row["layer"], row["score"], row["null"], row["effect"], row["n_clips"]) == (
        "conv",
        -0.7,
        0.1,
        pytest.approx(-0.8),
        20,
    )


def test_labels_are_the_best_supported_feature_of_each_unit(scores: Scores) -> None:
    labels = scores.labels()
    assert list(labels.columns) == LABEL_COLUMNS
    assert labels["layer"].tolist() == ["conv", "conv", "conv", "dense"]
    # The finest level counts. Undefined and insignificant rows never label. A fall is a label too.
    assert labels["feature"].astype(object).fillna("").tolist() == ["harmonic", "", "loudness", ""]
    assert labels["score"].tolist()[:1] + labels["score"].tolist()[2:3] == [0.3, -0.7]
    assert scores.labels(q=0.2)["feature"].tolist()[-1] == "chroma[A]"
    with pytest.raises(ValueError, match=r"q=5 is not in \(0, 1\)"):
        scores.labels(q=5)


def test_the_summary_takes_the_rows_of_a_feature_together(scores: Scores) -> None:
    summary = scores.summary(q=0.2).set_index(["layer", "feature"])
    assert summary.loc[("dense", "chroma"), ["best", "mean", "supported"]].tolist() == [0.4, 0.25, 1]
    assert summary.loc[("conv", "loudness"), "supported"] == 2
    assert summary.loc[("conv", "rms"), "mean"] == pytest.approx(0.45)


@pytest.mark.parametrize("supported", [[], ["layer7"]])
def test_the_summary_of_a_deep_network_counts_layers_without_support(supported: list[str]) -> None:
    names = [f"layer{index}" for index in range(200)]  # more than the 127 that the smallest categories can number
    best = {name: 1e-9 if name in supported else 0.7 for name in names}
    blocks = [
        Block(constant(layer=name), ("rms",), similarity([[0.9], [0.2]], [[best[name]], [0.6]])) for name in names
    ]
    summary = Scores.from_blocks(blocks).summary().set_index("layer")["supported"]
    assert len(summary) == 200
    assert summary[summary > 0].to_dict() == dict.fromkeys(supported, 1)


def test_one_true_unit_with_many_rows_lets_no_false_unit_in() -> None:
    # Row-wise, 200 tiny p-values would make 0.01 significant; unit-wise, the noisy unit is one of two.
    p = torch.cat([torch.full((1, 200), 1e-9), torch.full((1, 200), 0.5)]).tolist()
    p[1][0] = 0.01
    scores = Scores.from_blocks([Block(constant(), [f"f{i}" for i in range(200)], similarity([[0.5] * 200] * 2, p))])
    assert (scores.table["q_value"] < 0.05).sum() == 201
    labels = scores.labels()
    assert labels["feature"].notna().tolist() == [True, False]
    assert labels["q_value"].tolist() == pytest.approx([2e-9, 0.5])


@given(st.lists(st.one_of(st.floats(0, 1), st.just(NAN)), max_size=30))
def test_q_values_agree_with_the_definition(p_values: list[float]) -> None:
    p = pd.Series(p_values, dtype=float)
    tested = sorted(value for value in p_values if value == value)
    expected = [
        NAN
        if value != value
        else min([1.0] + [len(tested) * other / rank for rank, other in enumerate(tested, 1) if other >= value])
        for value in p_values
    ]
    np.testing.assert_allclose(adjust_p_values(p), expected, rtol=1e-12)


def test_a_file_gives_the_scores_back(scores: Scores, tmp_path: Path) -> None:
    path = scores.save(tmp_path / "deep" / "one.parquet")
    loaded = Scores.load(path)
    pd.testing.assert_frame_equal(loaded.table, scores.table)
    assert loaded.settings == {"sample_rate": 8_000}
    assert [file.name for file in path.parent.iterdir()] == ["one.parquet"]


def test_a_folder_joins_its_epochs_and_labels_come_from_the_last_run(tmp_path: Path) -> None:
    for epoch, step, value in ((1, 30, 0.5), (0, 10, 0.1), (1, 20, 0.3)):
        rows = [Block(constant(epoch=epoch, step=step), ("rms",), similarity([[value]], [[1e-6]]))]
        Scores.from_blocks(rows).save(tmp_path / "run" / "dissect" / f"{step}.parquet")
    joined = Scores.load(tmp_path)
    assert joined.table["score"].tolist() == [0.1, 0.3, 0.5]
    assert joined.labels()["score"].tolist() == [0.5]


def test_several_runs_are_refused_by_name(scores: Scores, tmp_path: Path) -> None:
    for run in ("version_0", "version_1"):
        scores.save(tmp_path / run / "dissect" / "one.parquet")
    with pytest.raises(ValueError, match=r"holds 2 runs; name one of them: .*version_0/dissect, .*version_1/dissect"):
        Scores.load(tmp_path)
    assert len(Scores.load(tmp_path / "version_1")) == len(scores)


def test_what_is_no_scores_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no scores here"):
        Scores.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no scores here"):
        Scores.load(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"text.parquet cannot be read as scores"):
        Scores.load(tmp_path / "text.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(ValueError, match="not written by lightning_dissect"):
        Scores.load(tmp_path / "foreign.parquet")
    with pytest.raises(ValueError, match=r"table lacks the columns \['epoch'"):
        Scores(pd.DataFrame({"layer": []}))


def test_an_interrupted_write_leaves_the_old_file(
    scores: Scores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scores.save(tmp_path / "one.parquet")

    def fail(*_: object, **__: object) -> None:
        (tmp_path / f".{path.name}.partial").touch()
        raise OSError("disk full")

    before = path.read_bytes()
    monkeypatch.setattr("lightning_dissect.scores.storage.pq.write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        scores.save(path)
    assert path.read_bytes() == before
    assert Scores.load(tmp_path).table.equals(scores.table)


def test_a_run_without_comparisons_is_an_empty_table() -> None:
    empty = Scores.from_blocks([])
    assert len(empty) == 0
    assert len(empty.labels()) == 0


def test_filter_keeps_rows_by_number_name_glob_and_base_feature(scores: Scores) -> None:
    assert len(scores.filter()) == len(scores)
    assert len(scores.filter(layer="conv", unit=1)) == 3
    assert set(scores.filter(layer="d*").table["feature"]) == {"chroma[A]", "chroma[C]"}
    assert len(scores.filter(feature="chroma")) == 2
    assert len(scores.filter(feature="chroma[A]")) == 1
    assert len(scores.filter(feature="chroma[*]")) == 2
    assert set(scores.filter(metric="sift", level="map").table["feature"]) == {"harmonic"}
    assert len(scores.filter(epoch=3)) == 0
    assert scores.filter(layer="conv").settings == {"sample_rate": 8_000}


def test_filter_leaves_q_values_as_they_were(scores: Scores) -> None:
    kept = scores.filter(unit=0, feature="rms").table["q_value"]
    row = scores.table[(scores.table["unit"] == 0) & (scores.table["feature"] == "rms")]["q_value"]
    assert kept.tolist() == row.tolist()


def test_filter_by_unit_leaves_out_whole_layers(scores: Scores) -> None:
    whole = Scores.from_blocks([Block(constant(unit=None, metric="cka"), ("rms",), similarity([[0.5]], [[0.1]]))])
    assert len(whole.filter(unit=0)) == 0
    assert len(whole.filter(metric="cka")) == 1


def test_best_units_of_a_feature(scores: Scores) -> None:
    assert scores.best_units("loudness")["unit"].tolist() == [0, 2, 1]
    assert scores.best_units("loudness", n=1)["unit"].tolist() == [0]
    assert scores.best_units("harmonic", metric="pearson").empty
    assert scores.best_units("chroma")["feature"].tolist() == ["chroma[A]"]
    with pytest.raises(ValueError, match=r"feature='pitch' .* loudness, rms, harmonic, chroma"):
        scores.best_units("pitch")


def test_best_features_of_a_unit(scores: Scores) -> None:
    best = scores.best_features("conv", 0)
    assert best["feature"].tolist() == ["loudness", "rms", "harmonic"]
    assert scores.best_features("conv", 2, n=1)["feature"].tolist() == ["loudness"]
    with pytest.raises(ValueError, match=r"layer='conv', unit=9: .* conv, dense"):
        scores.best_features("conv", 9)


def test_compare_tells_which_units_changed_their_label(scores: Scores) -> None:
    turned = scores.table.assign(p_value=lambda t: t["p_value"].where(t["unit"] != 2, 0.9))
    turned.loc[(turned["unit"] == 1) & (turned["feature"] == "harmonic"), "p_value"] = 1e-12
    compared = scores.compare(Scores(turned.drop(columns="q_value")))
    conv = compared[compared["layer"] == "conv"].set_index("unit")
    assert conv["changed"].tolist() == [False, True, True]
    assert pd.isna(conv.loc[1, "feature_before"])
    assert conv.loc[1, "feature_after"] == "harmonic"
    assert conv.loc[2, "feature_before"] == "loudness"
    assert pd.isna(conv.loc[2, "feature_after"])
    assert not scores.compare(scores)["changed"].any()


def test_compare_keeps_the_units_that_only_one_side_has(scores: Scores) -> None:
    compared = scores.compare(scores.filter(layer="dense"))
    assert len(compared) == 4
    assert compared[compared["changed"]]["unit"].tolist() == [0, 2]


def test_detectors_and_dead_units(scores: Scores) -> None:
    table = scores.table.copy()
    table.loc[(table["layer"] == "conv") & (table["unit"] == 1), ["score", "p_value"]] = NAN
    summary = Scores(table).detectors().set_index("layer")
    assert summary.loc["conv", ["units", "distinct", "untested", "none", "dead"]].tolist() == [3, 0, 2, 1, 1]
    assert pd.isna(summary.loc["conv", "learned"])
    assert summary.loc["dense", ["units", "none", "dead"]].tolist() == [1, 1, 0]
    assert Scores(table).dead_units().to_numpy().tolist() == [["conv", 1]]
    # Loudness explains the units best, and nothing else as well: it sets them apart.
    table["lower_p_value"] = np.where(table["feature"] == "loudness", 1.0, 1e-6)
    summary = Scores(table.assign(control=table["feature"] == "rms")).detectors().set_index("layer")
    assert summary.loc["conv", ["distinct", "none", "loudness", "harmonic"]].tolist() == [2, 1, 2, 0]
    assert not {"rms", "untested"} & set(summary)


def test_compare_tells_a_label_that_has_become_trivial(scores: Scores) -> None:
    sides = [
        Scores(scores.table.assign(lower_p_value=np.where(scores.table["feature"] == "loudness", 1.0, p), control=rms))
        for p, rms in ((1e-6, False), (0.9, scores.table["feature"] == "rms"))
    ]
    changed = sides[0].compare(sides[1]).query("layer == 'conv' and unit == 2").iloc[0]
    assert (changed["feature_before"], changed["feature_after"]) == ("loudness", "loudness")
    assert (changed["kind_before"], changed["kind_after"], changed["changed"]) == ("distinct", "trivial", True)


def test_duplicate_units_are_found_within_their_layer() -> None:
    score = np.random.default_rng(0).uniform(-1, 1, (50, 6))
    score[7] = score[3] + 1e-7
    score[20] = score[3]
    score[30] = [NAN] * 6
    score[31] = [NAN] * 6
    score[40] = [*score[41][:5], NAN]
    p = np.full_like(score, 0.5)
    rows = tuple("abcdef")
    found = Scores.from_blocks(
        [Block(constant(layer=layer), rows, similarity(score.tolist(), p.tolist())) for layer in ("conv", "dense")]
    ).duplicate_units()
    assert found.to_numpy().tolist() == [["conv", 7, 3], ["conv", 20, 3], ["dense", 7, 3], ["dense", 20, 3]]


def test_a_network_with_a_dead_and_a_copied_unit() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(1, 5, 64, 32)
    with torch.no_grad():
        conv.weight[1], conv.bias[1] = 0.0, 0.5
        conv.weight[4], conv.bias[4] = -3 * conv.weight[2], 0.7
    net = torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), conv)
    clips = torch.randn(24, 8_000, generator=torch.Generator().manual_seed(0)).cumsum(1)
    loader = torch.utils.data.DataLoader(clips - clips.mean(1, keepdim=True), 8)
    run = {"features": ["rms", "loudness"], "metrics": ["pearson", "euclidean"], "layers": ["1"], "progress": False}
    scores = dissect(net, loader, 8_000, **run)
    assert scores.dead_units().to_numpy().tolist() == [["1", 1]]
    assert scores.duplicate_units().empty
    with torch.no_grad():
        conv.weight[4], conv.bias[4] = 3 * conv.weight[2], 3 * conv.bias[2]
    assert dissect(net, loader, 8_000, **run).duplicate_units().to_numpy().tolist() == [["1", 4, 2]]


def test_intervals_are_kept_and_a_file_without_them_is_read(scores: Scores, tmp_path: Path) -> None:
    result = similarity([[0.9]], [[0.01]])
    known = Scores.from_blocks(
        [Block(constant(), ("rms",), result._replace(low=result.effect - 1, high=result.effect))]
    )
    saved = Scores.load(known.save(tmp_path / "new.parquet")).table.iloc[0]
    assert (saved["effect_low"], saved["effect_high"]) == (pytest.approx(-0.2), pytest.approx(0.8))
    old = Scores(known.table.drop(columns=["effect_low", "effect_high"]))
    assert old.table[["effect_low", "effect_high"]].isna().all(axis=None)
    assert scores.table["effect_low"].isna().all()


@pytest.fixture
def epochs(scores: Scores) -> Scores:
    return Scores(pd.concat([scores.table, scores.table.assign(epoch=1, step=20)]), scores.settings)


def copies_of(scores: Scores, effects: tuple[float, ...] = (0.1, 0.2)) -> Scores:
    """A baseline as untrained copies give it: the same rows once a copy, with effects of its own."""
    tables = [scores.table.assign(epoch=copy, step=0, effect=effect) for copy, effect in enumerate(effects)]
    return Scores(pd.concat(tables), {"untrained": len(effects)})


def test_scores_are_saved_with_their_baseline_and_loaded_with_it(epochs: Scores, tmp_path: Path) -> None:
    assert epochs.baseline is None
    epochs.baseline = copies_of(epochs)
    epochs.save(tmp_path / "scores.parquet")
    for path in (tmp_path / "scores.parquet", tmp_path):
        loaded = Scores.load(path)
        pd.testing.assert_frame_equal(loaded.table, epochs.table)
        assert loaded.baseline is not None
        pd.testing.assert_frame_equal(loaded.baseline.table, epochs.baseline.table)
        assert loaded.baseline.settings == {"untrained": 2}
        assert loaded.baseline.baseline is None
    other = Scores(epochs.table, epochs.settings)
    other.save(tmp_path / "other.parquet")  # beside it, and of another network
    assert Scores.load(tmp_path / "other.parquet").baseline is None
    other.save(tmp_path / "scores.parquet")
    assert Scores.load(tmp_path / "scores.parquet").baseline is None


def test_a_run_has_one_baseline_beside_its_epochs(epochs: Scores, tmp_path: Path) -> None:
    for epoch in (0, 1):
        epochs.filter(epoch=epoch).save(tmp_path / "dissect" / f"epoch=000{epoch}-step=00000003.parquet")
    copies_of(epochs).save(tmp_path / "dissect" / "untrained.parquet")
    for path in (tmp_path, tmp_path / "dissect", tmp_path / "dissect" / "epoch=0001-step=00000003.parquet"):
        baseline = Scores.load(path).baseline
        assert baseline is not None
        assert baseline.table["epoch"].unique().tolist() == [0, 1]
    assert len(Scores.load(tmp_path)) == len(epochs)


def test_a_baseline_that_cannot_be_read_is_named(epochs: Scores, tmp_path: Path) -> None:
    epochs.save(tmp_path / "scores.parquet")
    (tmp_path / "scores.untrained.parquet").write_bytes(b"no table")
    loaded = Scores.load(tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"scores\.untrained\.parquet cannot be read as scores"):
        _ = loaded.baseline


def test_a_filter_keeps_the_same_part_of_every_copy(epochs: Scores) -> None:
    epochs.baseline = copies_of(epochs)
    part = epochs.filter(epoch=1, layer=str(epochs.table["layer"].iloc[0]), unit=0)
    assert part.baseline is not None
    rows = part.baseline.table
    assert rows["epoch"].unique().tolist() == [0, 1]
    whole = epochs.baseline.table
    expected = whole[(whole["layer"] == epochs.table["layer"].iloc[0]) & (whole["unit"] == 0)]
    pd.testing.assert_frame_equal(rows, expected.reset_index(drop=True), check_categorical=False)
    assert 0 < len(rows) < len(whole)
