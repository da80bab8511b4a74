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

from lightning_dissect.cli.options import add_csv, add_q, add_run, read_last
from lightning_dissect.cli.terminal import print_table, say
from lightning_dissect.scores import LABEL_COLUMNS, best_first
from lightning_dissect.scores.features import is_feature, matches


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    add_run(parser, "run")
    parser.add_argument("--layer", metavar="GLOB", default="*", help="only these layers")
    parser.add_argument("--feature", metavar="GLOB", help="only units that follow these features")
    parser.add_argument("--all", action="store_true", help="units without a label, too")
    parser.add_argument("--summary", action="store_true", help="count the units of each layer instead")
    add_csv(parser)
    add_q(parser)


def call(options: Namespace) -> int:
    """Print the table."""
    scores = read_last(options.run)
    units = scores.table["unit"].notna().any()
    if units and options.summary:
        table = scores.detectors(options.q)
    else:
        table = scores.labels(options.q) if units else best_first(scores.last())[LABEL_COLUMNS].drop(columns="unit")
        if not options.all:
            table = table.dropna(subset="feature") if units else table[table["q_value"] < options.q]
        if options.feature is not None:
            table = table[table["feature"].notna() & is_feature(table["feature"], options.feature)]
    table = table[matches(table["layer"], options.layer)]
    if table.empty:
        say("No unit is like that." if units else "No unit was compared, and no layer is like that.")
        return 1
    print_table(table, options.csv)
    return 0
