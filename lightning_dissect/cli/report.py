"""Write the report of a run: one HTML page that opens offline.

Like this::

  lightning-dissect report lightning_logs/version_0
  lightning-dissect report lightning_logs/version_0 --out percussion.html
  lightning-dissect report lightning_logs/version_0 --serve 8000      for a look through an SSH tunnel
"""

import contextlib
import errno
from argparse import ArgumentParser, Namespace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lightning_dissect.cli.options import add_q, add_run, show_progress
from lightning_dissect.cli.terminal import say
from lightning_dissect.report.html import write_report


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    add_run(parser, "run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html beside the scores)")
    parser.add_argument("--serve", type=int, metavar="PORT", help="show the page at this port of this machine")
    add_q(parser)


def call(options: Namespace) -> int:
    """Write the page, and show it if asked to."""
    if options.serve is None:
        say(write_report(options.run, options.out, options.q, show_progress))
        return 0
    with _server(options.serve) as server:  # a port in use is told before the work
        page = write_report(options.run, options.out, options.q, show_progress)
        server.page = page
        say(page, f"http://localhost:{server.server_port}/  (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


class _Server(ThreadingHTTPServer):
    """Serves one file, to this machine alone."""

    page: Path
    allow_reuse_address = False


class _Handler(SimpleHTTPRequestHandler):
    server: _Server

    def translate_path(self, path: str) -> str:
        return str(self.server.page)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _server(port: int) -> _Server:
    try:
        return _Server(("127.0.0.1", port), _Handler)
    except OverflowError as error:
        raise ValueError(f"--serve {port}: ports are numbers from 0 to 65535.") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ValueError(f"--serve {port}: the port is in use; take another, or 0 for any that is free.") from error
