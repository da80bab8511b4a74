"""Print the units whose label differs between two runs, or between two epochs of one.

Like this::

  lightning-dissect compare lightning_logs/version_0 lightning_logs/version_1
  lightning-dissect compare run/dissect/epoch=0000-step=00000120.parquet run    the first epoch and the last

exit status 1: no unit changed.
"""

from argparse import ArgumentParser, Namespace

from lightning_dissect.cli.options import add_csv, add_q, add_run, read_last
from lightning_dissect.cli.terminal import print_table, say


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
    print_table(changed, options.csv)
    if not options.csv:
        say("", f"{len(changed)} of {len(both)} units changed their label.")
    return 0
