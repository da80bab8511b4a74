"""Networks of other packages, tiny and without weights: every watched layer has a unit that follows the loudness."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, interpolate
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import dissect
from lightning_dissect.activations.layers import find_layers

RATE = 16_000
COUNT = 24


class Network(NamedTuple):
    """A network, what runs it on waveforms (B, samples), and the axes of some of its layers.

    ``named`` are those that have to be given, because the kind of the layer does not tell them.
    """

    module: nn.Module
    run: Callable[[Tensor], Any]
    axes: dict[str, str]
    named: dict[str, str] = {}  # noqa: RUF012


def package(name: str) -> Any:
    """Import a package; torchaudio and torchvision fail in more than one way beside another torch than their own."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")


def spectrogram(waveform: Tensor, bins: int, frames: int | None = None) -> Tensor:
    """(B, bins, frames), 100 frames a second."""
    spectrum = torch.stft(waveform, 400, 160, window=torch.hann_window(400), return_complex=True).abs()
    return torch.log1p(interpolate(spectrum[:, None], (bins, spectrum.shape[-1]))[:, 0, :, :frames])


def speech(name: str, **settings: Any) -> Network:
    """The kin of wav2vec 2.0 in transformers."""
    transformers = package("transformers")
    small = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "conv_dim": (8, 8, 8), "conv_stride": (5, 4, 4), "conv_kernel": (10, 4, 4), "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
    }  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**small | settings)
    module = getattr(transformers, f"{name}Model")(config)
    return Network(
        module,
        module,
        {"feature_extractor.conv_layers.*": "batch unit time", "encoder.layers.*": "batch time unit"},
    )


def sew_d() -> Network:
    network = speech("SEWD", squeeze_factor=2)
    axes = {"feature_extractor.conv_layers.*": "batch unit time", "encoder.encoder.layer.*": "batch time unit"}
    return network._replace(axes=axes)


def ast() -> Network:
    transformers = package("transformers")
    module = transformers.ASTModel(
        transformers.ASTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_length=96,
            num_mel_bins=32, patch_size=8, frequency_stride=8, time_stride=6,
        )
    )  # fmt: skip
    # A class and a distillation token, then patches: 4 frequencies of 15 times each.
    named = {"layers.*": "batch 2+(frequency=4 time) unit"}
    patches = {"embeddings.patch_embeddings.projection": "batch unit frequency time"}
    return Network(module, lambda x: module(spectrogram(x, 32, 96).mT), patches | named, named)


def whisper() -> Network:
    whisper = package("transformers.models.whisper.modeling_whisper")
    config = whisper.WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=24, num_mel_bins=20,
        max_source_positions=50,
    )  # fmt: skip
    module = whisper.WhisperEncoder(config)
    axes = {"conv2": "batch unit time", "layers.*": "batch time unit", "layers.*.activation_fn": "batch time unit"}
    return Network(module, lambda x: module(spectrogram(x, 20, 100)), axes)


def clap() -> Network:
    clap = package("transformers.models.clap.modeling_clap")
    config = clap.ClapAudioConfig(
        hidden_size=64, patch_embeds_hidden_size=8, depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
        num_mel_bins=32, spec_size=64, window_size=2, patch_size=4, patch_stride=[4, 4], num_classes=4,
    )  # fmt: skip
    module = clap.ClapAudioModel(config)
    # Half of the clip lies above the other half in the image that is cut into patches: only clips can be compared.
    named = {"audio_encoder.layers.*": "batch frequency unit"}
    short = torch.zeros(COUNT, 1)

    def run(x: Tensor) -> Any:
        return module(input_features=spectrogram(x, 32, 100).mT[:, None], is_longer=short[: len(x)])

    return Network(module, run, named, named)


def encodec() -> Network:
    transformers = package("transformers")
    module = transformers.EncodecModel(
        transformers.EncodecConfig(
            sampling_rate=RATE, num_filters=4, hidden_size=16, num_lstm_layers=1, codebook_size=16, codebook_dim=16,
            upsampling_ratios=[8, 5, 4, 2],
        )
    )  # fmt: skip
    axes = {"encoder.layers.3": "batch unit time", "encoder": "batch unit time", "decoder.layers.6": "batch unit time"}
    return Network(module, lambda x: module(x[:, None]), axes)


def dac() -> Network:
    transformers = package("transformers")
    module = transformers.DacModel(
        transformers.DacConfig(
            encoder_hidden_size=4, downsampling_ratios=[2, 4, 8], upsampling_ratios=[8, 4, 2], decoder_hidden_size=32,
            n_codebooks=2, codebook_size=16, codebook_dim=4,
        )
    )  # fmt: skip
    axes = {"encoder.block.*": "batch unit time", "quantizer.quantizers.0": "batch unit time"}
    return Network(module, lambda x: module(x[:, None, :15_872]), axes)


