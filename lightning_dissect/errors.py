"""What an error says, and where it came from."""

from collections.abc import Iterator
from contextlib import contextmanager

_NAMED = 3


@contextmanager
def naming(*layers: str) -> Iterator[None]:
    """Note on an error that is raised within which layers it came from, unless that is noted already.

    Example:
        >>> try:
        ...     with naming("conv1", "conv2"):
        ...         raise ValueError("no good")
        ... except ValueError as error:
        ...     print(text_of(error))
        layers 'conv1', 'conv2': no good
    """
    try:
        yield
    except Exception as error:
        if not any(note.startswith("layer") for note in getattr(error, "__notes__", [])):
            more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
            words = ", ".join(map(repr, layers[:_NAMED]))
            error.add_note(f"layer{'s' if len(layers) > 1 else ''} {words}{more}")
        raise


def text_of(error: BaseException) -> str:
    """Put an error into words, after its notes, which say where it came from.

    Example:
        >>> error = ValueError("its output is a list.")
        >>> error.add_note("layer 'head'")
        >>> text_of(error)
        "layer 'head': its output is a list."
    """
    return ": ".join([*getattr(error, "__notes__", []), str(error)])
