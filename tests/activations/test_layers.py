import re
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_dissect.activations.layers import find_kinds, find_layers, is_scripted


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (None, ["features.0", "head.embedding"]),
        (["features.*"], ["features.0", "features.1", "features.2"]),
        (["*"], ["features"]),
        (["**.embedding"], ["head.embedding"]),
        (["head.embedding", "features.0"], ["features.0", "head.embedding"]),
        (["features.?"], ["features.0", "features.1", "features.2"]),
    ],
)
def test_layers_are_found_by_name_and_glob_in_the_networks_order(
    network: nn.Module, patterns: list[str] | None, names: list[str]
) -> None:
    assert list(find_layers(network, patterns)) == names


def test_a_pattern_without_match_names_the_close_ones(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"layers: 'head.embeding' matches no submodule. Did you mean: head.embedding"):
        find_layers(network, ["head.embeding"])
    with pytest.raises(ValueError, match=r"'zzz' matches no submodule. Submodules are: features, features.0"):
        find_layers(network, ["features.0", "zzz"])


def test_wrong_kinds_of_layers_are_named(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"use \['features'\]"):
        find_layers(network, "features")
    with pytest.raises(ValueError, match="this module has none"):
        find_layers(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match=r"'head' is a ModuleDict, which never runs itself. Dissect 'head.\*'"):
        find_layers(network, ["head"])


def test_a_module_of_two_names_comes_once_by_the_name_that_matches(network: Any) -> None:
    network.tied = network.head["embedding"]
    assert list(find_layers(network)) == ["features.0", "head.embedding"]
    assert list(find_layers(network, ["tied"])) == ["tied"]
    assert list(find_layers(network, ["tied", "head.*"])) == ["head.embedding", "head.drop"]


@pytest.mark.parametrize("patterns", [None, ["**"], [str(index) for index in range(0, 2000, 2)]])
def test_layers_of_a_deep_network_are_found_in_one_pass(patterns: list[str] | None) -> None:
    """Each layer used to be looked for among all others, and each pattern was read anew for each name."""
    net = nn.Sequential(*(kind for _ in range(1000) for kind in (nn.Linear(1, 1), nn.ReLU())))
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        layers = find_layers(net, patterns)
        find_kinds(net, layers)
    finally:
        sys.setprofile(None)
    assert len(layers) == (2000 if patterns == ["**"] else 1000)
    assert calls < 100 * 2000  # some 45 for each module


def test_parametrizations_are_no_layers() -> None:
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 2, 3)))
    assert list(find_layers(network)) == list(find_layers(network, ["**"])) == ["0"]


def test_a_layer_of_no_known_kind_has_that_of_the_one_before() -> None:
    network = nn.Sequential(
        nn.ReLU(), nn.Conv1d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.MaxPool1d(2)), nn.Linear(2, 2), nn.ReLU()
    )
    kinds = find_kinds(network, find_layers(network, ["**"]))
    assert {name: type(kind) for name, kind in kinds.items()} == {
        "2": nn.Conv1d, "2.0": nn.Conv1d, "2.1": nn.Conv1d, "4": nn.Linear,
    }  # fmt: skip


class Scripted(nn.Module):
    """A scripted list of modules has no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2)])
        self.weights = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.weights(x)


@pytest.mark.parametrize("pattern", ["1", "2", "1.*", "*.weights"])
def test_scripted_layers_asked_for_by_name_are_refused(pattern: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), torch.jit.script(Scripted()), torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=rf"layers: '{re.escape(pattern)}' is scripted .* Dissect the layer around it"):
        find_layers(network, ["0", pattern])


def test_scripted_layers_among_others_are_found(partly_scripted: nn.Sequential) -> None:
    """The dissection leaves them out with a word."""
    network = partly_scripted
    assert list(find_layers(network)) == list(find_layers(network, ["*"])) == ["0", "1", "2"]
    assert [is_scripted(layer) for layer in network] == [False, True, False]
