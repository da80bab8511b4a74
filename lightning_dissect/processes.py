"""What the processes of one training tell each other, beside the states of metrics."""

from typing import Any

from torch import distributed


def gather(value: Any) -> list[Any]:
    """The values of all processes in their order, in every process; only this one's if there are no others.

    Example:
        >>> gather("what this process saw")
        ['what this process saw']
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
