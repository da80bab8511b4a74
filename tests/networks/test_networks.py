import numpy as np
import pytest
import torch
from torch import nn

from lightning_dissect import networks
from lightning_dissect.activations.layers import find_layers
from lightning_dissect.features import Analysis, FrequencyAxis

# name: (network, seconds of a clip, its weights as published, or None where the paper gives no number)
NETWORKS = {
    "CNNAT": (lambda: networks.CNNAT(), 29.12, None),
    "MMCNNSingle": (lambda: networks.MMCNNSingle(50), 3.0, None),
    "MMCNNMulti": (lambda: networks.MMCNNMulti(50), 3.0, None),
    "ChoiCNN": (lambda: networks.ChoiCNN(50), 4.0, None),
    "VGGish": (lambda: networks.VGGish(), 1.95, 72_141_184),
    "YAMNet": (lambda: networks.YAMNet(), 1.95, None),
    "YanchenkoRegular": (lambda: networks.YanchenkoRegular(), 4.0, 79_118),
    "YanchenkoDeformable": (lambda: networks.YanchenkoDeformable(), 4.0, 160_138),
    "YanchenkoDilated": (lambda: networks.YanchenkoDilated(), 4.0, 151_118),
    "YanchenkoFrequency": (lambda: networks.YanchenkoFrequency(), 4.0, 2_770_118),
    "YanchenkoTime": (lambda: networks.YanchenkoTime(), 4.0, 2_770_118),
    "YanchenkoDense": (lambda: networks.YanchenkoDense(), 4.0, 1_967_408),
    "WaveformCNN": (lambda: networks.WaveformCNN(), 1.0, 256_538),
}

# shapes of the layers' outputs for one clip, worked out from the papers' kernels, strides and pools
SHAPES = {
    "CNNAT": [(64, 96, 1366), (128, 48, 341), (128, 24, 85), (128, 12, 21), (64, 4, 4)],
    "ChoiCNN": [(64, 257, 173), (64, 128, 86), (64, 64, 43), (64, 32, 21), (64, 16, 10), (256,)],
    # two examples of 96 frames side by side
    "VGGish": [
        *((64, 192, 64), (128, 96, 32), (256, 48, 16), (256, 48, 16), (512, 24, 8), (512, 24, 8)),
        *((2, 4096), (2, 4096), (2, 128)),
    ],
    "YAMNet": [
        *((32, 96, 32), (64, 96, 32), (128, 48, 16), (128, 48, 16), (256, 24, 8), (256, 24, 8)),
        *([(512, 12, 4)] * 6),
        *((1024, 6, 2), (1024, 6, 2)),
    ],
    "YanchenkoRegular": [(10, 124, 124), (20, 22, 22), (30, 4, 4), (120,)],
    "YanchenkoDeformable": [(10, 124, 124), (20, 22, 22), (30, 6, 6), (120,)],
    "YanchenkoDilated": [(10, 116, 116), (20, 28, 28), (30, 6, 6), (120,)],
    "YanchenkoFrequency": [(10, 124, 128), (20, 22, 128), (30, 6, 128), (120,)],
    "YanchenkoTime": [(10, 128, 124), (20, 128, 22), (30, 128, 6), (120,)],
    "YanchenkoDense": [(120,)],
    "WaveformCNN": [(16, 7969), (32, 483), (64, 23), (128, 8), (128,), (64,)],
    "MMCNNSingle": [(n, 96, 141) for n in (128, 64, 32, 128, 64, 32)],
    "MMCNNMulti": [*((n, 96, 141) for n in (128, 64, 32, 128, 64, 32)), (128, 4, 4), (128, 2, 2), (256,)],
}


@pytest.fixture(params=NETWORKS, scope="module")
def named_network(request):
    if request.param == "YanchenkoDeformable":
        pytest.importorskip("torchvision")
    make, seconds, _ = NETWORKS[request.param]
    torch.manual_seed(0)
    return request.param, make().eval(), seconds


def clips(network, seconds, n=2):
    return torch.randn(n, round(seconds * network.sample_rate), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_layers_have_the_papers_shapes(named_network):
    name, network, seconds = named_network
    shapes = {}
    for layer, module in find_layers(network, network.layers).items():
        module.register_forward_hook(lambda module, args, output, layer=layer: shapes.update({layer: output.shape}))
    logits = network(clips(network, seconds))
    assert [tuple(shapes[layer][1:]) for layer in network.layers] == SHAPES[name]
    assert len(logits) == 2
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_no_clip_depends_on_another(named_network):
    _, network, seconds = named_network
    waveform = clips(network, seconds)
    # float32 sums in another order
    torch.testing.assert_close(network(waveform)[1:], network(waveform[1:]), rtol=1e-3, atol=1e-4)


def test_number_of_weights(named_network):
    name, network, _ = named_network
    published = NETWORKS[name][2]
    assert published is None or network.n_parameters == published


def test_number_of_yamnets_weights_is_keras():
    network = networks.YAMNet()
    gammas = sum(module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    # Keras' summary has no gammas, since batch norm has no scale there, and counts means and variances
    assert network.n_parameters - gammas + 2 * gammas == 3_751_369


@torch.no_grad()
def test_silence_is_finite(named_network):
    _, network, seconds = named_network
    assert torch.isfinite(network(torch.zeros(1, round(seconds * network.sample_rate)))).all()


@pytest.mark.parametrize("name", ["WaveformCNN", "YanchenkoRegular", "YanchenkoDense", "CNNAT", "VGGish", "YAMNet"])
def test_clips_of_a_wrong_length_say_what_is_needed(name):
    network = NETWORKS[name][0]()
    with pytest.raises(ValueError, match=r"^waveform: 8000 samples.*\d"):
        network(torch.zeros(1, 8_000))


def test_every_network_learns_from_every_weight(named_network):
    _, network, seconds = named_network
    network.train()
    network(clips(network, seconds)).square().sum().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    network.zero_grad(set_to_none=True)
    network.eval()
    assert not without


def test_deformable_without_torchvision_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    with pytest.raises(ImportError, match="needs torchvision"):
        networks.YanchenkoDeformable()


@torch.no_grad()
def test_a_new_deformable_convolution_without_offsets_is_a_convolution():
    pytest.importorskip("torchvision")
    network = networks.YanchenkoDeformable()
    nn.init.zeros_(network.conv3.offsets.weight)
    nn.init.zeros_(network.conv3.offsets.bias)
    x = torch.randn(2, 20, 11, 11)
    expected = nn.functional.conv2d(x, network.conv3.conv.weight, stride=2, padding=2)
    torch.testing.assert_close(network.conv3(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_mm_cnn_pools_as_in_the_paper_at_128_frames():
    convolutions = networks.MMCNNSingle(10).eval().convolutions
    x = torch.randn(2, 1, 96, 128)
    pooled = [nn.functional.max_pool2d(branch(x), (96, 32)) for branch in convolutions.branches.values()]
    np.testing.assert_array_equal(convolutions(x), torch.cat(pooled, dim=1))


def test_the_analysis_is_that_of_the_input():
    network = networks.CNNAT()
    assert network.analysis == Analysis(12_000, 512, 256, FrequencyAxis("mel", 96))
    assert networks.WaveformCNN().analysis.frequency == FrequencyAxis()
