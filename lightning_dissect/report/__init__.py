"""Pictures of scores."""

from lightning_dissect.report.heat_map import heat_map
from lightning_dissect.report.matches import best_matches, draw_matches
from lightning_dissect.report.overview import overview

__all__ = ["best_matches", "draw_matches", "heat_map", "overview"]
