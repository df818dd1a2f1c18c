"""Groups of weights that each keep the same number: n of m consecutive inputs, or a unit's fan-in."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsity.errors import SparsityError
from sparsity.masks import Mask, Place
from sparsity.pruning.blocks import three_axes
from sparsity.pruning.saliency import Saliency, require_finite
from sparsity.pruning.selection import Selection, select
from sparsity.seeding import named_generator


def top_of_each(values: Tensor, counts: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor | None]:
    """Mark the highest entries of each group.

    Args:
        values: `[groups, size]`, without NaN.
        counts: `[groups]`, how many to mark; of a group with fewer candidates, all of them.
        candidates: `[groups, size]`, bool, the entries to choose from.

    Returns:
        `[groups, size]`, bool; and which of the marked entries a lot chose among equals, None if it chose none.
    """
    values = values.detach().where(candidates, -torch.inf)
    counts = torch.minimum(counts, candidates.sum(1))
    ranking = values.sort(dim=1, descending=True).values
    threshold = ranking.gather(1, (counts - 1).clamp(min=0).unsqueeze(1)).where(counts.unsqueeze(1) > 0, torch.inf)
    chosen = (values >= threshold).logical_and_(candidates)
    full = (chosen.sum(1) > counts).nonzero().flatten()
    if not len(full):
        return chosen, None
    tied = values[full] == threshold[full]
    above = chosen[full] & ~tied
    room = counts[full] - above.sum(1)
    generator = named_generator("order of equal saliencies in groups", *tied.shape, seed=0)
    lot = torch.rand(tied.shape, generator=generator).to(values.device).where(tied, 2.0)
    drawn = lot.argsort(1).argsort(1) < room.unsqueeze(1)
    chosen[full] = above | drawn
    return chosen, torch.zeros_like(chosen).index_put((full,), drawn)


@dataclass(frozen=True)
class NMSelector:
    """Keeps n of each m consecutive inputs of a unit, of a convolution at each position of its kernel.

    Where m does not divide the inputs, the last ones keep their share, rounded; a layer of fewer inputs than m keeps
    all.

    Args:
        places: Of the masked weights, by name.
        n: In [1, m).
        m: At least 2.
    """

    places: Mapping[str, Place]
    n: int
    m: int

    def __call__(
        self, saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0
    ) -> Selection:
        """As many of each m, from m down to n, as come closest to `count` weights; arguments as of `select`.

        Raises:
            SparsityError: If that leaves a layer less than `min_kept`.
            NonFiniteError: Names the first layer whose saliency is NaN or infinite.
        """
        require_finite(saliency)
        asked = count if isinstance(count, int) else sum(count.values())
        total = sum(mask.numel() for mask in candidates.values())
        n = min(self.m, max(self.n, round_half_up(self.m * asked / total)))
        masks, by_lot = {}, {}
        for name, values in saliency.items():
            place = self.places[name]
            groups = in_groups(place, values, self.m), counts_of(place, n, self.m, values.device)
            chosen, lot = top_of_each(*groups, in_groups(place, candidates[name], self.m))
            masks[name] = out_of_groups(place, chosen, self.m)
            if lot is not None:
                by_lot[name] = out_of_groups(place, lot, self.m)
        require_min_kept(masks, candidates, min_kept, f"{n}:{self.m}")
        return Selection(masks, by_lot)

    def exceptions(self) -> list[str]:
        """What m does not divide, in words, by layer."""
        found = []
        for name, place in self.places.items():
            inputs = three_axes(place)[1]
            if inputs < self.m:
                found.append(f"{name} has {inputs} inputs and keeps all")
            elif rest := inputs % self.m:
                found.append(f"{name} keeps {round_half_up(self.n * rest / self.m)} of the last {rest} inputs")
        return found


@dataclass(frozen=True)
class FanInSelector:
    """Keeps equally many inputs of every unit of a layer: its fan-in (of a convolution at all positions together).

    How many weights a layer has is what one ranking of all weights leaves it, or what an allocation says.

    Args:
        places: Of the masked weights, by name.
    """

    places: Mapping[str, Place]

    def __call__(
        self, saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0
    ) -> Selection:
        """Each unit's highest inputs, in number as of `fan_ins`; arguments as of `select`.

        Raises:
            SparsityError: If more weights are asked for than there are.
            NonFiniteError: Names the first layer whose saliency is NaN or infinite.
        """
        require_finite(saliency)
        if isinstance(count, int):
            # What rounding took off before cannot come back.
            available = int(torch.stack([candidates[name].sum() for name in saliency]).sum())
            ranking = select(saliency, min(count, available), candidates, min_kept).masks
            count = dict(zip(ranking, torch.stack([mask.sum() for mask in ranking.values()]).tolist(), strict=True))
        masks, by_lot = {}, {}
        for name, kept in fan_ins(self.places, count, min_kept).items():
            place = self.places[name]
            rows, own = (place.by_unit(t).reshape(place.units, -1) for t in (saliency[name], candidates[name]))
            chosen, lot = top_of_each(rows, torch.full((place.units,), kept, device=rows.device), own)
            masks[name] = place.from_units(chosen.view(place.shape))
            if lot is not None:
                by_lot[name] = place.from_units(lot.view(place.shape))
        return Selection(masks, by_lot)


def fan_ins(places: Mapping[str, Place], counts: Mapping[str, int], min_kept: int = 0) -> dict[str, int]:
    """How many inputs each unit of a layer keeps, at least 1.

    Rounded down, and then up in as many layers as fit into the number of weights asked for, those first that lost most.
    Where one input of each unit is more than a layer's share, layers with many inputs make room.

    Args:
        places: Of the masked weights, by name.
        counts: The weights asked for, by layer.
        min_kept: Each layer keeps at least so many weights.
    """
    units = {name: three_axes(place)[0] for name, place in places.items()}
    shares = {name: counts[name] / units[name] for name in places}
    floors = {n: max(1, -(-min(min_kept, p.mask.numel()) // units[n])) for n, p in places.items()}
    found = {name: max(int(share), floors[name]) for name, share in shares.items()}
    left = sum(counts.values()) - sum(found[name] * units[name] for name in places)
    while left < 0 and (more := [name for name in places if found[name] > floors[name]]):
        densest = max(more, key=lambda name: found[name])  # makes room for what others keep at least
        found[densest] -= 1
        left += units[densest]
    for name in sorted(places, key=lambda name: found[name] - shares[name]):
        if found[name] < shares[name] and units[name] <= left:
            found[name] += 1
            left -= units[name]
    return found


def in_groups(place: Place, values: Tensor, m: int) -> Tensor:
    """Values shaped like a weight in rows of m consecutive inputs, `[groups, m]`; what the last ones lack is 0."""
    units, inputs, positions = three_axes(place)
    rows = place.by_unit(values).reshape(units, inputs, positions).transpose(1, 2)
    return F.pad(rows, (0, -inputs % m)).reshape(-1, m)


def out_of_groups(place: Place, groups: Tensor, m: int) -> Tensor:
    """The way back from `in_groups`."""
    units, inputs, positions = three_axes(place)
    rows = groups.view(units, positions, -1)[:, :, :inputs].transpose(1, 2)
    return place.from_units(rows.reshape(place.shape))


def counts_of(place: Place, n: int, m: int, device: torch.device) -> Tensor:
    """How many inputs each row of `in_groups` keeps, int64 `[groups]`."""
    units, inputs, positions = three_axes(place)
    per_row = torch.full((-(-inputs // m),), n, device=device)
    if inputs < m:
        per_row[-1] = inputs
    elif rest := inputs % m:
        per_row[-1] = round_half_up(n * rest / m)
    return per_row.repeat(units * positions)


def round_half_up(share: float) -> int:
    """To the next whole number; halves up."""
    return int(share + 0.5)


def require_min_kept(masks: Mask, candidates: Mask, min_kept: int, pattern: str) -> None:
    """Refuse a pattern that leaves a layer less than `min_kept`.

    Raises:
        SparsityError: Names the layer.
    """
    if not min_kept:
        return
    counts = torch.stack([torch.stack([mask.sum(), candidates[n].sum()]) for n, mask in masks.items()]).tolist()
    for name, (kept, available) in zip(masks, counts, strict=True):
        if kept < min(min_kept, available):
            raise SparsityError(
                f"the pattern {pattern} leaves layer {name!r} {kept} weights, and min_kept is {min_kept}; lower it"
            )
