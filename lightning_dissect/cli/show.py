"""Print what each unit of a run follows.

Like this::

  lightning-dissect show lightning_logs/version_0                      what sets units apart comes first
  lightning-dissect show lightning_logs/version_0 --kind distinct --least 0.3
  lightning-dissect show lightning_logs/version_0 --layer 'features.*' --feature percussive
  lightning-dissect show lightning_logs/version_0 --summary            in words, and one line a layer
  lightning-dissect show lightning_logs/version_0 --csv > labels.csv   all columns, rivals with ; between them

kinds of labels: distinct, one feature sets the unit apart; shared, it follows several that cannot be told apart, its
rivals; trivial, level or the input explains it as well. learned: units of untrained copies do not follow the label's
feature as strongly; a dash where that is not known. r²: the share of variance that the two have in common. unique: the
correlation that is left when all other features are held fixed.

Of a run whose metrics compare whole layers alone (cka, cca, …), the layers are printed.

exit status 1: no unit is like that.
"""

from argparse import ArgumentParser, Namespace

import pandas as pd

from lightning_dissect.cli.found import say_found
from lightning_dissect.cli.options import add_csv, add_least, add_q, add_run, read_last
from lightning_dissect.cli.terminal import print_table, say
from lightning_dissect.scores import (
    Scores,
    best_first,
    explained_variance,
    flatten_labels,
    fold_features,
    kinds_of,
    order_of_kind,
)
from lightning_dissect.scores.features import is_feature, matches

_OF_LAYERS = ["layer", "feature", "level", "metric", "score", "null", "effect", "q_value"]
_KINDS = ("distinct", "learned", "shared", "trivial", "untested", "none")


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    add_run(parser, "run")
    parser.add_argument("--layer", metavar="GLOB", default="*", help="only these layers")
    parser.add_argument("--feature", metavar="GLOB", help="only units whose label is one of these features")
    parser.add_argument("--kind", choices=_KINDS, help="only units of this kind; learned: of the distinct ones")
    parser.add_argument("--all", action="store_true", help="units without a label, too")
    parser.add_argument("--summary", action="store_true", help="count the units of each layer instead")
    add_csv(parser)
    add_q(parser)
    add_least(parser)


def call(options: Namespace) -> int:
    """Print the table."""
    scores = read_last(options.run)
    if not scores.table["unit"].notna().any():
        return _show_layers(scores.filter(layer=options.layer), options)
    if options.summary and options.layer == "*" and not options.csv:
        return 0 if say_found(scores, options.q, options.least) else 1
    if options.summary:
        print_table(_of_layers(scores.detectors(options.q, options.least), options), options.csv)
        return 0
    # Of the whole run: among the units of some layers alone, labels would be corrected for fewer of them.
    labels = _choose(_of_layers(scores.labels(options.q, options.least), options), options)
    if labels.empty:
        say("No unit is like that.")
        return 1
    print_table(flatten_labels(labels) if options.csv else _for_people(labels), options.csv)
    return 0


def _of_layers(table: pd.DataFrame, options: Namespace) -> pd.DataFrame:
    return table[matches(table["layer"], options.layer)]


def _show_layers(scores: Scores, options: Namespace) -> int:
    table = best_first(scores.last())[_OF_LAYERS]
    table = table if options.all else table[table["q_value"] < options.q]
    if options.feature is not None:
        table = table[is_feature(table["feature"], options.feature)]
    if table.empty:
        say("No unit was compared, and no layer is like that.")
        return 1
    print_table(table, options.csv)
    return 0


def _choose(labels: pd.DataFrame, options: Namespace) -> pd.DataFrame:
    kinds = kinds_of(labels)
    keep = pd.Series(True, labels.index)
    if options.kind == "learned":
        keep = (kinds == "distinct") & labels["learned"].fillna(False).astype(bool)
    elif options.kind is not None:
        keep = kinds == options.kind
    elif not options.all:
        keep = kinds != "none"
    if options.feature is None:
        return labels[keep]
    labels = labels[keep & labels["feature"].notna()]
    return labels[is_feature(labels["feature"], options.feature)]


def _for_people(labels: pd.DataFrame) -> pd.DataFrame:
    """The columns that say most; distinct units come first."""
    labels = labels.assign(order=order_of_kind(labels).where(labels["feature"].notna(), 3)).sort_values(
        "order", kind="stable"
    )
    compared = labels["metric"].astype(object) + ", " + labels["level"].astype(object)
    return pd.DataFrame(
        {
            "layer": labels["layer"],
            "unit": labels["unit"],
            "label": [None if pd.isna(name) else fold_features([name])[0] for name in labels["feature"]],
            "kind": kinds_of(labels),
            "rivals": [
                ", ".join(fold_features(names)) if isinstance(names, tuple) else "" for names in labels["rivals"]
            ],
            "compared by": compared,
            "score": labels["score"],
            "r²": explained_variance(labels),
            "unique": labels["unique"],
            "learned": labels["learned"],
            "q": labels["q_value"],
        }
    )
