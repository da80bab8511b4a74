"""What the processes of one training tell each other, beside the states of metrics."""

from typing import Any

from torch import distributed


def gather(value: Any) -> list[Any]:
    """The values of all processes in their order, in every process; only this one's if there are no others.

    Example:
        >>> gather("what this process saw")
        ['what this process saw']
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def check_clips_of_their_own(trainer: Any) -> None:
    """Refuse processes that go through the same clips, as those of tensor parallelism do.

    Their scores would be merged as if each had clips of its own, so each clip would count several times; and a layer's
    output may be a part of its units, another one in each process.

    Args:
        trainer: Its strategy says, for the samplers, among how many processes clips are shared out.

    Raises:
        ValueError: If these are fewer than there are processes.
    """
    processes = trainer.world_size
    groups = (trainer.distributed_sampler_kwargs or {}).get("num_replicas", processes)
    if groups < processes:
        raise ValueError(
            f"strategy: {type(trainer.strategy).__name__} gives {processes // groups} of {processes} processes the "
            "same clips, as tensor parallelism does: they would be counted as often, and a layer may put out only a "
            "part of its units in each. Use data parallelism in validation (DDP, FSDP, or ModelParallelStrategy with "
            "tensor_parallel_size=1), or lightning_dissect.dissect on a checkpoint, in one process."
        )
