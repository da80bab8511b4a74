"""The report: one HTML file that opens offline."""

import importlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from lightning_dissect.files import whole
from lightning_dissect.report.html.history import History, Progress, read_history
from lightning_dissect.report.html.payload import (
    PACKING,
    comparisons,
    find_limits,
    pack,
    pack_history,
    pack_last,
    pack_units,
    to_script,
)
from lightning_dissect.report.html.pictures import Picture, load_pictures
from lightning_dissect.report.html.players import Players, load_players
from lightning_dissect.report.html.summary import Summary, list_whole_layers, summarise
from lightning_dissect.report.run_folder import find_score_files
from lightning_dissect.report.words import describe_comparison

PAPER = (
    "O. Slizovskaia, E. Gómez, G. Haro: A Case Study of Deep-Learned Activations via Hand-Crafted Audio Features, 2019 "
    "(arXiv 1907.01813)"
)
_PACKAGES = ("jinja2", "itables", "plotly")
_FEATURE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#B07A00", "#3B8EA5", "#882255", "#555555")
_EFFECT_COLOURS = ((0, "#2166ac"), (0.25, "#92c5de"), (0.5, "#f7f7f7"), (0.75, "#f4a582"), (1, "#b2182b"))


def write_report(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    q: float = 0.05,
    progress: Progress = iter,
) -> Path:
    """Write the report of a run: summary, pictures, table of units, players, settings.

    The file needs no network and no other file. It is written wholly or not at all.

    Args:
        run: The folder of a run, such as ``lightning_logs/version_0``, or one score file.
        path: The page; ``None`` writes ``report.html`` beside the scores.
        q: The false discovery rate that labels accept, in (0, 1).
        progress: Wraps the list of score files, like ``tqdm``.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If there are no scores in the run.
        ModuleNotFoundError: If one of the packages is missing that come with ``lightning-dissect[report]``.
        OSError: If the page cannot be written.
        ValueError: If a file is not one of ours, is damaged, or holds no scores, or not those of all units.
    """
    for package in _PACKAGES:
        _require(package)
    folder = find_score_files(run)[0].parent
    path = Path(path) if path is not None else folder / "report.html"
    with whole(path, durable=True) as file:
        history = read_history(run, q, progress)
        pictures = load_pictures(folder, [layer.name for layer in history.layers])
        file.write(_render(history, load_players(folder, history), pictures).encode())
    return path


def _require(package: str) -> None:
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The report needs the package {package}: pip install 'lightning-dissect[report]'.", name=package
        ) from error


def _render(history: History, players: Players, pictures: Mapping[str, Sequence[Picture]]) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    summary = summarise(history)
    data, payloads = _data(history, summary)
    if players.units:
        payloads["players"] = pack(to_script(players.units))
    own = files(__package__)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        (own / "page.html").read_text("utf-8")
    )
    return template.render(
        history=history,
        summary=summary,
        version=version("lightning-dissect"),
        moments=data["moments"],
        comparisons=data["comparisons"],
        colours=data["colours"]["features"],
        settings=_flatten(history.last.settings),
        citation=_citation(history),
        whole_layers=list_whole_layers(history),
        audio=players.audio,
        pictures=pictures,
        payloads=payloads,
        meta=Markup(to_script(data)),
        css=Markup((own / "report.css").read_text("utf-8")),
        script=Markup((own / "report.js").read_text("utf-8")),
    )


def _data(history: History, summary: Summary) -> tuple[dict[str, Any], dict[str, str]]:
    """What the page's script reads: a few facts, and the packed arrays by the name of their element."""
    limits = find_limits(history)
    pairs = comparisons(history.columns)
    payloads, layers = _libraries() | {"units": pack_units(history)}, []
    of_column = [limits[column[1:]] for column in history.columns]
    for place, (layer, (_, _, dead, _)) in enumerate(zip(history.layers, summary.layers, strict=True)):
        last = pack_last(layer)
        payloads |= {f"history-{place}": pack_history(layer, of_column), f"last-{place}": last["data"]}
        facts = {"name": layer.name, "units": layer.units, "columns": layer.columns, "limits": last["limits"]}
        layers.append({**facts, "dead": dead})
    columns = [
        {"feature": column.feature, "comparison": pairs.index(column[1:]), "limit": limit}
        for column, limit in zip(history.columns, of_column, strict=True)
    ]
    colours = {name: _FEATURE_COLOURS[n % len(_FEATURE_COLOURS)] for n, name in enumerate(history.features)}
    most = history.labels.dropna(subset="feature").groupby(["metric", "level"], observed=True).size()
    return {
        "moments": [f"epoch {moment.epoch}, step {moment.step}" for moment in history.moments],
        "epochs": [moment.epoch for moment in history.moments],
        "features": history.features,
        "comparisons": [describe_comparison(*pair) for pair in pairs],
        "comparison": max(range(len(pairs)), key=lambda place: most.get(pairs[place], 0), default=0),
        "columns": columns,
        "layers": layers,
        "counts": history.counts.tolist(),
        "colours": {"features": colours, "effect": _EFFECT_COLOURS},
        **PACKING,
    }, payloads


def _libraries() -> dict[str, str]:
    """The script libraries, from the packages that carry them."""
    tables, plots = files("itables") / "html", files("plotly") / "package_data"
    return {
        "datatables": pack((tables / "dt_bundle.js").read_bytes()),
        "datatables-style": pack((tables / "dt_bundle.css").read_bytes()),
        "plotly": pack((plots / "plotly.min.js").read_bytes()),
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Settings as lines of a table: ``versions, torch``."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += _flatten(value, f"{prefix}{name}, ")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            lines.append((prefix + name.replace("_", " "), shown))
    return lines


def _citation(history: History) -> str:
    versions = history.last.settings.get("versions", {})
    software = ", ".join(f"{name} {number}" for name, number in versions.items()) or "lightning-dissect"
    return f"{software}; false discovery rate {history.q:g}; method after {PAPER}."