def torchaudio_wav2vec2() -> Network:
    models = package("torchaudio").models
    module = models.wav2vec2_model(
        "group_norm", [(8, 10, 5), (8, 4, 4), (8, 4, 4)], False,
        16, 0.0, 8, 2, 2, 2, 0.0, 24, 0.0, 0.0, False, 0.0, None,
    )  # fmt: skip
    axes = {"feature_extractor.conv_layers.*": "batch unit time", "encoder.transformer.layers.*": "batch time unit"}
    return Network(module, module, axes)


def conformer() -> Network:
    module = package("torchaudio").models.Conformer(16, 2, 24, 2, 7)
    axes = {
        "conformer_layers.*": "time batch unit",
        "conformer_layers.*.ffn1.sequential.2": "time batch unit",
        "conformer_layers.*.conv_module": "batch time unit",
        "conformer_layers.*.conv_module.sequential.1": "batch unit time",
    }
    return Network(module, lambda x: module(spectrogram(x, 16).mT, torch.full((len(x),), 101)), axes)


def emformer() -> Network:
    module = package("torchaudio").models.Emformer(16, 2, 24, 2, 4, right_context_length=1)
    # The frames to the right of each of the 25 segments come before the frames themselves.
    named = {"emformer_layers.*.pos_ff": "25+time batch unit"}
    axes = {"emformer_layers.*": "time batch unit"} | named
    return Network(module, lambda x: module(spectrogram(x, 16).mT, torch.full((len(x),), 100)), axes, named)


def hdemucs() -> Network:
    module = package("torchaudio").models.HDemucs(["a", "b"], 1, channels=4, nfft=1024, depth=5)
    axes = {
        "time_encoder.*": "batch unit time",
        "freq_encoder.0": "batch unit frequency time",
        "freq_encoder.2": "batch unit frequency time",
        "freq_encoder.4": "batch unit time",
    }
    return Network(module, lambda x: module(x[:, None]), axes)


def conv_tasnet() -> Network:
    module = package("torchaudio").models.ConvTasNet(2, 16, 16, 3, 8, 8, 2, 1)
    axes = {"encoder": "batch unit time", "mask_generator.conv_layers.*": "batch unit time"}
    return Network(module, lambda x: module(x[:, None]), axes)


def deep_speech() -> Network:
    module = package("torchaudio").models.DeepSpeech(16, n_hidden=8)
    axes = {"fc1": "batch frequency time unit", "bi_rnn": "time batch unit", "fc4": "time batch unit"}
    return Network(module, lambda x: module(spectrogram(x, 16).mT[:, None]), axes)


def timm_resnet() -> Network:
    timm = package("timm")
    module = timm.models.resnet.ResNet(
        timm.models.resnet.BasicBlock, (1, 1, 1, 1), in_chans=1, num_classes=4, channels=(8, 8, 16, 16), stem_width=8
    )
    axes = {"act1": "batch unit frequency time", "layer?": "batch unit frequency time", "global_pool": "batch unit"}
    return Network(module, lambda x: module(spectrogram(x, 64)[:, None]), axes)


def timm_vit() -> Network:
    timm = package("timm")
    module = timm.models.vision_transformer.VisionTransformer(
        img_size=(32, 96), patch_size=(8, 6), in_chans=1, num_classes=4, embed_dim=16, depth=2, num_heads=2
    )
    named = {"blocks.*": "batch 1+(frequency=4 time) unit"}
    return Network(module, lambda x: module(spectrogram(x, 32, 96)[:, None]), named, named)


def timm_swin() -> Network:
    timm = package("timm")
    module = timm.models.swin_transformer.SwinTransformer(
        img_size=(32, 96), patch_size=4, in_chans=1, num_classes=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2),
        window_size=4,
    )  # fmt: skip
    axes = {"layers.*": "batch frequency time unit"}
    return Network(module, lambda x: module(spectrogram(x, 32, 96)[:, None]), axes)


def timm_convnext() -> Network:
    timm = package("timm")
    module = timm.models.convnext.ConvNeXt(in_chans=1, num_classes=4, depths=(1, 1, 1, 1), dims=(8, 8, 16, 16))
    axes = {
        "stem": "batch unit frequency time",
        "stages.0": "batch unit frequency time",
        "stages.0.blocks.0.mlp.act": "batch frequency time unit",
    }
    return Network(module, lambda x: module(spectrogram(x, 64)[:, None]), axes)


def torchvision_resnet() -> Network:
    resnet = package("torchvision").models.resnet
    module = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=4)
    axes = {"relu": "batch unit frequency time", "layer1": "batch unit frequency time"}
    return Network(module, lambda x: module(spectrogram(x, 64)[:, None].expand(-1, 3, -1, -1)), axes)


