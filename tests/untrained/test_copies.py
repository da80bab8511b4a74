"""Copies with new weights: which layers can be initialised anew, by whom, and what they leave as it was."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_dissect.untrained.copies import check_untrained, make_copies, reset_weights

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 3),
    "convolution": lambda: nn.Conv2d(2, 3, 3),
    "transposed": lambda: nn.ConvTranspose1d(2, 3, 3),
    "batch norm": lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4)),
    "norms": lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GroupNorm(2, 4)),
    "lstm": lambda: nn.LSTM(4, 3, num_layers=2, bidirectional=True),
    "gru": lambda: nn.GRU(4, 3),
    "attention": lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True),
    "transformer": lambda: nn.Transformer(8, 2, 1, 1, 16),
    "embedding": lambda: nn.Embedding(5, 3, padding_idx=0),
    "prelu": lambda: nn.Sequential(nn.Linear(4, 4), nn.PReLU()),
    "bilinear": lambda: nn.Bilinear(2, 3, 4),
}


class Gain(nn.Module):
    """Has weights, and says nothing of how they begin."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class Forgetful(Gain):
    def reset_parameters(self) -> None:
        """Sets nothing."""


def trained(net: nn.Module) -> nn.Module:
    """The same with other weights and statistics, as a training leaves them."""
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.copy_(torch.full_like(tensor, 7))
    return net


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", LAYERS)
def test_new_weights_are_spread_as_those_of_a_network_that_is_built(kind: str) -> None:
    """A thousandth of the trained value is left nowhere; mean and spread are those of layers as torch builds them."""
    net = trained(LAYERS[kind]())
    before = state(net)
    first, second, *rest = make_copies(net, 12)
    assert equal(before, state(net))
    assert not equal(state(first), state(second))
    made = [state(made) for made in (first, second, *rest)]
    built = [state(LAYERS[kind]()) for _ in range(12)]
    for name in before:
        ours, torchs = (torch.stack([weights[name].double() for weights in group]) for group in (made, built))
        if torchs.std() == 0:  # constants: norms, biases of attention, running statistics
            assert torch.equal(ours, torchs), name
        else:  # 12 draws of each weight: two spreads of one distribution differ by less than a half
            assert ours.std() == pytest.approx(torchs.std(), rel=0.5), name


def test_copies_are_the_same_whenever_they_are_made_and_whatever_random_numbers_are_in_use() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.Linear(3, 2))
    found = torch.get_rng_state()
    one = [state(made) for made in make_copies(net, 3)]
    assert torch.equal(torch.get_rng_state(), found)
    torch.manual_seed(5)
    two = [state(made) for made in make_copies(trained(copy.deepcopy(net)), 3)]
    assert all(map(equal, one, two))


def test_statistics_begin_anew_and_other_buffers_stay() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2, affine=False))
    net.register_buffer("window", torch.hann_window(8))
    net(torch.randn(4, 1, 16) + 3)
    (made,) = make_copies(net, 1)
    assert net[1].running_mean.abs().sum() > 0
    assert made[1].running_mean.abs().sum() == 0
    assert made[1].num_batches_tracked == 0
    assert torch.equal(made.window, torch.hann_window(8))


@pytest.mark.parametrize(
    ("net", "named"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 3), Gain()), "'1'"),
        (Gain, "the network itself"),
        (lambda: nn.Sequential(Forgetful()), r"'0\.gain'"),
        (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))), r"'0\.parametrizations\.weight'"),
        (lambda: nn.Sequential(*(Gain() for _ in range(7))), "'0', '1', '2', '3', '4' and 2 more"),
    ],
)
def test_what_cannot_be_initialised_anew_is_named(net: Callable[[], nn.Module], named: str) -> None:
    with pytest.raises(ValueError, match=f"untrained: no `reset_parameters` gives new weights to {named}. Give .* fun"):
        list(make_copies(net(), 1))


def test_a_network_that_resets_itself_has_the_last_word() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.gain = nn.Linear(3, 3), nn.Parameter(torch.ones(3))

        def reset_parameters(self) -> None:
            nn.init.constant_(self.layer.weight, 0.5)
            nn.init.constant_(self.gain, 2.0)

    net = Own()
    reset_weights(net)
    assert net.layer.weight.unique().tolist() == [0.5]
    assert net.gain.unique().tolist() == [2]
    assert net.layer.bias.unique().numel() == 3


def test_tied_weights_stay_tied_and_lazy_ones_wait() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.LazyLinear(2))
    net[1].weight = net[0].weight
    (made,) = make_copies(net, 1)
    assert made[1].weight is made[0].weight
    assert made(torch.randn(2, 3)).shape == (2, 2)


def test_a_function_builds_four_networks_whose_weights_are_taken() -> None:
    net = trained(nn.Sequential(nn.Linear(3, 3), Gain()))
    made = list(make_copies(net, lambda: nn.Sequential(nn.Linear(3, 3), Gain())))
    assert len({weights["0.weight"].sum().item() for weights in map(state, made)}) == 4
    assert all(torch.equal(one[1].gain, torch.ones(3)) for one in made)
    again = list(make_copies(net, lambda: nn.Sequential(nn.Linear(3, 3), Gain())))
    assert all(map(equal, map(state, made), map(state, again)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 4)), r"does not fit the Sequential in training(.|\n)*size mismatch for 0"),
        (lambda: nn.Linear(3, 3), r'the Linear that its function gave does not fit(.|\n)*Missing key(.|\n)*"0.weight"'),
        (lambda: None, "its function gave NoneType, not a network"),
    ],
)
def test_a_function_that_builds_something_else_is_told_so(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"untrained: .*{message}"):
        list(make_copies(nn.Sequential(nn.Linear(3, 3)), build))


def test_the_network_as_it_came_is_one_copy() -> None:
    net = trained(nn.Sequential(nn.Linear(3, 3), Gain()))
    (made,) = make_copies(net, "start")
    assert equal(state(made), state(net))
    assert made[0].weight is not net[0].weight


def test_what_cannot_be_copied_is_said() -> None:
    net = nn.Linear(3, 3)
    net.handle = (number for number in range(3))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="untrained: Linear cannot be copied: cannot pickle 'generator' object"):
        list(make_copies(net, 1))


@pytest.mark.parametrize("wrong", [-1, "begin", 1.5, None])
def test_other_values_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"untrained=.*: it is a number of copies from 0 on, 'start', or a function"):
        check_untrained(wrong)
