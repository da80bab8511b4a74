import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_dissect.capture import Capture, find_kinds, find_layers, first_tensor


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.head = nn.ModuleDict({"embedding": nn.Linear(4, 3), "drop": nn.Dropout()})

    def forward(self, x: Tensor) -> Tensor:
        return self.head["embedding"](self.features(x).mean((2, 3)))


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
def test_layers_are_found_by_name_and_glob_in_the_networks_order(patterns: list[str] | None, names: list[str]) -> None:
    assert list(find_layers(Network(), patterns)) == names


def test_a_pattern_without_match_names_the_close_ones() -> None:
    with pytest.raises(ValueError, match=r"layers: 'head.embeding' matches no submodule. Did you mean: head.embedding"):
        find_layers(Network(), ["head.embeding"])
    with pytest.raises(ValueError, match=r"'zzz' matches no submodule. Submodules are: features, features.0"):
        find_layers(Network(), ["features.0", "zzz"])


def test_wrong_kinds_of_layers_are_named() -> None:
    with pytest.raises(ValueError, match=r"use \['features'\]"):
        find_layers(Network(), "features")
    with pytest.raises(ValueError, match="this module has none"):
        find_layers(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match=r"'head' is a ModuleDict, which never runs itself. Watch 'head.\*'"):
        find_layers(Network(), ["head"])


def test_a_module_of_two_names_comes_once_by_the_name_that_matches() -> None:
    network = Network()
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


def test_the_first_tensor_is_found_in_any_output() -> None:
    @dataclass
    class Output:
        loss: None
        hidden: Tensor

    x = torch.ones(2)
    for output in (x, (x, torch.zeros(1)), {"a": [x]}, Output(None, x), ((None, x),)):
        assert first_tensor(output) is x
    for nothing in ("text", torch.arange(2)):
        with pytest.raises(ValueError, match=r"(str|Tensor) without a tensor of real or complex numbers"):
            first_tensor(nothing)


def test_codes_are_passed_over_and_complex_numbers_read_as_magnitudes() -> None:
    x = torch.rand(2)
    assert first_tensor((torch.arange(2), x)) is x
    torch.testing.assert_close(first_tensor(torch.polar(x, 3 * x)), x)


def count_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())


def test_hooks_see_every_run_and_leave_no_trace() -> None:
    network, seen = Network(), []
    with Capture(find_layers(network), lambda name, layer, output: seen.append((name, output.requires_grad))):
        network(torch.randn(2, 1, 8, 8))
    network(torch.randn(2, 1, 8, 8))
    assert seen == [("features.0", False), ("head.embedding", False)]
    assert count_hooks(network) == 0


def test_hooks_are_removed_when_the_body_raises() -> None:
    network = Network()
    with pytest.raises(KeyboardInterrupt), Capture(find_layers(network), lambda *_: None) as capture:
        raise KeyboardInterrupt
    capture.close()
    assert count_hooks(network) == 0


def test_an_error_of_the_receiver_does_not_reach_the_network() -> None:
    network = Network()

    def receive(name: str, layer: nn.Module, output: Tensor) -> None:
        raise ValueError(f"no good: {tuple(output.shape)}")

    with Capture(find_layers(network), receive) as capture:
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    assert str(capture.error) == "layer 'features.0': no good: (2, 4, 8, 8)"
