import pytest
import torch
from classifier import InstrumentClassifier
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import dissect, networks
from lightning_dissect.activations.layers import find_layers
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.dissection import Dissection

# name: (network, seconds, units of each layer, one layer of maps and its (frequency, time))
CASES = {
    "CNNAT": (lambda: networks.CNNAT(5, networks.POOLS_3_S, 12), 3.0, [64, 128, 128, 128, 64, 12], "conv2", (48, 35)),
    "MMCNNSingle": (
        lambda: networks.MMCNNSingle(5),
        1.0,
        [128, 64, 32] * 2,
        "convolutions.branches.50x1",
        (96, 47),
    ),
    "MMCNNMulti": (
        lambda: networks.MMCNNMulti(5),
        1.0,
        [128, 64, 32] * 2 + [128, 128, 256],
        "convolutions.branches.5x1",
        (96, 47),
    ),
    "ChoiCNN": (lambda: networks.ChoiCNN(5), 2.0, [64] * 5 + [256], "conv1", (257, 87)),
    "VGGish": (
        lambda: networks.VGGish(5, shrink=16),
        2.0,
        [4, 8, 16, 16, 32, 32, 256, 256, 8],
        "features.1",
        (64, 192),
    ),
    "YAMNet": (
        lambda: networks.YAMNet(5),
        2.0,
        [32, 64, 128, 128, 256, 256] + [512] * 6 + [1024] * 2,
        "layer1",
        (32, 96),
    ),
    "YanchenkoRegular": (lambda: networks.YanchenkoRegular(), 4.0, [10, 20, 30, 120], "conv1", (124, 124)),
    "YanchenkoDeformable": (lambda: networks.YanchenkoDeformable(), 4.0, [10, 20, 30, 120], "conv2", (22, 22)),
    "YanchenkoDilated": (lambda: networks.YanchenkoDilated(), 4.0, [10, 20, 30, 120], "conv2", (28, 28)),
    "YanchenkoFrequency": (lambda: networks.YanchenkoFrequency(), 4.0, [10, 20, 30, 120], "conv2", (22, 128)),
    "YanchenkoTime": (lambda: networks.YanchenkoTime(), 4.0, [10, 20, 30, 120], "conv2", (128, 22)),
    "YanchenkoDense": (lambda: networks.YanchenkoDense(), 4.0, [120], None, None),
    "WaveformCNN": (lambda: networks.WaveformCNN(), 1.0, [16, 32, 64, 128, 128, 64], None, None),
}


def clips(network, seconds, n):
    torch.manual_seed(0)
    return torch.randn(n, round(seconds * network.sample_rate)) * 10 ** (-2 * torch.rand(n, 1))


def axes_by_name(network, layers):
    return {
        name: words for glob, words in network.axes.items() for name in find_layers(network, [glob]) if name in layers
    }


@pytest.fixture
def name(request):
    if request.param == "YanchenkoDeformable":
        pytest.importorskip("torchvision")
    return request.param


@pytest.mark.parametrize("name", CASES, indirect=True)
def test_every_layer_is_dissected_unit_by_unit(name):
    make, seconds, units, _, _ = CASES[name]
    network = make()
    loader = DataLoader(TensorDataset(clips(network, seconds, 6), torch.zeros(6, dtype=torch.long)), batch_size=3)
    scores = dissect(
        InstrumentClassifier(network),
        loader,
        network.sample_rate,
        layers=[f"network.{layer}" for layer in network.layers],
        axes={f"network.{glob}": words for glob, words in network.axes.items()},
        features=["rms"],
        metrics=["pearson"],
        frequency=network.frequency,
        progress=False,
        accelerator="cpu",
    )
    found = scores.table.groupby("layer", observed=True, sort=False)["unit"].nunique()
    assert found.to_dict() == dict(zip([f"network.{layer}" for layer in network.layers], units, strict=True))
    assert (scores.table["n_clips"] <= 6).all()


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3]], indirect=True)
def test_maps_are_frequency_by_time(name):
    make, seconds, _, layer, size = CASES[name]
    network = make().eval()
    layers = find_layers(network, [layer])
    axes = axes_by_name(network, layers)
    bank = FeatureBank(["harmonic"], network.sample_rate, frequency=network.frequency)
    with Dissection(layers, bank, find_metrics(["sift"]), map_clips=2, axes=axes) as run:
        waveform = clips(network, seconds, 2)
        run.begin(waveform)
        network(waveform)
        run.end()
    assert run.drawn[layer].activations.shape[2:] == size


@torch.no_grad()
@pytest.mark.parametrize("name", ["CNNAT", "VGGish", "YAMNet", "ChoiCNN"], indirect=True)
def test_the_maps_axes_are_not_swapped(name):
    """A steady tone is a line along time, so over random filters the rows of a map differ more than its columns."""
    make, seconds, _, layer, _ = CASES[name]
    network = make().eval()
    layers = find_layers(network, [layer])
    axes = axes_by_name(network, layers)
    bank = FeatureBank(["harmonic"], network.sample_rate, frequency=network.frequency)
    time = torch.arange(round(seconds * network.sample_rate)) / network.sample_rate
    tone = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[440.0], [880.0]]) * time)
    with Dissection(layers, bank, find_metrics(["sift"]), map_clips=2, axes=axes) as run:
        run.begin(tone)
        network(tone)
        run.end()
    maps = run.drawn[layer].activations[0, :, 3:-3, 3:-3]
    assert maps.mean(2).std(1).mean() > 3 * maps.mean(1).std(1).mean()
