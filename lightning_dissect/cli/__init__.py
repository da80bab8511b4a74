"""The command ``lightning-dissect``."""

import os
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import NoReturn

from lightning_dissect.cli import compare, demo, features, report, run, show
from lightning_dissect.cli.terminal import complain, show_warning
from lightning_dissect.errors import text_of

__all__ = ["main"]

COMMANDS = (demo, run, report, show, compare, features)
_MOST_LINES = 4

_EPILOGUE = """\
typical use:
  lightning-dissect demo                                    see everything on made-up sounds, in two minutes
  lightning-dissect run vggish.pth --network VGGish --data FOLDER --out my_run
  lightning-dissect show my_run --feature percussive        which units follow percussive sound?
  lightning-dissect report my_run                           the same as one HTML page

exit status: 0 done; 1 nothing was found, or something failed; 2 wrong use: a missing or foreign file, an option that
cannot work, an output that cannot be written. The message is one line on stderr, and nothing half-written is left.
"""


class _Parser(ArgumentParser):
    """Answers wrong use in one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"{self.prog}: {message} (see {self.prog} --help)")
        self.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; ``None`` takes those of the process.

    Returns:
        0 if it worked, 1 if nothing was found, 2 after wrong use.

    Raises:
        SystemExit: With 0 after ``--help``, with 2 after options that do not exist.

    Example:
        >>> main(["show", "no/such/folder"])
        2
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            status: int = options.call(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, like `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ModuleNotFoundError, MemoryError) as error:
        complain(f"lightning-dissect: {_one_line(error)}")
        return 2
    return status


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="lightning-dissect",
        description="Which neurons of an audio network behave like audio features that people understand.",
        epilog=_EPILOGUE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        words, _, epilogue = (module.__doc__ or "").partition("\n\n")
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(
            name,
            help=words,
            description=words,
            epilog=epilogue.replace("::", ":"),
            formatter_class=RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(call=module.call)
    return parser


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = [line.strip() for line in (text_of(error) or type(error).__name__).splitlines() if line.strip()]
    more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    return "; ".join([*lines[:_MOST_LINES], *more])
