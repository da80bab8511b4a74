"""Which neurons of an audio network behave like audio features that people understand."""

from importlib.metadata import version

from lightning_dissect.callback import DissectCallback
from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.offline import dissect
from lightning_dissect.run.playlist import Playlists
from lightning_dissect.scores import Scores

__all__ = ["Analysis", "DissectCallback", "FrequencyAxis", "Playlists", "Scores", "dissect"]
__version__ = version("lightning-dissect")
