"""What the processes of one fit tell each other, besides gradients: whatever is picked, and who speaks to the user."""

import re
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")

_LOST_ANOTHER = re.compile(r"Connection (closed|reset) by peer")


def gather(value: T) -> list[T]:
    """What every process has, in their order, on every process; of one process its own alone.

    Args:
        value: Anything that can be pickled; tensors on the CPU.
    """
    if not dist.is_initialized():
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def is_first_to_say(sentence: str) -> bool:
    """Whether no other process has said this, which most mistakes make all of them say.

    It waits for nobody: others may have ended, or never come here. In doubt a sentence is said twice, never not at all.
    """
    if not dist.is_initialized():
        return True
    try:
        return dist.distributed_c10d._get_default_store().add(f"said: {sentence}", 1) == 1
    except RuntimeError:  # the store lies with the first process, which has ended
        return True


def lost_another(error: BaseException) -> bool:
    """Whether an error is only what a process meets whose peer has ended.

    Known are gloo's words, those of fits on the CPU.
    """
    return isinstance(error, RuntimeError) and _LOST_ANOTHER.search(str(error)) is not None
