from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from lightning_dissect.capture import Capture, find_layers, first_tensor, name_axes, parse_axes


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
        (["*"], ["features", "head"]),
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


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.Conv2d(1, 2, 3), (2, 2, 5, 6), "batch unit frequency time"),
        (nn.Conv1d(1, 2, 3), (2, 2, 6), "batch unit time"),
        (nn.Linear(3, 4), (2, 4), "batch unit"),
        (nn.Linear(3, 4), (2, 9, 4), "batch time unit"),
        (nn.LSTM(3, 4), (2, 9, 4), "batch time unit"),
        (nn.TransformerEncoderLayer(8, 2), (2, 9, 8), "batch time unit"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (2, 2, 5, 6), "batch unit frequency time"),
        (nn.MaxPool2d(2), (2, 2, 5, 6), "batch unit frequency time"),
    ],
)
def test_axes_follow_the_kind_of_layer(layer: nn.Module, shape: tuple[int, ...], axes: str) -> None:
    assert name_axes(layer, shape) == parse_axes(axes)


def test_an_output_without_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4, 5, 6\)"):
        name_axes(nn.Conv3d(1, 3, 3), (2, 3, 4, 5, 6))


@pytest.mark.parametrize("words", ["batch time", "batch unit unit", "batch unit height", ""])
def test_axes_in_words_are_checked(words: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        parse_axes(words)


def test_the_first_tensor_is_found_in_any_output() -> None:
    @dataclass
    class Output:
        loss: None
        hidden: Tensor

    x = torch.ones(2)
    for output in (x, (x, torch.zeros(1)), {"a": [x]}, Output(None, x), ((None, x),)):
        assert first_tensor(output) is x
    with pytest.raises(ValueError, match="str without a tensor"):
        first_tensor("text")


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
