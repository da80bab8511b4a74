"""Print which feature each unit of a run follows.

Like this::

  lightning-dissect show lightning_logs/version_0
  lightning-dissect show lightning_logs/version_0 --layer 'features.*' --feature percussive
  lightning-dissect show lightning_logs/version_0 --summary      one line a layer
  lightning-dissect show lightning_logs/version_0 --csv > labels.csv

exit status 1: no unit is like that.
"""

from argparse import ArgumentParser, Namespace
from fnmatch import fnmatchcase

import pandas as pd

from lightning_dissect.cli.options import add_q, add_run, read_last
from lightning_dissect.scores import base_feature

FORMATS = {"q_value": "{:.1e}".format}


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
    table = scores.detectors(options.q) if options.summary else scores.labels(options.q)
    table = table[[fnmatchcase(str(layer), options.layer) for layer in table["layer"]]]
    if not options.summary:
        table = _choose(table, options.feature, options.all)
    if table.empty:
        print("No unit is like that.")
        return 1
    print_table(table, options.csv)
    return 0


def _choose(labels: pd.DataFrame, feature: str | None, unlabelled: bool) -> pd.DataFrame:
    if feature is None:
        return labels if unlabelled else labels.dropna(subset="feature")
    named = labels.dropna(subset="feature")
    both = zip(named["feature"].astype(str), base_feature(named["feature"]), strict=True)
    return named[[feature == row or fnmatchcase(base, feature) for row, base in both]]


def print_table(table: pd.DataFrame, csv: bool = False) -> None:
    """Print a table in columns or as comma-separated values."""
    if csv:
        print(table.to_csv(index=False), end="")
    else:
        known = {name: FORMATS[name] for name in table if name in FORMATS}
        print(table.to_string(index=False, formatters=known, float_format="{:.3f}".format, na_rep="–"))
