import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from lightning_dissect.scores import base_feature, fold_features

NAMES = st.sampled_from(["loudness", "chroma[A]", "chroma[A#]", "chroma[B]", "mfcc[0]", "mfcc[1]", "my [odd]", "a]"])


@given(st.lists(NAMES))
def test_folding_keeps_each_row_once_and_each_feature_in_its_place(names: list[str]) -> None:
    folded = fold_features(names)
    bases = base_feature(pd.Series(names, dtype=str)).unique().tolist()
    assert len(folded) == len(bases)
    for shown, base in zip(folded, bases, strict=True):
        rows = [name[len(base) + 1 : -1] for name in dict.fromkeys(names) if name != base and name.startswith(base)]
        assert shown == (f"{base} ({', '.join(rows)})" if rows else base)


def test_many_rows_are_counted_and_controls_have_names_for_people() -> None:
    pitches = [f"chroma[{pitch}]" for pitch in ["A", "A#", "B", "C", "C#"]]
    assert fold_features(pitches[:4]) == ["chroma (A, A#, B, C)"]
    assert fold_features(["input", *pitches, "rms_db", *pitches]) == ["the input", "chroma (5 rows)", "level"]
