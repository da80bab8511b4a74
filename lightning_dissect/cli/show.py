"""Print which feature each unit of a run follows.

Like this::

  lightning-dissect show lightning_logs/version_0
  lightning-dissect show lightning_logs/version_0 --layer 'features.*' --feature percussive
  lightning-dissect show lightning_logs/version_0 --summary      one line a layer
  lightning-dissect show lightning_logs/version_0 --csv > labels.csv

Of a run whose metrics compare whole layers alone (cka, cca, …), the layers are printed.

exit status 1: no unit is like that.
"""

from argparse import ArgumentParser, Namespace
from fnmatch import fnmatchcase

import pandas as pd

from lightning_dissect.cli.options import add_q, add_run, read_last
from lightning_dissect.cli.terminal import print_table, say
from lightning_dissect.scores import LABEL_COLUMNS, base_feature, best_first


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    add_run(parser, "run")
    parser.add_argument("--layer", metavar="GLOB", default="*", help="only these layers")
    parser.add_argument("--feature", metavar="GLOB", help="only units that follow these features")
    parser.add_argument("--all", action="store_true", help="units without a label, too")
    parser.add_argument("--summary", action="store_true", help="count the units of each layer instead")
    parser.add_argument("--csv", action="store_true", help="print comma-separated values, to more digits")
    add_q(parser)


def call(options: Namespace) -> int:
    """Print the table."""
    scores = read_last(options.run)
    units = scores.table["unit"].notna().any()
    if not units:
        rows = best_first(scores.last())[LABEL_COLUMNS].drop(columns="unit")
        table = rows if options.all else rows[rows["q_value"] < options.q]
    else:
        table = scores.detectors(options.q) if options.summary else scores.labels(options.q)
    table = _of_layers(table, options.layer)
    if not (units and options.summary):
        table = _choose(table, options.feature, options.all)
    if table.empty:
        say("No unit is like that." if units else "No unit was compared, and no layer is like that.")
        return 1
    print_table(table, options.csv)
    return 0


def _of_layers(table: pd.DataFrame, glob: str) -> pd.DataFrame:
    return table[table["layer"].isin([layer for layer in set(table["layer"]) if fnmatchcase(str(layer), glob)])]


def _choose(labels: pd.DataFrame, feature: str | None, unlabelled: bool) -> pd.DataFrame:
    if feature is None:
        return labels if unlabelled else labels.dropna(subset="feature")
    named = labels.dropna(subset="feature")
    both = zip(named["feature"].astype(str), base_feature(named["feature"]), strict=True)
    return named[[feature == row or fnmatchcase(base, feature) for row, base in both]]
