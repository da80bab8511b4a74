"""The pictures of the report that were drawn while the run was under way."""

import base64
from collections.abc import Iterable
from pathlib import Path

from lightning_dissect.files.layout import picture_file
from lightning_dissect.report.run_folder import may_be_read

_WORDS = {
    "chance": "Scores of the units, and what chance would give",
    "clips": "The unit that follows each feature best, one dot a clip",
    "sift": "Key points that match between an activation map and a feature",
}


def load_picture(folder: Path, name: str) -> str | None:
    """Read a picture of the network that lies in ``pictures/`` beside the scores: a PNG file in base64, or None."""
    file = folder / picture_file(name)
    return base64.b64encode(file.read_bytes()).decode() if may_be_read(file, folder) else None


def load_pictures(folder: Path, layers: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read the pictures that lie in ``pictures/<layer>/`` beside the scores.

    Returns:
        For each layer that has some, PNG files in base64 by what they show.
    """
    found = {
        layer: {
            words: base64.b64encode(file.read_bytes()).decode()
            for name, words in _WORDS.items()
            if may_be_read(file := folder / picture_file(name, layer), folder)
        }
        for layer in layers
    }
    return {layer: pictures for layer, pictures in found.items() if pictures}
