"""How many paths lead from the input of a network to its output, and how heavy they are, in the log domain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sparsity.graph.scaled import ScaledRun, log10, total

Power = Literal[0, 1, 2]


@dataclass(frozen=True, eq=False)
class PathSum:
    """The sum over all paths of the product of their weights, each to a power.

    Args:
        log10: Its logarithm to base 10; minus infinity if there is no path.
        shares: By full parameter name, shaped like it: the share of the sum that runs through each weight, in [0, 1];
            zeros if there is no path. Empty if nobody asked.
    """

    log10: float
    shares: Mapping[str, Tensor]


def path_sum(
    run: ScaledRun, network: nn.Module, kept: Mapping[str, Tensor], power: Power, shares_of: tuple[str, ...] = ()
) -> PathSum:
    """Add up the paths of a network's linearised graph, see `sparsity.graph.flow.Flow`.

    Args:
        run: Of the network's graph.
        network: Without parametrisations; left unchanged.
        kept: By full name which weights of the masked parameters count, bool.
        power: 0 counts paths, 1 and 2 weigh them by the absolute values of their weights and by the squares.
        shares_of: Full names of parameters.

    Raises:
        SparsityError: If an operation is not known.
    """
    parameters, buffers = _to_power(network, kept, power)
    for name in shares_of:
        parameters[name].requires_grad_()
    with torch.set_grad_enabled(bool(shares_of)):
        found = total(run.flow(parameters, buffers))
    weights = [parameters[name] for name in shares_of]
    if found is None or not found.tensor.requires_grad:
        return PathSum(log10(found), {n: torch.zeros_like(w) for n, w in zip(shares_of, weights, strict=True)})
    gradients = torch.autograd.grad(found.tensor, weights, allow_unused=True, materialize_grads=True)
    whole = found.tensor.detach()
    shares = {n: (w.detach() * g.detach() / whole) for n, w, g in zip(shares_of, weights, gradients, strict=True)}
    return PathSum(log10(found), shares)


def _to_power(
    network: nn.Module, kept: Mapping[str, Tensor], power: Power
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parameters = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        values = parameter.detach().cpu().double()
        counts = kept[name].cpu() if name in kept else values != 0
        parameters[name] = torch.where(counts, values.abs() ** power, 0.0)
    buffers = {name: buffer.detach().cpu() for name, buffer in network.named_buffers()}
    buffers = {n: b.double() if b.is_floating_point() else b for n, b in buffers.items()}
    for path, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            name = f"{path}.running_var".lstrip(".")
            # So that the factor 1 / sqrt(variance + eps) becomes its own power.
            buffers[name] = (buffers[name].abs() + module.eps) ** power - module.eps
    return parameters, buffers
