"""Print the units whose label differs between two runs, or between two epochs of one: its feature, or its kind.

Like this::

  lightning-dissect compare lightning_logs/version_0 lightning_logs/version_1
  lightning-dissect compare run/dissect/epoch=0000-step=00000120.parquet run    the first epoch and the last

exit status 1: no unit changed.
"""

from argparse import ArgumentParser, Namespace

import pandas as pd

from lightning_dissect.cli.options import add_csv, add_q, add_run, read_last
from lightning_dissect.cli.terminal import print_table, say
from lightning_dissect.scores import fold_features, kinds_of


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    add_run(parser, "before")
    add_run(parser, "after")
    add_csv(parser)
    add_q(parser)


def call(options: Namespace) -> int:
    """Print the table."""
    before, after = read_last(options.before), read_last(options.after)
    if not set(before.table["layer"]) & set(after.table["layer"]):
        raise ValueError(f"{options.before} and {options.after} have no layer in common.")
    both = before.compare(after, options.q)
    if both.empty:
        raise ValueError(f"{options.before} and {options.after} hold scores of whole layers alone: units are compared.")
    changed = both[both["changed"]].drop(columns="changed")
    if changed.empty:
        say(f"None of {len(both)} units changed its label.")
        return 1
    if options.csv:
        print_table(changed, csv=True)
        return 0
    shown = _for_people(changed)
    print_table(shown)
    ways = shown["kind_before"] + " → " + shown["kind_after"]
    counts = ways[shown["kind_before"] != shown["kind_after"]].value_counts()
    say("", f"{len(changed)} of {len(both)} units changed their label.")
    say(*(f"{count} {way}" for way, count in counts.items()))
    return 0


def _for_people(changed: pd.DataFrame) -> pd.DataFrame:
    shown = changed.copy()
    for side in ("before", "after"):
        kind, feature = shown[f"kind_{side}"], shown[f"feature_{side}"]
        shown[f"kind_{side}"] = kinds_of(pd.DataFrame({"kind": kind, "feature": feature}))
        shown[f"feature_{side}"] = [None if pd.isna(name) else fold_features([name])[0] for name in feature]
    return shown.rename(columns={"feature_before": "label_before", "feature_after": "label_after"})
