"""The networks of the papers: each takes waveforms, owns its front end and has the paper's layer names."""

from lightning_dissect.networks.choi import ChoiCNN
from lightning_dissect.networks.cnn_at import CNNAT, POOLS_3_S, POOLS_29_S
from lightning_dissect.networks.mm_cnn import MMCNNMulti, MMCNNSingle
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.vggish import VGGish
from lightning_dissect.networks.waveform_cnn import WaveformCNN
from lightning_dissect.networks.yamnet import YAMNet
from lightning_dissect.networks.yanchenko import (
    YanchenkoDeformable,
    YanchenkoDense,
    YanchenkoDilated,
    YanchenkoFrequency,
    YanchenkoRegular,
    YanchenkoTime,
)

__all__ = [
    "CNNAT",
    "POOLS_3_S",
    "POOLS_29_S",
    "AudioNetwork",
    "ChoiCNN",
    "MMCNNMulti",
    "MMCNNSingle",
    "VGGish",
    "WaveformCNN",
    "YAMNet",
    "YanchenkoDeformable",
    "YanchenkoDense",
    "YanchenkoDilated",
    "YanchenkoFrequency",
    "YanchenkoRegular",
    "YanchenkoTime",
]
