"""How the network is run: compiled, over processes, sharded."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from lightning_dissect.activations.capture import Capture
from lightning_dissect.activations.layers import find_layers
from lightning_dissect.features import FeatureBank
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.dissection import Dissection

LAYERS = ["network.conv", "network.norm", "network.level", "network.head"]


def planted_feature(watch: Any) -> Any:
    labels = watch.scores.labels()
    return labels[labels["layer"].astype(str).str.endswith(".level")]["feature"].item()


def test_compiled_code_trains_and_plain_code_is_watched(
    module: Any, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    ran: list[bool] = []

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            ran.append(graph.training)
            return graph.forward(*args)

        return run

    model = module()
    model.network = torch.compile(model.network, backend=backend)
    # Of two callbacks the first to start is the first to end.
    watches = [callback(layers=["network.level"]), callback(layers=["network.**"])]
    trainer(*watches, max_epochs=3).fit(model, data(), data())
    assert [planted_feature(watch) for watch in watches] == ["rms", "rms"]
    # Each of the 3 × 4 training batches runs compiled code, and no validation batch does.
    assert len(ran) == 12
    assert torch._dynamo.eval_frame._stance.stance == "default"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_precision_that_changes_the_default_type_changes_no_comparison(
    dtype: torch.dtype, clips: Callable[..., torch.Tensor]
) -> None:
    """As Lightning's bf16-true does around each step; 250 frames are more than bfloat16 can tell apart."""
    network, waveform = nn.Sequential(nn.Conv1d(1, 4, 64, 32)), clips(12, seconds=1.0, sample_rate=8_000)
    lengths = torch.arange(3_000, 8_400, 450)
    tables = []
    for default in (torch.float32, dtype):
        bank = FeatureBank(["rms", "centroid"], 8_000, 512, 32)
        with Dissection(find_layers(network), bank, find_metrics(["pearson"])) as run:
            run.begin(waveform, lengths)
            torch.set_default_dtype(default)
            try:
                network(waveform[:, None])
            finally:
                torch.set_default_dtype(torch.float32)
            run.end()
        tables.append(run.scores().table)
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.slow
def test_inductors_code_trains_and_plain_code_is_watched(
    module: Any, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    model, watch = module(), callback(layers=LAYERS)
    model.network = torch.compile(model.network)
    try:
        trainer(watch).fit(model, data(), data())
    except torch._dynamo.exc.BackendCompilerFailed as error:
        pytest.skip(f"there is no working C++ compiler: {error}")
    assert planted_feature(watch) == "rms"


@pytest.fixture
def one_process() -> Iterator[None]:
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_ddp_with_a_static_graph_is_watched(training: Any) -> None:
    watch = training.callback(layers=LAYERS)
    training.watched(training.module(), watch, strategy=pl.strategies.DDPStrategy(static_graph=True))
    assert planted_feature(watch) == "rms"


class ConvertingStrategy(pl.strategies.SingleDeviceStrategy):
    """Converts batch normalisation when DDP does; torch's DDP itself refuses converted layers on a CPU."""

    def setup(self, trainer: pl.Trainer) -> None:
        assert self.model is not None
        self.model = TorchSyncBatchNorm().apply(self.model)
        super().setup(trainer)


def test_layers_that_are_replaced_by_synchronised_ones_are_watched(training: Any) -> None:
    model, watch = training.module(), training.callback(layers=LAYERS)
    labels = training.watched(model, watch, strategy=ConvertingStrategy("cpu"))
    assert isinstance(model.network.norm, nn.SyncBatchNorm)
    assert "network.norm" in set(labels["layer"])


def test_fsdp_without_a_gpu_is_refused_by_lightning(
    trainer: Callable[..., pl.Trainer], callback: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match="`fsdp` requires a GPU"):
        trainer(callback(), strategy="fsdp")


@pytest.mark.usefixtures("one_process")
@pytest.mark.filterwarnings("ignore:FSDP is switching to use:UserWarning", "ignore:.*NO_SHARD:FutureWarning")
def test_layers_inside_fsdp_have_the_names_that_they_have_without() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    cpu = torch.device("cpu")
    inner = FullyShardedDataParallel(nn.Sequential(nn.Linear(4, 3)), device_id=cpu, use_orig_params=True)
    network = FullyShardedDataParallel(nn.Sequential(nn.Linear(4, 4), inner), device_id=cpu, use_orig_params=True)
    seen: dict[str, torch.Size] = {}
    with Capture(find_layers(network, ["**"]), lambda name, _layer, output: seen.update({name: output.shape})):
        network(torch.randn(2, 4))
    assert seen == {"0": (2, 4), "1.0": (2, 3), "1": (2, 3)}


@pytest.mark.usefixtures("one_process")
def test_an_output_that_is_shared_out_among_processes_is_refused(
    data: Callable[[], Any], module: Any, callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    """The second check: this strategy of one process gives no clip twice."""

    class Parallel(module):  # type: ignore[misc]
        def configure_model(self) -> None:
            if self.device_mesh is not None:
                plan = {"head": ColwiseParallel(use_local_output=False)}
                parallelize_module(self.network, self.device_mesh["tensor_parallel"], plan)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.network(batch[0])

    strategy = pl.strategies.ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
    with pytest.raises(ValueError, match=r"its output is a DTensor of shape \(6, 2\)(.|\n)*layer 'network.head'"):
        trainer(callback(layers=LAYERS), strategy=strategy).validate(Parallel(), data(), verbose=False)


@pytest.mark.usefixtures("one_process")
def test_fully_sharded_modules_are_watched(
    module: Any, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    class Sharded(module):  # type: ignore[misc]
        def configure_model(self) -> None:
            if self.device_mesh is not None:
                mesh = self.device_mesh["data_parallel"]
                fully_shard(self.network.conv, mesh=mesh)
                fully_shard(self.network, mesh=mesh)

    model, watch = Sharded(), callback(layers=LAYERS)
    strategy = pl.strategies.ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
    trainer(watch, strategy=strategy).fit(model, data(), data())
    assert planted_feature(watch) == "rms"
