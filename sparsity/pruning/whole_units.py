"""Whole units that go together: what reads a unit goes with what makes it, so that compaction takes it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsity.errors import SparsityError
from sparsity.graph.needed import Unit
from sparsity.masks import Mask, Place
from sparsity.pruning.groups import require_min_kept
from sparsity.pruning.saliency import Saliency, require_finite
from sparsity.pruning.selection import Selection, tie_order

_NEVER = 2**31 - 1


@dataclass(frozen=True)
class _Lines:
    """Where units lie along an axis of a masked weight.

    Args:
        name: Of the weight.
        axis: Of the weight.
        units: int64 `[n]`.
        lines: int64 `[n]`, the row or column of each.
    """

    name: str
    axis: int
    units: Tensor
    lines: Tensor


def removable_rows(places: Mapping[str, Place], removable: Sequence[Unit]) -> dict[str, Tensor]:
    """Which units of each layer are among those that may go.

    Args:
        places: Of the masked weights, by name.
        removable: See `sparsity.graph.needed.removable`.

    Returns:
        Bool `[units]` by name, of layers that have such units.
    """
    axes = {(place.full_name, place.unit_axis): name for name, place in places.items()}
    found: dict[str, Tensor] = {}
    for unit in removable:
        for full_name, axis, line in unit:
            if (name := axes.get((full_name, axis))) is not None:
                found.setdefault(name, torch.zeros(places[name].units, dtype=torch.bool))[line] = True
    return found


class UnitSelector:
    """Prunes units with the lowest saliency: their rows in all layers that make them, their columns in all readers.

    A unit's saliency is the mean over the weights that make it: the sum, of rows that are equally long. The last unit
    of a layer stays.

    Args:
        places: Of the masked weights, by name.
        removable: The units that may go, see `sparsity.graph.needed.removable`; of those that no masked weight makes,
            none does.
        is_ranked_by_kind: Compare units with those that lie in the same layers alone, so that of all kinds the same
            share stays.
    """

    def __init__(self, places: Mapping[str, Place], removable: Sequence[Unit], is_ranked_by_kind: bool) -> None:
        self._places = places
        names = {place.full_name: name for name, place in places.items()}
        rows = {(place.full_name, place.unit_axis) for place in places.values()}
        chosen = [unit for unit in removable if any((name, axis) in rows for name, axis, _ in unit)]
        if not chosen:
            raise SparsityError(
                "no unit of the network can be removed: all are outputs, or bound to their places; use another pattern"
            )
        self._count = len(chosen)
        found: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for number, unit in enumerate(chosen):
            for name, axis, line in unit:
                if name in names:
                    found.setdefault((names[name], axis), []).append((number, line))
        self._lines = [_Lines(name, axis, *torch.tensor(pairs).T) for (name, axis), pairs in found.items()]
        kinds: dict[frozenset[tuple[str, int]], int] = {}
        keys = [frozenset((name, axis) for name, axis, _ in unit if is_ranked_by_kind) for unit in chosen]
        self._kinds = torch.tensor([kinds.setdefault(key, len(kinds)) for key in keys])

    def __call__(
        self, saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0
    ) -> Selection:
        """As few units go as leave at most `count` weights; arguments as of `select`.

        Raises:
            SparsityError: If `count` is below what stays when all units but one of each layer go.
            NonFiniteError: Names the first layer whose saliency is NaN or infinite.
        """
        require_finite(saliency)
        if not isinstance(count, int):
            raise SparsityError("the pattern unit has no counts by layer: units lie in several layers")
        values = self._values(saliency, candidates)
        turns, last = self._turns(values)
        device = next(iter(saliency.values())).device
        when = {name: self._when(name, turns).to(device) for name in saliency}
        gone_by_turn = torch.zeros(last + 1, dtype=torch.int64)
        for name, turn in when.items():
            gone_by_turn += turn[candidates[name]].clamp(max=last).bincount(minlength=last + 1).cpu()
        left = gone_by_turn.sum() - torch.cat([torch.zeros(1, dtype=torch.int64), gone_by_turn[:-1].cumsum(0)])
        enough = (left <= count).nonzero().flatten()
        if not len(enough):
            raise SparsityError(
                f"cannot keep {count:,} weights: without all units that can be taken out, but one of each "
                f"layer, there are {int(left[-1]):,}; ask for a higher density"
            )
        number = int(enough[0])
        masks = {name: candidates[name] & (turn >= number) for name, turn in when.items()}
        require_min_kept(masks, candidates, min_kept, "unit")
        lots = self._lots(values, turns, number, last).to(device)
        by_lot = {name: masks[name] & lots[turn.clamp(max=last).long()] for name, turn in when.items()}
        return Selection(masks, by_lot if lots.any() else {})

    def _lots(self, values: Tensor, turns: Tensor, number: int, last: int) -> Tensor:
        """Of the turns that do not come, bool `[last + 1]`, those of units that equal one of their kind that goes."""
        gone = turns < number
        highest = np.full(int(self._kinds.max()) + 1, -np.inf)
        np.maximum.at(highest, self._kinds[gone].numpy(), values[gone].numpy())
        equal = ~gone & (turns < _NEVER) & (values > -torch.inf) & (values == torch.from_numpy(highest)[self._kinds])
        return torch.zeros(last + 1, dtype=torch.bool).index_fill(0, turns[equal].long(), True)

    def _values(self, saliency: Saliency, candidates: Mask) -> Tensor:
        """The saliency of each unit, float64 `[units]`; -inf where nothing makes it any more."""
        sums, sizes = torch.zeros(2, self._count, dtype=torch.float64)
        for at in self._lines:
            place, mask = self._places[at.name], candidates[at.name]
            if at.axis != place.unit_axis:
                continue
            kept = saliency[at.name].detach().double().where(mask, 0)
            rows = torch.stack([place.by_unit(t).flatten(1).sum(1) for t in (kept, mask.double())]).cpu()
            sums.index_add_(0, at.units, rows[0, at.lines])
            sizes.index_add_(0, at.units, rows[1, at.lines])
        means: Tensor = (sums / sizes).where(sizes > 0, -torch.inf)
        return means

    def _ascending(self, values: Tensor) -> Tensor:
        """The order from the lowest unit to the highest: by their rank in their kind, as a share of it."""
        order = ascending(values)
        by_kind = order[self._kinds[order].argsort(stable=True)]
        sizes = self._kinds.bincount()
        starts = sizes.cumsum(0) - sizes
        rank = torch.empty(self._count, dtype=torch.int64)
        rank[by_kind] = torch.arange(self._count)
        shares = (rank - starts[self._kinds] + 1) / sizes[self._kinds].double()
        return order[shares[order].sort(stable=True).indices]

    def _turns(self, values: Tensor) -> tuple[Tensor, int]:
        """When each unit would go, int64 `[units]`, and how many can; the best of a layer goes never."""
        stays = torch.zeros(self._count, dtype=torch.bool)
        for at in self._lines:
            length = self._places[at.name].weight.shape[at.axis]
            if len(at.lines) == length:
                best = at.units[ascending(values[at.units])[-1]]
                stays[best] = True
        order = self._ascending(values)
        order = order[~stays[order]]
        turns = torch.full((self._count,), _NEVER, dtype=torch.int32)
        turns[order] = torch.arange(len(order), dtype=torch.int32)
        return turns, len(order)

    def _when(self, name: str, turns: Tensor) -> Tensor:
        """The turn in which each weight of a layer goes, shaped so that it broadcasts to the weight."""
        shape = self._places[name].weight.shape
        found = torch.full(shape, _NEVER, dtype=torch.int32)
        for at in self._lines:
            if at.name == name:
                along = torch.full((shape[at.axis],), _NEVER, dtype=torch.int32)
                along[at.lines] = turns[at.units]
                found = torch.minimum(found, along.view([-1 if a == at.axis else 1 for a in range(len(shape))]))
        return found


def ascending(values: Tensor) -> Tensor:
    """The order from the lowest value to the highest, equals in a fixed order by lot."""
    lots = tie_order(len(values), values.device)
    order: Tensor = lots[values[lots].sort(stable=True).indices]
    return order
