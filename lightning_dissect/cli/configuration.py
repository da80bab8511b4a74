"""A network as a LightningCLI file describes it."""

import importlib
import warnings
from argparse import ArgumentError, Namespace
from pathlib import Path
from typing import Any

import yaml

from lightning_dissect.callback import DissectCallback
from lightning_dissect.cli.models import Subject, import_class, load_state
from lightning_dissect.scores import Scores

_LEFT_OUT = ("ckpt_path", "optimizer", "lr_scheduler")
"""What LightningCLI saves of a fit, and a validation does not take."""


def dissect_configured(options: Namespace) -> Scores:
    """Dissect the model of ``options.config`` on its validation data, or on the recordings of ``options.data``.

    Raises:
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If the packages that LightningCLI needs are missing.
        ValueError: If the file does not say what is needed, or the checkpoint does not fit.
    """
    cli = _instantiate(options.config)
    callbacks = [callback for callback in cli.trainer.callbacks if isinstance(callback, DissectCallback)]
    rate = options.sample_rate or next((callback.analysis.sample_rate for callback in callbacks), None)
    if rate is None:
        raise ValueError(f"{options.config} has no DissectCallback among the trainer's callbacks: give --sample-rate.")
    load_state(cli.model, options.checkpoint)
    if options.data is not None:
        return Subject(cli.model.eval(), rate).dissect(options)
    if cli.datamodule is None:
        raise ValueError(f"{options.config} describes no data: give --data FOLDER.")
    if not callbacks:
        callbacks = [DissectCallback(rate, options.layers, options.features, options.metrics)]
        cli.trainer.callbacks.extend(callbacks)
    cli.trainer.validate(cli.model, datamodule=cli.datamodule, verbose=False)
    scores = callbacks[0].scores
    if scores is None:
        raise ValueError(f"{options.config}: its validation data are empty.")
    return scores


def _instantiate(path: Path) -> Any:
    """The model, the data and the trainer, as a LightningCLI object."""
    try:
        written = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(written, dict) or "class_path" not in (written.get("model") or {}):
        raise ValueError(f"{path} does not say what the model is: it needs model: with class_path: and init_args:.")
    written = {name: value for name, value in written.items() if name not in _LEFT_OUT}
    written["trainer"] = {**(written.get("trainer") or {}), "logger": False}
    lightning = _lightning_of(written["model"]["class_path"])
    try:
        with warnings.catch_warnings():
            # LightningCLI warns that there are a command line and a dictionary, and of what it will have to change.
            warnings.simplefilter("ignore")
            return importlib.import_module(f"{lightning.__name__}.cli").LightningCLI(
                lightning.LightningModule,
                lightning.LightningDataModule if "data" in written else None,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                parser_kwargs={"exit_on_error": False},
                args=written,
                run=False,
                auto_configure_optimizers=False,
            )
    except (ArgumentError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _lightning_of(path: str) -> Any:
    """The package whose LightningModule a class is."""
    module, _, name = path.rpartition(".")
    advice = "Is its package installed, or its folder on PYTHONPATH?"
    kind = import_class(module, name, f"class_path {path}", advice)
    ours = any(base.__module__.startswith("lightning.") for base in kind.__mro__)
    return importlib.import_module("lightning.pytorch" if ours else "pytorch_lightning")
