"""The units that the user watches, by the callback's argument ``watch``."""

from collections.abc import Mapping, Sequence

from lightning_dissect.loggers.scalars import tags
from lightning_dissect.scores import Scores, base_feature, best_of_each

Watch = Mapping[str, Sequence[int]]


def check_layers(watch: Watch, layers: Sequence[str]) -> None:
    """Raise unless every layer is one of those that are dissected.

    Raises:
        ValueError: Naming the layer and those that there are.
    """
    for layer in watch:
        if layer not in layers:
            raise ValueError(f"watch: {layer!r} is none of the layers that are dissected, {', '.join(layers)}.")


def check_units(watch: Watch, units: Mapping[str, int]) -> None:
    """Raise unless every unit is one of so many of its layer; layers that have not run are passed over.

    Raises:
        ValueError: Naming the layer, the units, and how many there are.
    """
    for layer, wanted in watch.items():
        missing = [unit for unit in wanted if not 0 <= unit < units.get(layer, unit + 1)]
        if missing:
            raise ValueError(f"watch: {layer!r} has no units {missing}; its units are 0 to {units[layer] - 1}.")


def watched_scores(scores: Scores, watch: Watch, name: str = "dissect") -> dict[str, float]:
    """The scores of the watched units by tag, ``dissect.<layer>/unit<unit>/<feature>/<metric>.<level>``.

    Of a feature with several rows (``chroma[A]``, …), the one with the best support is taken.
    """
    last = scores.last()
    last = last[last["layer"].isin(list(watch))]
    pairs = {(layer, unit) for layer, units in watch.items() for unit in units}
    rows = last[[pair in pairs for pair in zip(last["layer"], last["unit"], strict=True)]]
    if rows.empty:
        return {}
    keys = ["dataloader", "layer", "unit", "metric", "level", "base"]
    best = best_of_each(rows.assign(base=base_feature(rows["feature"])), keys)
    return dict(zip(tags(best, name, units=True), best["score"].astype(float), strict=True))
