"""Moving weights of a sparse network that lie in a pattern: n of m inputs, or equally many of each unit (SRigL)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsity.masks import Mask, Place
from sparsity.pruning.drop_and_grow import dropped
from sparsity.pruning.groups import counts_of, in_groups, out_of_groups, round_half_up, top_of_each
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.selection import Selection, top_k


def drop_and_grow_n_m(
    places: Mapping[str, Place], weights: Mapping[str, Tensor], growth: Saliency, mask: Mask, fraction: float, n: int,
    m: int,
) -> Selection:  # fmt: skip
    """Drop the smallest weights of each layer; each group of m grows where `growth` is highest until it has n again.

    A weight that was just dropped may grow again at once, as in `drop_and_grow`. Dense layers are left alone.

    Args:
        places: Of the masked weights, by name.
        weights: By name.
        growth: Which pruned weights to grow.
        mask: With n of each m; where m does not divide the inputs, as `NMSelector` keeps them.
        fraction: Of each layer's kept weights, in [0, 1]; rounded down.
        n: In [1, m).
        m: At least 2.
    """
    masks, by_lot = {name: m.clone() for name, m in mask.items()}, {}
    for name, stays, _ in dropped(weights, mask, fraction):
        place = places[name]
        groups, there = (in_groups(place, t, m) for t in (stays, torch.ones_like(stays)))
        room = counts_of(place, n, m, stays.device) - groups.sum(1)
        grown, lot = top_of_each(in_groups(place, growth[name], m), room, there & ~groups)
        masks[name] = out_of_groups(place, groups | grown, m)
        if lot is not None:
            by_lot[name] = out_of_groups(place, lot, m)
    return Selection(masks, by_lot)


def drop_and_grow_fan_in(
    places: Mapping[str, Place], weights: Mapping[str, Tensor], growth: Saliency, mask: Mask, fraction: float,
    fan_ins: Mapping[str, int], ablation_threshold: float, may_go: Mapping[str, Tensor],
) -> Selection:  # fmt: skip
    """SRigL: drop and grow under a constant fan-in, and ablate units with few salient weights (Lasby et al. 2024).

    A weight is salient if it is none of the layer's smallest, which are dropped, or one of as many that have the
    highest growth. A unit with fewer salient weights than `ablation_threshold` times its fan-in loses all of them for
    good, and the layer's budget, units times its first fan-in, is spread equally over the others: the layer keeps its
    number up to half a weight of each unit. Then each unit that is left grows to its fan-in.

    Args:
        places: Of the masked weights, by name.
        weights: By name.
        growth: Which pruned weights to grow.
        mask: With as many kept weights in all units that are not ablated; others have none.
        fraction: Of each layer's kept weights, in [0, 1]; rounded down.
        fan_ins: How many inputs each unit has before any is ablated.
        ablation_threshold: The authors' gamma_sal, in [0, 1]; 0 ablates none.
        may_go: Bool `[units]` by name, the units that may be ablated; of layers that are not there, none.
    """
    masks, by_lot = {name: m.clone() for name, m in mask.items()}, {}
    for name, left, moved in dropped(weights, mask, fraction):
        place = places[name]
        rows, stays, values = (_rows(place, t) for t in (mask[name], left, growth[name]))
        lives = rows.any(1)
        free = ~stays & lives.unsqueeze(1)
        salient = stays | top_k(values.flatten(), moved, free.flatten()).view_as(free)
        budget = fan_ins[name] * len(rows)
        if ablation_threshold and name in may_go:
            fan_in = int(rows.sum()) / int(lives.sum())
            few = lives & (salient.sum(1) < ablation_threshold * fan_in) & may_go[name].to(lives.device)
            least = -(-budget // rows.shape[1])  # so many units can hold it
            lives = _without(lives, few, salient.sum(1), max(least, 1))
        fan_in = min(rows.shape[1], round_half_up(budget / int(lives.sum())))
        stays &= lives.unsqueeze(1)
        room = (fan_in - stays.sum(1)) * lives
        grown, lot = top_of_each(values, room, ~stays & lives.unsqueeze(1))
        masks[name] = place.from_units((stays | grown).view(place.shape))
        if lot is not None:
            by_lot[name] = place.from_units(lot.view(place.shape))
    return Selection(masks, by_lot)


def _without(lives: Tensor, few: Tensor, salient: Tensor, least: int) -> Tensor:
    """The units that live on: without those that have few salient weights, but at least so many, the best of them."""
    missing = least - int((lives & ~few).sum())
    if missing <= 0:
        return lives & ~few
    return (lives & ~few) | top_k(salient.float(), min(missing, int(few.sum())), few)


def _rows(place: Place, values: Tensor) -> Tensor:
    """One unit in each row, `[units, inputs]`."""
    return place.by_unit(values).reshape(place.units, -1)
