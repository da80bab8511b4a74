"""What goes to the terminal: all of it, since names come from files that others may have written."""

import sys
from typing import Any

import numpy as np
import pandas as pd

_FORMATS = {"q_value": "{:.1e}".format, "q": "{:.1e}".format}


def say(*lines: object) -> None:
    """Print lines, each as :func:`printable` shows it."""
    for line in lines:
        print(printable(str(line)))
    sys.stdout.flush()


def complain(line: object) -> None:
    """Print one line on stderr."""
    print(printable(str(line)), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""Write what a terminal would obey or cannot show as escapes: no name moves its cursor or ends a line.

    Example:
        >>> print(printable("conv\x1b[31m\n"), printable("größe"))
        conv\x1b[31m\n größe
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def print_table(table: pd.DataFrame, csv: bool = False) -> None:
    """Print a table in columns or as comma-separated values."""
    numbers = [name for name in table if pd.api.types.is_numeric_dtype(table[name])]
    plain = [name for name in numbers if isinstance(table[name].dtype, np.dtype) and table[name].dtype != bool]
    table = table.copy()
    for name in [name for name in table if name not in plain]:
        table[name] = pd.Series([_show(value, csv) for value in table[name]], table.index, object)
    header = [printable(str(name)) for name in table]
    if csv:
        text = table.to_csv(index=False, header=header)
    else:
        known = {name: _FORMATS[name] for name in table if name in _FORMATS}
        text = table.to_string(index=False, header=header, formatters=known, float_format="{:.3f}".format, na_rep="–")
    say(*text.removesuffix("\n").split("\n"))


def _show(value: Any, csv: bool) -> Any:
    if value is None or value is pd.NA:
        return np.nan
    if isinstance(value, bool) and not csv:
        return "yes" if value else "no"
    return printable(value) if isinstance(value, str) else value


def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Show a warning in one line, in place of :func:`warnings.showwarning`; those for developers are left out."""
    if issubclass(category, UserWarning):
        complain(f"warning: {message}")
