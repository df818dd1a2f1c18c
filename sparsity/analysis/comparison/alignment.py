"""Matching the units of two networks of any architecture, group by group, along their forward pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from sparsity.analysis.assignment import assign_breaking_ties
from sparsity.analysis.comparison.measures import DistanceMeasure
from sparsity.graph.chain import connection_strengths, place_factors, scaled
from sparsity.graph.layers import analysed, parameter_names, without_parametrisations
from sparsity.graph.meanings import Meaning, meaning, roles
from sparsity.graph.sample import Given, trace_of
from sparsity.graph.trace import Trace
from sparsity.graph.units import Group, Member, permuted, unit_groups
from sparsity.graph.weight_uses import WeightUse, weight_uses
from sparsity.graph.weights import FloatArray, IntArray, unit_vectors
from sparsity.masks import Place
from sparsity.seeding import named_generator

_FEATURES = 16
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Units:
    """A network's units: in which groups they may change places, and all tensors that they lie in.

    Args:
        network: Any network; left unchanged.
        input_shape: What it takes, as in `sparsity.graph.sample`; by default the network's own.

    Raises:
        SparsityError: If nobody says what the network takes, or it cannot be traced.
    """

    network: nn.Module
    input_shape: Given = None

    @cached_property
    def plain(self) -> nn.Module:
        """The network, its weights computed where it is parametrised."""
        return without_parametrisations(self.network)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Its analysed weights, by full parameter name."""
        names = parameter_names(self.plain)
        return {names[place.weight]: place for place in analysed(self.plain).values()}

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Its groups, in the order in which a forward pass makes their units."""
        turn: dict[str, int] = {}
        for number, use in enumerate(self._uses):
            turn.setdefault(use.parameter, number)

        def first(group: Group) -> int:
            makers = [turn.get(member.name, len(turn)) for member in group.members if self.decides(member)]
            return min(makers, default=len(turn))

        return tuple(sorted(unit_groups(self._trace), key=first))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Effective parameters and floating-point buffers, float64, by full name."""
        found = {}
        for name, tensor in [*self.plain.named_parameters(), *self.plain.named_buffers()]:
            if tensor.is_floating_point():
                place = self.places.get(name)
                kept = place.mask if place is not None and place.has_mask else None
                values = tensor.detach() if kept is None else tensor.detach().masked_fill(~kept, 0)
                found[name] = values.cpu().double()
        return found

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """Those of `tensors` that are trained, and no statistics."""
        names = dict(self.plain.named_parameters())
        return {name: tensor for name, tensor in self.tensors.items() if name in names}

    @cached_property
    def signatures(self) -> list[FloatArray]:
        """What the units of each group are connected to, `[units, features]`, whatever order any units have."""
        return signatures(self.tensors, self.groups)

    def makes(self, member: Member) -> bool:
        """Whether a group's units are the rows of that analysed weight, and not what it reads."""
        return member.axis in self._unit_axes.get(member.name, ())

    def decides(self, member: Member) -> bool:
        """Whether a group's units are what that weight makes: the rows of an analysed one, the columns of a table."""
        return self.makes(member) or (member.name in self._tables and member.axis == 1)

    @cached_property
    def _trace(self) -> Trace:
        return trace_of(self.plain, self.input_shape)

    @cached_property
    def _uses(self) -> list[WeightUse]:
        return weight_uses(self._trace, roles(self._trace))

    @cached_property
    def _tables(self) -> set[str]:
        """The names of look-up tables, `[entries, units]`."""
        return {use.parameter for use in self._uses if meaning(use.node) == Meaning.LOOK_UP}

    @cached_property
    def _unit_axes(self) -> dict[str, tuple[int, ...]]:
        """Of each weight the axes along which a unit has a single place."""
        return {name: tuple(filter(partial(_is_of_units, place), range(place.weight.ndim)))
                for name, place in self.places.items()}  # fmt: skip

    def rows(self, name: str, tensors: Mapping[str, Tensor]) -> FloatArray:
        """An analysed weight's units as vectors, `[units, n]`."""
        return unit_vectors(self.places[name].by_unit(tensors[name]).numpy())

    def deciding_rows(self, member: Member, tensors: Mapping[str, Tensor]) -> FloatArray:
        """The same of any weight that decides on a group."""
        return self.rows(member.name, tensors) if self.makes(member) else tensors[member.name].T.numpy()


def matched_units(a: Units, b: Units, measure: DistanceMeasure) -> tuple[list[IntArray], dict[str, Tensor]]:
    """Match the units of every group one to one.

    Groups are matched in the order of the forward pass, each by the mean distance of its units in those weights that
    make them and read only what is matched already; a residual stream is matched once, by the layer that begins it or
    the look-up tables of a network that reads tokens.
    Among equally good matchings that one wins whose units are connected most alike.

    Args:
        a: A network.
        b: Another of the same architecture.
        measure: Of the distance of two units.

    Returns:
        For each group of `a`, `[units]`: the unit of `b` for each of `a`'s; and the tensors of `b` in that order.
    """
    tensors, matchings, matched = b.tensors, [], set[int]()
    for number, (group, other) in enumerate(zip(a.groups, b.groups, strict=True)):
        costs = [
            measure.between_units(a.deciding_rows(member, a.tensors)[places], b.deciding_rows(member, tensors)[places])
            for member in _deciding(a, number, matched)
            for places in member.index.T.numpy()
        ]
        cost = np.mean(costs, axis=0) if costs else np.zeros((group.size, group.size))
        alike = partial(bray_curtis, a.signatures[number], b.signatures[number])
        matching = assign_breaking_ties(cost, alike)
        matchings.append(matching)
        tensors = permuted(tensors, [other], [torch.from_numpy(matching)])
        matched.add(number)
    return matchings, tensors


