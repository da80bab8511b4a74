"""MLflow: scalars, pictures, the table of labels, and the files of the run as artifacts."""

import re
from typing import Any

from lightning_dissect.files import on_disk
from lightning_dissect.files.layout import AUDIO
from lightning_dissect.loggers.contents import Contents, as_path, open_picture, prefixed
from lightning_dissect.loggers.scalars import finite


def is_mlflow(logger: Any) -> bool:
    """Whether a logger has a run of which its experiment takes artifacts, as Lightning's ``MLFlowLogger`` does."""
    experiment = getattr(logger, "experiment", None)
    return hasattr(logger, "run_id") and all(hasattr(experiment, name) for name in ("log_artifact", "log_image"))


def write(logger: Any, contents: Contents) -> None:
    """Write a run to MLflow, under the tags that other loggers have, less the characters that MLflow refuses.

    Histograms are left to the pictures, since MLflow has none. Artifacts lie in ``dissect/``: the score file, the
    playlists and their audio, the labels as a table, and what the run found in words.
    """
    experiment, run = logger.experiment, logger.run_id
    logger.log_metrics({_allowed(tag): value for tag, value in finite(contents.scalars).items()}, step=contents.step)
    for tag, png in contents.pictures.items():
        key = _allowed(prefixed(logger, tag))
        experiment.log_image(run, open_picture(png), key=key, step=contents.step, synchronous=True)
    files = [(file, contents.name) for file in contents.files]
    files += [(player.file, f"{contents.name}/{AUDIO}") for player in contents.players]
    for file, folder in files:
        with on_disk(file) as local:
            experiment.log_artifact(run, str(local), folder)
    experiment.log_table(run, contents.label_table, f"{contents.name}/labels-step={contents.step:08d}.json")
    experiment.log_text(run, "\n".join(contents.sentences), f"{contents.name}/found-step={contents.step:08d}.txt")


def _allowed(tag: str) -> str:
    return as_path(re.sub(r"[^a-zA-Z0-9_/. -]", "_", tag))
