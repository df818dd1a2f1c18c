"""Synaptic flow R on the linearised network: what an input of ones gives when nothing saturates, mixes or cuts.

The network's graph is rewritten once, operation by operation (`linearised`), and then runs as generated code.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from sparsity.errors import SparsityError
from sparsity.graph.linearised import linearised
from sparsity.graph.trace import Trace

_STATISTICS = ("running_mean", "running_var")


class Flow:
    """R of one architecture, for the parameters of any network that has it.

    R is the summed output for an input of ones (Tanaka et al. 2020, algorithm 1). Bounded and saturating functions,
    dropout and softmax are the identity, but in attention, whose weights become 1 / length: R is then the mean over
    positions of the values, and queries and keys have no flow. Differences are sums and constants count by their
    absolute values. A normalisation over the sample's own numbers is a product with its scale; BatchNorm stays what
    it is, with the statistics that it is given. Token ids enter by ones in place of their embedding.

    Args:
        trace: A network's graph.
        device: Where the parameters are.

    Raises:
        SparsityError: If an operation is not known.
    """

    parameters: tuple[str, ...]
    """Full names of the parameters that it takes."""
    buffers: tuple[str, ...]
    """Full names of the buffers that it takes."""

    def __init__(self, trace: Trace, device: torch.device | str = "cpu") -> None:
        found = linearised(trace, torch.device(device))
        self.parameters = found.parameters
        self.buffers = found.buffers
        self._run = fx.GraphModule(found.constants, found.graph)
        self._run.requires_grad_(False)

    def __call__(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> Tensor:
        """R, one number, to be differentiated with respect to the parameters.

        Args:
            parameters: By full name the parameters' absolute values, float64; more than are taken may be there.
            buffers: By full name the values of buffers, float64, statistics by their absolute values.

        Raises:
            SparsityError: If one is missing.
        """
        try:
            given = [parameters[name] for name in self.parameters] + [buffers[name] for name in self.buffers]
        except KeyError as error:
            raise SparsityError(f"the flow needs {error}, which is not among the given parameters or buffers") from None
        outputs = self._run(*given)
        return torch.stack([output.sum() for output in outputs]).sum()


def absolute_values(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What `Flow` takes of a network: parameters and running statistics by their absolute values, in float64.

    Other buffers, such as indices and the values of an attention's mask, stay as they are.

    Args:
        network: Any network; left unchanged.

    Returns:
        Parameters and buffers by full name, copies; parameters do not require gradients yet.
    """
    parameters = {name: _absolute(parameter.detach()) for name, parameter in network.named_parameters()}
    buffers = {
        name: _absolute(buffer)
        if name.rpartition(".")[2] in _STATISTICS
        else (buffer.double() if buffer.is_floating_point() else buffer)
        for name, buffer in network.named_buffers()
    }
    return parameters, buffers


def _absolute(tensor: Tensor) -> Tensor:
    # A fifth off convolutions, which dominate.
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    values: Tensor = tensor.to(torch.float64, memory_format=layout)
    return values.abs()


def synaptic_flow(flow: Flow, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The saliency `|dR/dw * w|` of every parameter that is given with gradients.

    Args:
        flow: Of the network's architecture.
        parameters: As `Flow` takes them; those that require gradients are scored.
        buffers: As `Flow` takes them.

    Raises:
        SparsityError: If R depends on none of them.
    """
    scored: dict[str, Any] = {name: tensor for name, tensor in parameters.items() if tensor.requires_grad}
    with torch.enable_grad():
        total = flow(parameters, buffers)
    if not total.requires_grad:
        raise SparsityError("the flow depends on none of the given parameters")
    gradients = torch.autograd.grad(total, list(scored.values()), allow_unused=True, materialize_grads=True)
    return {
        name: gradient.detach().mul_(weight.detach()).abs_()
        for (name, weight), gradient in zip(scored.items(), gradients, strict=True)
    }
