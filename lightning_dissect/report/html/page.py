"""The report: one HTML file that opens offline."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning_dissect.files import whole
from lightning_dissect.report.correlations import EXPLANATION
from lightning_dissect.report.html.history import History, Progress, read_history
from lightning_dissect.report.html.payload import PACKING, find_limits, pack, pack_history, pack_last, pack_units
from lightning_dissect.report.html.pictures import load_picture, load_pictures
from lightning_dissect.report.html.players import Players, load_players
from lightning_dissect.report.html.summary import list_found, list_whole_layers
from lightning_dissect.report.kinds import KINDS, NOT_LEARNED
from lightning_dissect.report.run_folder import find_score_files
from lightning_dissect.report.words import describe_comparison
from lightning_dissect.scores import fold_features, order_of_kind, tell_labels

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
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        needed = f"The report needs {', '.join(missing)}: pip install 'lightning-dissect[report]'."
        raise ModuleNotFoundError(needed, name=missing[0])
    folder = find_score_files(run)[0].parent
    path = Path(path) if path is not None else folder / "report.html"
    with whole(path, durable=True) as file:
        history = read_history(run, q, progress)
        pictures = load_pictures(folder, [layer.name for layer in history.layers])
        together = load_picture(folder, "correlations")
        file.write(_render(history, load_players(folder, history), pictures, together).encode())
    return path


def _render(history: History, players: Players, pictures: Mapping[str, Mapping[str, str]], together: str | None) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    limits = find_limits(history)
    payloads = _libraries() | {"units": pack_units(history)}
    if players.units:
        payloads["players"] = pack(json.dumps(players.units))
    layers = []
    for place, layer in enumerate(history.layers):
        last = pack_last(layer)
        payloads |= {f"history-{place}": pack_history(layer, limits), f"last-{place}": last["data"]}
        facts = {"name": layer.name, "units": layer.units, "columns": layer.columns, "dead": layer.dead}
        layers.append({**facts, "limits": last["limits"]})
    own = files(__package__)
    css, script, page = ((own / name).read_text("utf-8") for name in ("report.css", "report.js", "page.html"))
    return (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(page)
        .render(
            history=history,
            found=list_found(history),
            said=tell_labels(history.labels, history.controls, len(history.last.dead_units()), history.q),
            together=together,
            explanation=EXPLANATION,
            version=version("lightning-dissect"),
            settings=_flatten(history.last.settings),
            citation=_citation(history),
            whole_layers=list_whole_layers(history),
            audio=players.audio,
            pictures=pictures,
            payloads=payloads,
            meta=_meta(history, limits) | {"layers": layers},
            css=Markup(css),
            script=Markup(script),
        )
    )


def _meta(history: History, limits: Sequence[float]) -> dict[str, Any]:
    """The facts that the page's script reads beside the packed arrays, layers aside."""
    pairs = history.comparisons
    columns = [
        {
            "feature": column.feature,
            "name": _shown(column.feature),
            "comparison": pairs.index(column[1:]),
            "limit": limit,
        }
        for column, limit in zip(history.columns, limits, strict=True)
    ]
    colours = {name: _FEATURE_COLOURS[n % len(_FEATURE_COLOURS)] for n, name in enumerate(history.features)}
    colours |= dict.fromkeys(history.controls, KINDS["trivial"].colour)
    order = order_of_kind(history.labels)[history.labels["feature"].notna()]
    best = history.labels.loc[order.index[order == order.min()]]
    most = best.groupby(["metric", "level"], observed=True).size()
    learned = "learned" in history.kinds
    return {
        "moments": [f"epoch {moment.epoch}, step {moment.step}" for moment in history.moments],
        "epochs": [moment.epoch for moment in history.moments],
        "features": history.features,
        "comparisons": [describe_comparison(*pair) for pair in pairs],
        "comparison": max(range(len(pairs)), key=lambda place: most.get(pairs[place], 0), default=0),
        "columns": columns,
        "controls": [{"feature": name, "name": _shown(name)} for name in history.controls],
        "kinds": [
            {"kind": kind, **KINDS[kind]._asdict()} | ({"words": NOT_LEARNED} if learned and kind == "distinct" else {})
            for kind in history.kinds
        ],
        "parts": history.parts.tolist(),
        "counts": history.counts.tolist(),
        "explained": history.explained.tolist(),
        "colours": {"features": colours, "effect": _EFFECT_COLOURS},
        **PACKING,
    }


def _shown(feature: str) -> str:
    return fold_features([feature])[0]


def _libraries() -> dict[str, str]:
    """The script libraries, from the packages that carry them."""
    tables, plots = files("itables") / "html", files("plotly") / "package_data"
    return {
        "datatables": pack((tables / "dt_bundle.js").read_bytes()),
        "datatables-style": pack((tables / "dt_bundle.css").read_bytes()),
        "plotly": pack((plots / "plotly.min.js").read_bytes()),
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as lines of a table: ``versions, torch``."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}, ")
        else:
            yield prefix + name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _citation(history: History) -> str:
    versions = history.last.settings.get("versions", {})
    software = ", ".join(f"{name} {number}" for name, number in versions.items()) or "lightning-dissect"
    return f"{software}; false discovery rate {history.q:g}; method after {PAPER}."
