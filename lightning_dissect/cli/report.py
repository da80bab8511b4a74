"""Write the report of a run: one HTML page that opens offline.

Like this::

  lightning-dissect report lightning_logs/version_0
  lightning-dissect report lightning_logs/version_0 --out percussion.html
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lightning_dissect.cli.options import add_q, add_run, show_progress
from lightning_dissect.cli.terminal import say
from lightning_dissect.report.html import write_report


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    add_run(parser, "run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html beside the scores)")
    add_q(parser)


def call(options: Namespace) -> int:
    """Write the page."""
    say(write_report(options.run, options.out, options.q, show_progress))
    return 0
