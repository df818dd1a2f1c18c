"""Forward and backward pass of a training step, captured once as a CUDA graph and replayed.

A step of a small network is a few hundred launches of a few microseconds each: the processor binds, not the GPU. A
graph launches them at once.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.modules import module

Record = Callable[[Callable[[], None]], Callable[[], Any]]
"""Runs something a few times, as a recording of it that can be replayed."""

_WARM_UPS = 3
"""Runs before the one that is captured, in which libraries choose their kernels and make their workspaces."""


def cuda_graph(compute: Callable[[], None]) -> Callable[[], Any]:
    """Capture what is computed on the current GPU; see `Record`."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    return graph.replay


def recorder_of(device: torch.device) -> Record | None:
    """What captures steps on a device; None if nothing does."""
    return cuda_graph if device.type == "cuda" else None


class CapturedStep:
    """Replays forward and backward passes for batches shaped like the one before; others are somebody else's to do.

    A graph is captured when two batches in a row have the same shapes, and captured anew when the network has changed
    in what a graph takes for granted: where its parameters and buffers lie, which of them train, which modules are in
    training mode. While a module or parameter has hooks nothing is replayed, since a replay would not call them. What
    cannot be captured is said once, and left to others from then on.

    Args:
        network: Whose passes they are.
        compute: Maps a batch's tensors to the loss, a scalar, and to whatever else is wanted of the forward pass.
        record: As `recorder_of` gives it.
    """

    def __init__(self, network: nn.Module, compute: Callable[..., tuple[Tensor, ...]], record: Record) -> None:
        self._network = network
        self._compute = compute
        self._record = record
        self._replay: Callable[[], Any] | None = None
        self._captured: tuple[Any, ...] = ()
        self._last: tuple[Any, ...] = ()
        self._impossible = False
        self.look_again()

    def look_again(self) -> None:
        """Take notice of modules that were added or replaced."""
        modules = self._modules = list(self._network.modules())
        self._tensors = [kind for m in modules for kind in (m._parameters, m._buffers)]
        # Empty ones stay the dicts that hooks will be put into.
        self._hooks = [
            hooks
            for m in modules
            for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)
        ]

    def takes(self, inputs: Iterable[Tensor]) -> bool:
        """Whether a batch is one to replay; captures the step if it is the first such one."""
        if self._impossible:
            return False
        inputs = tuple(inputs)
        key = (*((x.shape, x.dtype, x.stride()) for x in inputs), *self._taken_for_granted())
        before, self._last = self._last, key
        if self._hooked():
            return False
        if key == self._captured:
            return True
        return key == before and self._capture(key, inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Replay both passes for a batch that `takes` has agreed to.

        Returns:
            What `compute` gives, detached.
        """
        assert self._replay is not None
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        self._replay()
        return tuple(output.clone() for output in self._outputs)

    def give_gradients(self) -> None:
        """Let the parameters have the gradients of the batch that was replayed last."""
        for parameter, gradient in self._gradients:
            parameter.grad = gradient

    def _hooked(self) -> bool:
        parameters = (p for m in self._modules for p in m._parameters.values() if p is not None)
        return (
            any(self._hooks)
            or has_global_hooks()
            or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters)
        )

    def _taken_for_granted(self) -> tuple[Any, ...]:
        places = chain.from_iterable(d.values() for d in self._tensors)
        return (
            tuple((id(t), t.data_ptr(), t.requires_grad) for t in places if t is not None),
            tuple([m.training for m in self._modules]),
        )

    def _capture(self, key: tuple[Any, ...], inputs: tuple[Tensor, ...]) -> bool:
        self._replay, self._captured = None, ()
        self._inputs = tuple(x.clone() for x in inputs)
        device = inputs[0].device
        parameters = list(self._network.parameters())
        gradients = [p.grad for p in parameters]
        buffers = list(self._network.buffers())
        values = [b.clone() for b in buffers]
        try:
            with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
                replay = self._record(self._both_passes)
        except Exception as error:
            self._impossible = True
            reason = (str(error) or type(error).__name__).splitlines()[0]
            rank_zero_warn(
                f"a training step cannot be captured as a graph, and is done operation by operation: {reason}"
            )
            return False
        finally:
            # Warming up has moved running statistics.
            torch._foreach_copy_(buffers, values) if buffers else None
            self._gradients = [(p, p.grad) for p in parameters]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        self._replay, self._captured = replay, key
        return True

    def _both_passes(self) -> None:
        for parameter in self._network.parameters():
            parameter.grad = None  # so that the backward pass writes gradients, and does not add to them
        outputs = self._compute(*self._inputs)
        outputs[0].backward()  # type: ignore[no-untyped-call]
        self._outputs = tuple(output.detach() for output in outputs)


def has_global_hooks() -> bool:
    """Whether something is called in the forward or backward passes of all modules there are."""
    passes = ("forward_pre", "forward", "backward_pre", "backward")
    return any(getattr(module, f"_global_{name}_hooks") for name in passes)
