"""Networks modulo permutation: the order of a network's units in which it is most like another one."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast, get_args

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from sparsity.analysis.activations.correlation import activation_correlation
from sparsity.analysis.assignment import assign_breaking_ties
from sparsity.analysis.comparison.alignment import Units, bray_curtis, matched_units
from sparsity.analysis.comparison.measures import DistanceMeasure
from sparsity.errors import SparsityError, require_whole_number
from sparsity.graph.layers import analysed, parameter_names, require_plain
from sparsity.graph.sample import Given
from sparsity.graph.units import Group, Member, permuted
from sparsity.graph.weights import FloatArray, IntArray
from sparsity.masks import SUFFIX
from sparsity.seeding import named_generator

Matching = Literal["weights", "activations"]

IMAGES_TO_ALIGN_BY = 1000
"""How many images are enough to match units by their activations."""

_MOST_ROUNDS = 100


@dataclass(frozen=True, eq=False)
class Alignment:
    """In which order a network's units are most like those of another.

    Args:
        groups: Of the network that is to be put in order.
        orders: For each group, `[units]`: the unit of that network that comes to each place.
        similarity: Cosine of all parameters of the two networks, after that; in [-1, 1].
        similarity_before: The same before.
    """

    groups: tuple[Group, ...]
    orders: tuple[IntArray, ...]
    similarity: float
    similarity_before: float

    @property
    def moved(self) -> int:
        """How many units change their place."""
        return sum(int((order != np.arange(len(order))).sum()) for order in self.orders)


def align(
    a: nn.Module,
    b: nn.Module,
    matching: Matching = "weights",
    images: Tensor | None = None,
    input_shape: Given = None,
    starts: int = 3,
    seed: int = 0,
) -> Alignment:
    """Find the order of `b`'s units in which it is most like `a`; `apply` puts them in it.

    `weights` maximises the inner product of all parameters (Ainsworth et al. 2023, "Git Re-Basin", section 3.2): one
    bilinear assignment per group of tied units, group by group in random order, until none gains. It stops in a local
    maximum; the best of several starts is taken. The first start follows the forward pass as `network_distance` does,
    and finds a relabelled copy exactly; the second is the given order; others are random.

    `activations` maximises the correlation of units' activations (ibid., section 3.1; Li et al. 2015), summed over the
    layers that make a group's units. Groups whose activations are not seen are matched by weights after that.

    Args:
        a: A network; left unchanged.
        b: Another of the same architecture; left unchanged.
        matching: By what.
        images: `[n, *input_shape]`, for `activations`.
        input_shape: As in `network_distance`.
        starts: How many starts `weights` has, at least 1.
        seed: Of the random orders.

    Raises:
        SparsityError: If the networks cannot be traced or differ in their layers, or there are no images to match by.

    Example:
        >>> from sparsity.networks import FC
        >>> a = FC((1, 4, 4), num_classes=3, width=8, depth=2)
        >>> align(a, copy.deepcopy(a)).moved
        0
    """
    if matching not in get_args(Matching):
        raise SparsityError(f"there is no matching by {matching!r}; there are {', '.join(get_args(Matching))}")
    require_whole_number("starts", starts, at_least=1)
    one, other = Units(a, input_shape), Units(b, input_shape)
    ours, theirs = one.parameters, other.parameters
    if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
        raise SparsityError("only networks of one architecture can be aligned; the parameters of these differ")
    if matching == "activations":
        if images is None:
            raise SparsityError("matching by activations needs images; give some, or match by weights")
        orders = _by_activations(one, other, images, seed)
    else:
        orders = _by_weights(one, other, starts, seed)
    moved = permuted(theirs, other.groups, [torch.from_numpy(order) for order in orders])
    return Alignment(other.groups, tuple(orders), _cosine(ours, moved), _cosine(ours, theirs))


def apply(network: nn.Module, alignment: Alignment) -> nn.Module:
    """A copy of a network whose units are in the order of an alignment; it computes what the network does.

    Args:
        network: The second one that was aligned, or another of its architecture; left unchanged. Masks move with their
            weights.
        alignment: From `align`.

    Raises:
        SparsityError: If its weights are computed from others, by `torch.nn.utils.parametrize`.
    """
    require_plain(network)
    found = copy.deepcopy(network)
    tensors = _tensors(found)
    orders = [torch.from_numpy(order) for order in alignment.orders]
    with torch.no_grad():
        for name, moved in permuted(tensors, alignment.groups, orders).items():
            if moved is not tensors[name]:
                tensors[name].copy_(moved)
    return found


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, and masks under the names of their weights, whatever module has them."""
    names = parameter_names(network)
    kept = {names[place.weight] + SUFFIX: place.mask for place in analysed(network).values() if place.has_mask}
    return dict(network.named_parameters()) | dict(network.named_buffers()) | kept


