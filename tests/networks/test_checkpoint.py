import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from lightning_dissect.networks import VGGish, YAMNet
from lightning_dissect.networks.checkpoint import load_checkpoint

VGGISH_SHAPES = {
    "features.0": (64, 1, 3, 3),
    "features.3": (128, 64, 3, 3),
    "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096),
    "embeddings.4": (128, 4096),
}


def vggish_tensors():
    generator = torch.Generator().manual_seed(0)
    weights = {f"{name}.weight": torch.rand(shape, generator=generator) for name, shape in VGGISH_SHAPES.items()}
    return weights | {f"{name}.bias": torch.rand(shape[0]) for name, shape in VGGISH_SHAPES.items()}


def test_vggish_takes_the_checkpoints_names(tmp_path):
    tensors = vggish_tensors()
    torch.save(tensors, tmp_path / "vggish.pth")
    state = VGGish.from_checkpoint(tmp_path / "vggish.pth", n_classes=10).state_dict()
    assert state["classifier.weight"].shape == (10, 128)
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def test_yamnet_takes_the_checkpoints_names(tmp_path):
    tensors = YAMNet().state_dict()
    expected = {"layer1.conv.weight", "layer1.bn.running_mean", "layer2.depthwise_conv.conv.weight"}
    expected |= {"layer14.pointwise_conv.bn.bias", "classifier.weight", "classifier.bias"}
    assert expected <= tensors.keys()
    assert len([name for name in tensors if name.endswith("conv.weight")]) == 27
    torch.save(tensors, tmp_path / "yamnet.pth")
    waveform = torch.randn(1, 32_000)
    with torch.no_grad():
        logits = YAMNet.from_checkpoint(tmp_path / "yamnet.pth").eval()(waveform)
        assert not torch.equal(logits, YAMNet().eval()(waveform))
        assert torch.equal(logits, YAMNet.from_checkpoint(tmp_path / "yamnet.pth").eval()(waveform))
    # another number of classes keeps all but the classifier
    other = YAMNet.from_checkpoint(tmp_path / "yamnet.pth", n_classes=10)
    assert torch.equal(other.layer1.conv.weight, tensors["layer1.conv.weight"])
    assert other.classifier.out_features == 10


def test_what_does_not_fit_is_named_key_by_key(tmp_path):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = dict(network.state_dict()) | {"0.weight": torch.zeros(3, 5), "other": torch.zeros(7)}
    del tensors["1.bias"]
    torch.save(tensors, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=r"wrong\.pth does not fit Sequential") as raised:
        load_checkpoint(network, tmp_path / "wrong.pth")
    assert str(raised.value).splitlines()[1:] == [
        "  0.weight has the shape (3, 5), needed is (3, 2)",
        "  missing: 1.bias (4,)",
        "  unknown: other (7,)",
    ]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_other_files(tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match=r"text\.pth is no file of weights"):
        VGGish.from_checkpoint(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds a list"):
        YAMNet.from_checkpoint(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError):
        VGGish.from_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize("holder", ["", "network.", "model.net."])
def test_a_lightning_checkpoint_is_taken_too(tmp_path, holder):
    trained, network = (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)) for _ in range(2))
    state = {f"{holder}{name}": tensor for name, tensor in trained.state_dict().items()}
    if holder:
        state["loss.weight"] = torch.ones(2)  # beside the network, in the module that holds it
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    load_checkpoint(network, tmp_path / "last.ckpt")
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in trained.state_dict().items())


@pytest.mark.parametrize(
    "content", [{1: torch.zeros(2)}, {"1.bias": torch.zeros(4).to_sparse()}, {"state_dict": {}}, 3]
)
def test_what_is_no_dict_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth (holds a|does not fit)"):
        load_checkpoint(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), tmp_path / "other.pth")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_damaged_files_are_named(tmp_path, new):
    network, path = nn.Linear(2, 3), tmp_path / "damaged.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=new)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(whole[: rng.integers(len(whole) + 1)] if rng.random() < 0.3 else whole)
        for place in rng.integers(len(content), size=rng.integers(1, 8)) if content else ():
            content[place] = rng.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # some damage does not matter: to a number, or to padding
            load_checkpoint(network, path)
