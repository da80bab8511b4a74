"""The look that all pictures share: sizes, type, and colours that every eye can tell apart."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe & Ito (2008), which people with any kind of colour vision can tell apart."""
OBSERVED, CHANCE, UNDEFINED = COLOURS[0], COLOURS[1], "0.85"
DIVERGING, SHARE, MAP = "RdBu_r", "Blues", "magma"
MARKERS = "osD^v*"

WIDTH = 7.0
"""Of every picture, in inches; with the type below it, titles can be read in a thumbnail of 300 pixels."""
_SETTINGS: Any = {
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 10.0,
    "figure.titlesize": 13.0,
    "figure.titleweight": "bold",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.dpi": 140,
    "figure.dpi": 140,
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with these settings, whatever style the user has set, and leave that as it was."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float, title: str, subtitle: str, *, fixed: bool = False) -> Figure:
    """A figure of this height in inches that belongs to no pyplot window; call it from a ``styled`` function.

    ``fixed`` gives equal margins to a grid of panels of one kind, whatever they hold: to fit these to dozens of panels'
    labels takes longer than to draw them.
    """
    below = 0.2 / height
    fitted = None if fixed else ConstrainedLayoutEngine(rect=(0.01, below, 0.98, 1 - below))
    figure = Figure(figsize=(WIDTH, height), layout=fitted)
    if fixed:
        edges = {"left": 0.6 / WIDTH, "right": 1 - 0.1 / WIDTH, "bottom": 0.65 / height, "top": 1 - 0.6 / height}
        figure.subplots_adjust(**edges, wspace=0.3, hspace=0.75)
    figure.suptitle(title, x=0.01, ha="left")
    figure.text(0.01, 0.0, subtitle, ha="left", va="bottom", fontsize=8.5, color="0.3")
    return figure


def clear_spines(panels: Iterable[Axes]) -> None:
    """Take away the lines of a plot that carry nothing."""
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)


@styled
def render(figure: Figure) -> np.ndarray:
    """Draw a figure into pixels.

    Returns:
        (height, width, 3) uint8.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