def _cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    norms = [sum(float(t.square().sum()) for t in one.values()) ** 0.5 for one in (a, b)]
    product = sum(float((t * b[name]).sum()) for name, t in a.items())
    return product / (norms[0] * norms[1]) if all(norms) else 0.0


def _by_weights(a: Units, b: Units, starts: int, seed: int) -> list[IntArray]:
    ours, theirs = a.parameters, b.parameters
    best: tuple[float, list[IntArray]] | None = None
    for start in range(starts):
        generator = named_generator("weight matching", start, seed=seed)
        if start == 0:
            orders = matched_units(a, b, _EUCLIDEAN)[0]
        elif start == 1:
            orders = [np.arange(group.size) for group in b.groups]
        else:
            orders = [torch.randperm(group.size, generator=generator).numpy() for group in b.groups]
        tensors = permuted(theirs, b.groups, [torch.from_numpy(order) for order in orders])
        orders, tensors = _ascend(ours, tensors, b.groups, orders, range(len(b.groups)), generator)
        found = _cosine(ours, tensors)
        if best is None or found > best[0] + 1e-12:
            best = found, orders
    assert best is not None
    return best[1]


def _ascend(
    ours: Mapping[str, Tensor],
    tensors: dict[str, Tensor],
    groups: Sequence[Group],
    orders: Sequence[IntArray],
    free: Sequence[int],
    generator: torch.Generator,
) -> tuple[list[IntArray], dict[str, Tensor]]:
    """Put one group after the other in the order that gains most, until none gains."""
    orders = list(orders)
    for _ in range(_MOST_ROUNDS):
        gained = False
        for place in torch.randperm(len(free), generator=generator).tolist():
            number = free[place]
            group = groups[number]
            step = linear_sum_assignment(_inner_products(ours, tensors, group), maximize=True)[1]
            candidate = permuted(tensors, [group], [torch.from_numpy(step)])
            names = {member.name for member in group.members if member.name in ours}
            before, after = (sum(float((ours[n] * t[n]).sum()) for n in names) for t in (tensors, candidate))
            # A group that lies on both axes of a recurrent weight is not bilinear, and may lose.
            if after > before + 1e-12 * abs(before):
                tensors, gained = candidate, True
                orders[number] = orders[number][step]
        if not gained:
            break
    return orders, tensors


def _inner_products(a: Mapping[str, Tensor], b: Mapping[str, Tensor], group: Group) -> FloatArray:
    """`[units, units]`: what each unit of `b` would add to the inner product in each place."""
    total = torch.zeros(group.size, group.size, dtype=torch.float64)
    for member in group.members:
        if member.name in a:
            total += _rows(a[member.name], member) @ _rows(b[member.name], member).T
    return cast(FloatArray, total.numpy())


def _rows(tensor: Tensor, member: Member) -> Tensor:
    part = tensor if member.rows is None else tensor[member.rows]
    return part.movedim(member.axis, 0).flatten(1)[member.index].flatten(1) if part.ndim > 1 else part[member.index]


def _by_activations(a: Units, b: Units, images: Tensor, seed: int) -> list[IntArray]:
    seen = activation_correlation(a.plain, b.plain, images).layers
    names = parameter_names(a.plain)
    layer_of = {names[place.weight]: layer for layer, place in analysed(a.plain).items()}
    orders, unseen = [], []
    for number, group in enumerate(b.groups):
        found = [
            seen[layer].correlation[np.ix_(places, places)]
            for member in group.members
            if b.makes(member) and (layer := layer_of.get(member.name)) in seen
            for places in member.index.T.numpy()
        ]
        if found:  # units that never answer are told apart by what they are connected to
            alike = partial(bray_curtis, a.signatures[number], b.signatures[number])
            orders.append(assign_breaking_ties(1 - np.mean(found, axis=0), alike))
        else:
            orders.append(np.arange(group.size))
            unseen.append(number)
    ours = a.parameters
    tensors = permuted(b.parameters, b.groups, [torch.from_numpy(order) for order in orders])
    return _ascend(ours, tensors, b.groups, orders, unseen, named_generator("weight matching", seed=seed))[0]


def _euclidean(a: FloatArray, b: FloatArray) -> FloatArray:
    squares = cdist(a, b, "sqeuclidean")
    return cast(FloatArray, squares / (squares.max() or 1.0))


_EUCLIDEAN = DistanceMeasure(name="euclidean", between_units=_euclidean)
"""What falls as the inner product grows, between vectors of given lengths."""