NETWORKS: dict[str, Callable[[], Network]] = {
    "transformers Wav2Vec2": lambda: speech("Wav2Vec2"),
    "transformers Wav2Vec2 large": lambda: speech("Wav2Vec2", feat_extract_norm="layer", do_stable_layer_norm=True),
    "transformers HuBERT": lambda: speech("Hubert"),
    "transformers WavLM": lambda: speech("WavLM"),
    "transformers Data2VecAudio": lambda: speech("Data2VecAudio"),
    "transformers UniSpeech": lambda: speech("UniSpeech"),
    "transformers UniSpeechSat": lambda: speech("UniSpeechSat"),
    "transformers SEW": lambda: speech("SEW", squeeze_factor=2),
    "transformers SEW-D": sew_d,
    "transformers Wav2Vec2Conformer": lambda: speech("Wav2Vec2Conformer"),
    "transformers AST": ast,
    "transformers Whisper encoder": whisper,
    "transformers CLAP audio": clap,
    "transformers EnCodec": encodec,
    "transformers DAC": dac,
    "torchaudio wav2vec 2.0": torchaudio_wav2vec2,
    "torchaudio Conformer": conformer,
    "torchaudio Emformer": emformer,
    "torchaudio HDemucs": hdemucs,
    "torchaudio Conv-TasNet": conv_tasnet,
    "torchaudio DeepSpeech": deep_speech,
    "timm ResNet": timm_resnet,
    "timm ViT": timm_vit,
    "timm Swin": timm_swin,
    "timm ConvNeXt": timm_convnext,
    "torchvision ResNet": torchvision_resnet,
}


def plant(waveform: Tensor, output: Tensor, axes: str) -> None:
    """Let the first unit follow the loudness; written out for each order of axes, beside the package's reading."""

    def loudness(frames: int) -> Tensor:
        return adaptive_avg_pool1d(waveform.square(), frames).sqrt()

    _, first, second, *_ = (*output.shape, 0)
    if axes == "batch unit":
        output[:, 0] = loudness(1)[:, 0]
    elif axes == "batch frequency unit":
        output[:, :, 0] = loudness(1)
    elif axes == "batch unit time":
        output[:, 0] = loudness(second)
    elif axes == "batch time unit":
        output[:, :, 0] = loudness(first)
    elif axes == "time batch unit":
        output[:, :, 0] = loudness(len(output)).T
    elif axes == "25+time batch unit":
        output[25:, :, 0] = loudness(len(output) - 25).T
        output[:25, :, 0] = 1e3
    elif axes == "batch unit frequency time":
        output[:, 0] = loudness(output.shape[3])[:, None]
    elif axes == "batch frequency time unit":
        output[..., 0] = loudness(second)[:, None]
    else:
        tokens = {"batch 1+(frequency=4 time) unit": 1, "batch 2+(frequency=4 time) unit": 2}[axes]
        output[:, tokens:, 0] = loudness((first - tokens) // 4).repeat(1, 4)
        output[:, :tokens, 0] = 1e3


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layers_planted_unit_is_labelled(name: str, clips: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    waveform = clips(COUNT, seconds=1.0, sample_rate=RATE, seed=5)
    layers = {layer: axes for glob, axes in network.axes.items() for layer in find_layers(network.module, [glob])}
    module = network.module.eval()
    current: list[Tensor] = []

    def planting(axes: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            outputs = [output] if isinstance(output, Tensor) else [item for item in output if item is not None]
            plant(current[0], outputs[0], axes)

        return hook

    for layer, axes in layers.items():
        module.get_submodule(layer).register_forward_hook(planting(axes))

    def forward(batch: list[Tensor]) -> None:
        current[:] = batch
        network.run(batch[0])

    scores = dissect(
        module,
        DataLoader(TensorDataset(waveform), COUNT // 2),
        RATE,
        forward=forward,
        layers=list(network.axes),
        axes=network.named,
        features=["rms", "centroid"],
        metrics=["pearson"],
        n_fft=800,
        hop_length=400,
        accelerator="cpu",
        progress=False,
    )
    assert scores.settings["axes"] == layers
    labels = scores.labels()
    planted = labels[labels["unit"] == 0].set_index("layer")
    assert set(planted.index) == set(layers)
    assert (planted["feature"] == "rms").all()
    # A unit's frames and the features' are cut at other places, and some layers have an eighth of the frames.
    assert (planted["score"] > 0.9).all(), planted["score"]
    level = scores.table[scores.table["unit"] == 0].groupby("layer", observed=True)["level"].agg(set)
    assert {layer: "frame" in found for layer, found in level.items()} == {
        layer: "time" in axes for layer, axes in layers.items()
    }
