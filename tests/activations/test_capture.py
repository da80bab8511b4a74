import copy
import importlib
import io
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_dissect.activations.capture import Capture
from lightning_dissect.activations.layers import find_layers


def count_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())


def test_hooks_see_every_run_and_leave_no_trace(network: nn.Module) -> None:
    seen = []
    with Capture(find_layers(network), lambda name, *_: seen.append(name)):
        network(torch.randn(2, 1, 8, 8))
    network(torch.randn(2, 1, 8, 8))
    assert seen == ["features.0", "head.embedding"]
    assert count_hooks(network) == 0


def test_hooks_are_removed_when_the_body_raises(network: nn.Module) -> None:
    with pytest.raises(KeyboardInterrupt), Capture(find_layers(network), lambda *_: None) as capture:
        raise KeyboardInterrupt
    capture.close()
    assert count_hooks(network) == 0


@pytest.mark.parametrize("error", [ValueError("no good"), json.JSONDecodeError("no good", "{", 1), KeyError("good")])
def test_an_error_of_the_receiver_is_kept_as_it_is_with_the_layer_noted(network: nn.Module, error: Exception) -> None:

    def receive(*_: Any) -> None:
        raise error

    with Capture(find_layers(network), receive) as capture:
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    assert capture.error is error
    assert error.__notes__ == ["layer 'features.0'"]


def stance() -> str:
    return torch._dynamo.eval_frame._stance.stance


def test_a_hook_that_cannot_be_placed_takes_the_others_with_it(partly_scripted: nn.Sequential) -> None:
    importlib.import_module("torch._dynamo")  # Or no stance would be taken.
    network = partly_scripted
    with pytest.raises(RuntimeError, match="not supported on ScriptModules"):
        Capture(dict(network.named_children()), lambda *_: None).__enter__()
    assert count_hooks(network) == 0
    assert stance() == "default"


def double(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """A hook of the user's own."""
    return 2 * output


class Described(nn.Linear):
    """Says itself what is pickled of it."""

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"said": True}


def through_a_file(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("layer", [nn.Linear, Described, nn.LSTM])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), through_a_file])
def test_copies_carry_no_hook_of_ours(layer: type[nn.Module], copied: Callable[[nn.Module], nn.Module]) -> None:
    network, seen = nn.Sequential(layer(2, 2)), []
    handle = network[0].register_forward_hook(double)
    captures = [Capture(find_layers(network, ["0"]), lambda name, *_: seen.append(name)) for _ in range(2)]
    with captures[0], captures[1]:
        copies = [copied(network)]
        captures[0].close()  # Of two captures the first to start is the first to end.
        copies.append(copied(network))
        for each in copies:
            assert list(each[0]._forward_hooks.values()) == [double]
            pickle.dumps(each)
        assert len(network[0]._forward_hooks) == 2
        handle.remove()
        network(torch.zeros(1, 2))
    assert seen == ["0"]
    assert not vars(network[0]._forward_hooks)
    assert count_hooks(network) == 0


def test_copies_of_parametrized_layers_carry_no_hook_of_ours() -> None:
    """They have a way to copy themselves."""
    network, seen = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 2, 3))), []
    with Capture(find_layers(network), lambda name, *_: seen.append(name)):
        copied = copy.deepcopy(network)
        copied(torch.zeros(1, 1, 4))
    assert not seen
    assert count_hooks(copied) == 0


def test_traced_layers_are_watched() -> None:
    network, seen = nn.Sequential(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))), []
    with Capture(find_layers(network, ["0"]), lambda name, *_: seen.append(name)):
        network(torch.zeros(3, 2))
    assert seen == ["0"]


def test_outputs_are_handed_on_with_their_graph() -> None:
    """What wants plain numbers detaches: relevance needs the graph."""
    network, seen = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), []
    with Capture({"0": network[0]}, lambda _name, _layer, output: seen.append(output)):
        loss = network(torch.ones(3, 2)).sum()
    (gradient,) = torch.autograd.grad(loss, seen[0])
    assert gradient.shape == (3, 2)