def matching_of(b: Units, name: str, matchings: Sequence[IntArray]) -> IntArray:
    """The unit of `b` for each of a weight's units; a unit that is in no group stays where it is."""
    order = np.arange(b.places[name].units)
    for group, matching in zip(b.groups, matchings, strict=True):
        for member in group.members:
            if member.name == name and b.makes(member):
                places = member.index.numpy()
                order[places] = places[matching]
    return order


def _is_of_units(place: Place, axis: int) -> bool:
    shape = place.weight.shape
    along = torch.arange(shape[axis]).view([-1 if other == axis else 1 for other in range(len(shape))])
    rows = place.by_unit(along.expand(shape)).flatten(1)
    return bool((rows == rows[:, :1]).all())


def bray_curtis(a: FloatArray, b: FloatArray, rows_a: IntArray, rows_b: IntArray) -> FloatArray:
    """Bray-Curtis dissimilarity `sum |a - b| / sum (a + b)` of non-negative rows, in [0, 1]; 0 if both are zero."""
    a, b = a[rows_a], b[rows_b]
    apart = cdist(a, b, "cityblock")
    together = a.sum(axis=1)[:, None] + b.sum(axis=1)[None, :]
    return cast(FloatArray, np.divide(apart, together, out=np.zeros_like(apart), where=together > 0))


def _deciding(units: Units, number: int, matched: set[int]) -> list[Member]:
    """The weights by which a group is matched: those that read what is matched, or else all that make its units."""
    group_of = [{member.name for member in group.members if not units.decides(member)} for group in units.groups]
    makers = [member for member in units.groups[number].members if units.decides(member) and member.rows is None]
    ready = [
        member
        for member in makers
        if all(other in matched for other, readers in enumerate(group_of) if member.name in readers)
    ]
    return ready or makers


def signatures(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> list[FloatArray]:
    """Describe what every unit is connected to, whatever order the units of any group have.

    Each unit starts as all others of its group and takes in, round by round, the features of what it reads and feeds,
    weighted by the strengths of the connections (colour refinement with real numbers). Inputs, outputs and positions
    have features of their own, drawn once, the same for all networks.

    Args:
        tensors: Effective parameters and buffers, by full name.
        groups: Of the network.

    Returns:
        For each group `[units, 16]`, non-negative.
    """
    features = [np.ones((group.size, _FEATURES)) for group in groups]
    connections = _connections(tensors, groups)
    for _ in range(_ROUNDS):
        messages = _messages(tensors, groups, connections, features)
        features = [
            scaled(
                0.5 * own
                + sum(
                    messages[member.name, member.axis][places] * factor
                    for member in group.members
                    if member.rows is None
                    for places, factor in _blocks(member.index.numpy())
                )
            )
            for group, own in zip(groups, features, strict=True)
        ]
    return features


def _connections(
    tensors: Mapping[str, Tensor], groups: Sequence[Group]
) -> dict[tuple[str, int], tuple[int | None, FloatArray]]:
    """For every axis with units the axis that its places take in from, and how strongly, `[places, places there]`."""
    found: dict[tuple[str, int], tuple[int | None, FloatArray]] = {}
    with_units = {(member.name, member.axis) for group in groups for member in group.members if member.rows is None}
    for name, axis in sorted(with_units):
        strengths = connection_strengths(tensors[name].numpy())
        others = [other for other in range(strengths.ndim) if other != axis and strengths.shape[other] > 1]
        longest = max(others, key=lambda o: strengths.shape[o], default=None)
        other = next((o for o in others if (name, o) in with_units), longest)
        if other is None:
            found[name, axis] = None, np.moveaxis(strengths, axis, 0).reshape(strengths.shape[axis], 1)
        else:
            rows = np.moveaxis(strengths, (axis, other), (0, 1))
            rows = rows.reshape(*rows.shape[:2], -1)
            found[name, axis] = other, rows @ place_factors(rows.shape[2])
    return found


def _messages(
    tensors: Mapping[str, Tensor],
    groups: Sequence[Group],
    connections: Mapping[tuple[str, int], tuple[int | None, FloatArray]],
    features: Sequence[FloatArray],
) -> dict[tuple[str, int], FloatArray]:
    """For every axis with units what its places take in from the other axes, `[places, features]`."""
    # Columns of a convolution in groups mean something else in each.
    uneven = {member.name for group in groups for member in group.members if member.rows is not None}
    along: dict[tuple[str, int], FloatArray] = {}
    for group, own in zip(groups, features, strict=True):
        for member in group.members:
            if member.rows is None:
                size = tensors[member.name].shape[member.axis]
                there = along.setdefault((member.name, member.axis), _drawn(member.name, member.axis, size))
                for places, factor in _blocks(member.index.numpy()):
                    there[places] = own * factor
    found = {}
    for (name, axis), (other, strengths) in connections.items():
        if other is None or name in uneven:
            there = np.ones((strengths.shape[1], _FEATURES))
        else:
            there = along.get((name, other), _drawn(name, other, strengths.shape[1]))
        found[name, axis] = np.roll(scaled(strengths @ there), 1, axis=1) * _drawn(name, axis, 1)
    return found


def _blocks(index: IntArray) -> Iterator[tuple[IntArray, float]]:
    yield from zip(index.T, place_factors(index.shape[1]).tolist(), strict=True)


def _drawn(name: str, axis: int, size: int) -> FloatArray:
    generator = named_generator("features of places", name, axis, seed=0)
    features: FloatArray = torch.rand(size, _FEATURES, generator=generator, dtype=torch.float64).numpy()
    return features + 0.5
