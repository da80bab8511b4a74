"""Pictures of scores.

Each function returns a matplotlib figure that belongs to no pyplot window. They take

- ``table``: The rows of one run, like ``Scores.last()``.
- ``layer``: The name of a layer; one without units in the table is a ``ValueError``.
- ``q``: The false discovery rate that is accepted.
"""

from lightning_dissect.report.chance import against_chance
from lightning_dissect.report.correlations import correlations
from lightning_dissect.report.detectors import detectors
from lightning_dissect.report.heat_map import heat_map
from lightning_dissect.report.matches import best_matches, draw_matches
from lightning_dissect.report.overview import overview
from lightning_dissect.report.scatter import scatter
from lightning_dissect.report.style import render
from lightning_dissect.report.trajectories import choose_followed, trajectories

__all__ = [
    "against_chance",
    "best_matches",
    "choose_followed",
    "correlations",
    "detectors",
    "draw_matches",
    "heat_map",
    "overview",
    "render",
    "scatter",
    "trajectories",
]
