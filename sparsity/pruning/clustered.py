"""The structure that good sparse networks share, drawn at random: short runs of neighbouring inputs in few units."""

import torch
from torch import Tensor, nn

from sparsity.masks import masked
from sparsity.seeding import named_generator

LONGEST_RUN = 3
FIRST_LAYER_UNITS = 0.07
HIDDEN_LAYER_UNITS = 0.3


def clustered_saliency(network: nn.Module, seed: int | None = None) -> dict[str, Tensor]:
    """An order in which to fill each layer with short runs of weights that repeat in the next unit.

    Each unit's inputs (of a convolution flattened, channel by channel) are cut at random into runs of 1 to 3 with one
    input left free between two of them. Runs are taken in random order, each in its unit and then in the unit
    after it; where neighbouring units' runs touch, longer ones arise. Free inputs follow when all runs are taken.
    This goes on in the first units of a layer until they are full, then in as many of the following ones: 7 of 100
    units in the first layer, 30 of 100 in hidden ones, all in the last, whose units are the classes. Layers are
    independent.

    Args:
        network: A network with masks, left unchanged.
        seed: Base seed of each layer's own generator; by default the run's.

    Returns:
        Per masked layer, shaped like its weight, float64, distinct numbers in (0, 1]: one ranking over the network
        keeps about the same fraction of every layer.
    """
    places = masked(network)
    names = list(places)
    at_once = dict.fromkeys(places, HIDDEN_LAYER_UNITS) | {names[0]: FIRST_LAYER_UNITS} | {names[-1]: 1.0}
    return {
        name: place.from_units(
            _filling_order(
                place.by_unit(place.weight), at_once[name], named_generator("clustered pruning", name, seed=seed)
            )
        )
        for name, place in places.items()
    }


def _filling_order(weight: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    units, inputs = weight.shape[0], weight[0].numel()
    # A run and the free input after it make a cell of at least 2 inputs.
    lengths = torch.randint(1, LONGEST_RUN + 1, (units, inputs // 2 + 1), generator=generator)
    ends = (lengths + 1).cumsum(1)
    positions = torch.arange(inputs).expand(units, -1).contiguous()
    cell = torch.searchsorted(ends, positions, right=True)
    is_free = ends.gather(1, cell) == positions + 1
    turn = torch.rand(lengths.shape, generator=generator, dtype=torch.float64).gather(1, cell) + is_free
    turn[1:] = torch.minimum(turn[1:], turn[:-1])

    at_once = max(1, round(fraction * units))
    turn += 2 * (torch.arange(units) // at_once).unsqueeze(1)
    order = turn.flatten().argsort(stable=True)
    saliency = torch.empty(order.numel(), dtype=torch.float64)
    saliency[order] = torch.arange(order.numel(), 0, -1, dtype=torch.float64) / order.numel()
    return saliency.view(weight.shape).to(weight.device)
