"""The house: which room may know which, how large rooms are, and where each word is at home."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightning_dissect

ROOT = Path(lightning_dissect.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

ROOMS = (
    "errors",
    "nested",
    "compiled",
    "levels",
    "files",
    "features",
    "metrics",
    "activations",
    "inputs",
    "networks",
    "scores",
    "run",
    "loggers",
    "report",
    "publish",
    "frameworks",
    "untrained",
    "callback",
    "offline",
    "cli",
)
"""From the ground up: a room knows those below it alone."""

WORDS = {
    "level": ("levels", "Level"),
    "clip": ("features.clips", "Clips"),
    "feature": ("features.feature", "Feature"),
    "feature bank": ("features.bank", "FeatureBank"),
    "analysis": ("features.analysis", "Analysis"),
    "frequency axis": ("features.frequency", "FrequencyAxis"),
    "unit": ("activations.axes", "Axes"),
    "layer": ("activations.layers", "find_layers"),
    "activation": ("activations.activation", "Activation"),
    "example": ("activations.examples", "Examples"),
    "capture": ("activations.capture", "Capture"),
    "input": ("inputs", "Inputs"),
    "metric": ("metrics.metric", "SimilarityMetric"),
    "similarity": ("metrics.similarity", "Similarity"),
    "run": ("run.dissection", "Dissection"),
    "plan": ("run.plan", "Plan"),
    "comparison": ("run.comparison", "Comparison"),
    "features of a batch": ("run.batch_features", "BatchFeatures"),
    "budget": ("run.budget", "Budget"),
    "playlist": ("run.playlist", "Playlist"),
    "excerpt": ("run.excerpts", "Excerpt"),
    "score": ("scores.table", "Scores"),
    "block": ("scores.block", "Block"),
    "label": ("scores.labels", "label_units"),
    "control": ("run.choice", "CONTROLS"),
    "rival": ("scores.rivals", "lower_p_values"),
    "learned": ("scores.learned", "mark_learned"),
    "untrained": ("untrained.copies", "Untrained"),
    "baseline": ("untrained.baseline", "find_or_make"),
    "stage": ("files.layout", "Stage"),
}
"""Where a newcomer would look for what a word of the design means."""


def name_of(module: Path) -> str:
    return ".".join(("lightning_dissect", *module.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imported(module: Path) -> Iterator[str]:
    """The modules of the package that a module imports, wherever it does, types alone included."""
    names = {name_of(other) for other in MODULES}
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (parts & names) or {node.module}


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_every_room_has_its_place() -> None:
    rooms = {room_of(name_of(module)) for module in MODULES} - {"", "__main__"}
    assert rooms == set(ROOMS)


def test_a_room_knows_those_below_it_alone() -> None:
    upward = {
        (name_of(module), name)
        for module in MODULES
        if (own := room_of(name_of(module)))
        for name in imported(module)
        if room_of(name) not in ROOMS[: ROOMS.index(own) + 1]
    }
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    needs = {name_of(module): set(imported(module)) - {name_of(module)} for module in MODULES}
    while free := {name for name, others in needs.items() if not others & needs.keys()}:
        needs = {name: others for name, others in needs.items() if name not in free}
    assert not needs


def test_a_module_is_read_in_one_go() -> None:
    lines = {name_of(module): len(module.read_text().splitlines()) for module in MODULES}
    assert not {name: count for name, count in lines.items() if count > 300}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_defined_where_one_would_look(word: str) -> None:
    place, name = WORDS[word]
    module = importlib.import_module(f"lightning_dissect.{place}")
    found = getattr(module, name)
    assert getattr(found, "__module__", module.__name__) in (module.__name__, "typing")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    targets = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert name in targets | {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


def test_every_module_has_its_tests_at_its_path_or_where_contributing_says() -> None:
    root = Path(__file__).parents[1]
    row = re.compile(r"^\| `([^`]+)` \| ([\w, ]+) \| (.*) \|$", re.MULTILINE)
    said = set()
    for folder, modules, places in row.findall((root / "CONTRIBUTING.md").read_text()):
        said |= {str(Path(folder) / module) for module in modules.split(", ")}
        assert not [place for place in re.findall(r"`([^`]+)`", places) if not (root / place).exists()]
    modules = {module.relative_to(ROOT).with_suffix("") for module in MODULES if module.stem != "__init__"}
    elsewhere = {
        str(module) for module in modules if not (root / "tests" / module.parent / f"test_{module.name}.py").exists()
    }
    assert elsewhere == said
