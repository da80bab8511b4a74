from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from lightning_dissect.activations.activation import Activation, Outputs, first_tensor

CLIPS = 4


def test_the_first_tensor_is_found_in_any_output() -> None:
    @dataclass
    class Output:
        loss: None
        hidden: Tensor

    x = torch.ones(2)
    for output in (x, (x, torch.zeros(1)), {"a": [x]}, Output(None, x), ((None, x),)):
        assert first_tensor(output) is x
    for nothing in ("text", None, torch.arange(2)):
        with pytest.raises(ValueError, match=r"(str|NoneType|Tensor) without a tensor of real or complex numbers"):
            first_tensor(nothing)


def test_codes_are_passed_over_and_complex_numbers_read_as_magnitudes() -> None:
    x = torch.rand(2)
    assert first_tensor((torch.arange(2), x)) is x
    torch.testing.assert_close(first_tensor(torch.polar(x, 3 * x)), x)


def read(axes: str | None, *outputs: object, strict: bool = True) -> tuple[Outputs, Activation | None]:
    """What a layer's outputs in one batch are read as, at once or joined."""
    reader = Outputs({} if axes is None else {"layer": axes}, strict=strict)
    reader.begin(CLIPS, taken=CLIPS)
    found = [reader.read("layer", nn.Conv1d(3, 3, 1), output) for output in outputs]
    activations = [activation for activation in found if activation is not None]
    activations += [activation for _, activation in reader.end()]
    assert len(activations) <= 1
    return reader, activations[0] if activations else None


def same(one: Activation | None, other: Activation | None) -> bool:
    """Whether both hold the same values, with the axes in any order."""
    assert one is not None
    assert other is not None
    order = [other.axes.index(axis) for axis in one.axes]
    return torch.equal(one.values, other.values.permute(order))


@pytest.mark.parametrize("output", [torch.arange(CLIPS), None, torch.rand(1, 3, 5)])
def test_what_cannot_be_read_is_left_out_unless_it_was_asked_for(output: object) -> None:
    with pytest.raises(ValueError, match="its output"):
        read(None, output)
    with pytest.raises(ValueError, match="its output"):
        read("batch unit time", output, strict=False)
    reader, activation = read(None, output, strict=False)
    assert activation is None
    assert reader.left_out["layer"].startswith("its output")


@pytest.mark.parametrize(
    ("axes", "shape", "time"),
    [
        ("batch unit time", (CLIPS, 3, 12), 2),
        ("batch time unit", (CLIPS, 12, 3), 1),
        ("time batch unit", (12, CLIPS, 3), 0),
        ("batch unit frequency time", (CLIPS, 3, 5, 12), 3),
    ],
)
@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [5, 5, 2], [12]])
def test_calls_with_times_are_read_as_one_that_has_them_all(
    axes: str, shape: tuple[int, ...], time: int, sizes: list[int]
) -> None:
    output = torch.randn(shape)
    _, whole = read(axes, output)
    parts, joined = read(f"call {axes}", *output.split(sizes, time))
    assert same(joined, whole)
    assert str(parts.axes["layer"]) == f"call {axes}"
    assert not parts.repeated


def test_calls_without_times_are_the_times() -> None:
    output = torch.randn(CLIPS, 6, 3)
    assert same(read("call batch unit", *output.unbind(1))[1], read("batch time unit", output)[1])
    maps = torch.randn(CLIPS, 6, 3, 5)
    whole = read("batch time unit frequency", maps)[1]
    assert same(read("call batch unit frequency", *maps.unbind(1))[1], whole)


def test_calls_of_examples_are_joined_after_them() -> None:
    output = torch.randn(CLIPS, 2, 2, 3, 5)  # calls, examples, unit, time
    calls = [call.flatten(0, 1) for call in output.unbind(1)]
    whole = output.flatten(1, 2).transpose(1, 2).flatten(2)
    joined = read("call (batch example) unit time", *calls)[1]
    assert same(joined, read("batch unit time", whole)[1])


def test_a_call_is_kept_as_it_was_when_it_ran() -> None:
    output = torch.randn(CLIPS, 3, 12)
    reader = Outputs({"layer": "call batch unit time"})
    reader.begin(CLIPS, taken=CLIPS)
    reader.read("layer", nn.Identity(), output)
    before = output.clone()
    output.zero_()
    ((_, activation),) = reader.end()
    assert same(activation, read("batch unit time", before)[1])


def test_the_first_clips_are_taken() -> None:
    output = torch.randn(CLIPS, 3, 12)
    reader = Outputs()
    reader.begin(CLIPS, taken=2)
    activation = reader.read("layer", nn.Conv1d(3, 3, 1), output)
    assert activation is not None
    assert torch.equal(activation.values, output[:2])


def test_calls_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"its calls put out \(4, 3, 5, 12\) and \(4, 3, 6, 12\)"):
        read("call batch unit frequency time", torch.zeros(CLIPS, 3, 5, 12), torch.zeros(CLIPS, 3, 6, 12))


def test_of_several_calls_the_first_is_read_and_they_are_counted() -> None:
    outputs = torch.randn(3, CLIPS, 3, 12).unbind()
    reader, activation = read(None, *outputs)
    assert same(activation, read(None, outputs[0])[1])
    assert reader.repeated == {"layer": 3}
    reader.begin(CLIPS, taken=CLIPS)
    reader.read("layer", nn.Identity(), outputs[0])
    assert reader.repeated == {"layer": 3}


def test_an_output_keeps_its_graph_and_joined_runs_none() -> None:
    output = torch.randn(CLIPS, 3, 12, requires_grad=True)
    _, activation = read("batch unit time", output)
    assert activation is not None
    assert activation.values.requires_grad
    reader, activation = read("call batch unit time", output)
    assert activation is not None
    assert not activation.values.requires_grad
    assert reader.end() == []
