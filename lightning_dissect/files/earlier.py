"""Score files of an earlier training, in the folder that a fit writes into."""

from collections.abc import Sequence

from lightning_dissect.files.layout import set_aside
from lightning_dissect.files.places import Place


class Earlier:
    """Sets the score files aside that the fit under way does not continue, when its first run is published.

    A fit from a checkpoint continues what lies up to its first step. One that begins anew continues nothing but what
    was written since the last fit, such as the validation of the network before its training.
    """

    def __init__(self) -> None:
        self._start: int | None = None
        self._own: set[str] = set()

    def begin(self, step: int) -> None:
        """Take note of the step at which a fit begins."""
        self._start = step

    def make_way(self, file: Place, folders: Sequence[Place], *, fitting: bool) -> None:
        """Before a run is published, set earlier score files aside, if it is the first of a fit; others do not."""
        if not fitting:
            self._own.add(str(file))
        elif self._start is not None:
            set_aside(folders, self._start, self._own)
            self._start, self._own = None, set()
