"""Weights & Biases: scalars, histograms, pictures, players, the table of labels, and the scores as an artifact."""

from contextlib import ExitStack
from typing import Any

from lightning_dissect.files import on_disk
from lightning_dissect.loggers.contents import Contents, as_path, open_picture
from lightning_dissect.loggers.scalars import finite, scores_by_tag


def is_wandb(logger: Any) -> bool:
    """Whether a logger takes tables and audio, and its experiment artifacts, as Lightning's ``WandbLogger`` does."""
    if not all(hasattr(logger, method) for method in ("log_image", "log_audio", "log_table", "log_metrics")):
        return False
    return hasattr(logger.experiment, "log_artifact")


def write(logger: Any, contents: Contents) -> None:
    """Write a run to Weights & Biases, as one row of its history, under the tags that other loggers have.

    The table of labels has the tag ``dissect/labels``, what the run found in words ``dissect/found``, and the artifact
    the name ``dissect-<run>``.
    """
    import wandb  # the user's logger has brought it

    row: dict[str, Any] = finite(contents.scalars)
    # A histogram and the scalars below its tag are told apart by this ending.
    for tag, values in scores_by_tag(contents.scores, contents.name):
        row[f"{tag}/units"] = wandb.Histogram(values.tolist())
    row |= {tag: wandb.Image(open_picture(png)) for tag, png in contents.pictures.items()}
    row[f"{contents.name}/labels"] = wandb.Table(dataframe=contents.label_table)
    row[f"{contents.name}/found"] = "\n".join(contents.sentences)
    artifact = wandb.Artifact(f"{contents.name}-{logger.experiment.id}", type="scores")
    with ExitStack() as open_files:
        for player in contents.players:
            sound = open_files.enter_context(on_disk(player.file))
            row[player.tag] = wandb.Audio(str(sound), caption=player.caption)
        logger.log_metrics({as_path(tag): value for tag, value in row.items()}, step=contents.step)
        for file in contents.files:
            artifact.add_file(str(open_files.enter_context(on_disk(file))))
        logger.experiment.log_artifact(artifact)
