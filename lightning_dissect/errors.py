"""What an error says."""


def text_of(error: BaseException) -> str:
    """Put an error into words, after its notes, which say where it came from.

    Example:
        >>> error = ValueError("its output is a list.")
        >>> error.add_note("layer 'head'")
        >>> text_of(error)
        "layer 'head': its output is a list."
    """
    return ": ".join([*getattr(error, "__notes__", []), str(error)])
