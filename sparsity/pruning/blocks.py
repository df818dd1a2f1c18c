"""Blocks of weights that are kept or pruned whole: r units by c inputs, or the kernels of convolutions."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError
from sparsity.masks import Mask, Place
from sparsity.pruning.saliency import Saliency, require_finite
from sparsity.pruning.selection import Selection, ranked, tie_order


@dataclass(frozen=True)
class BlockShape:
    """The size of a block; those at the edges of a layer, or of a group of a convolution, are smaller.

    Args:
        units: Rows.
        inputs: Channels of a convolution.
        is_kernel: Whether all positions of a convolution's kernel are in it; else each has blocks of its own.
    """

    units: int
    inputs: int
    is_kernel: bool = False


KERNEL = BlockShape(1, 1, is_kernel=True)


@dataclass(frozen=True)
class BlockSelector:
    """Keeps the blocks with the highest saliency, each whole.

    A block's saliency is the mean over its weights that may be kept: the sum, of blocks that are equally large. Sums of
    blocks of different sizes do not compare: any kernel would be worth more than any weight of a Linear.

    Args:
        places: Of the masked weights, by name.
        shape: Of a block.
    """

    places: Mapping[str, Place]
    shape: BlockShape

    def __call__(
        self, saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0
    ) -> Selection:
        """The longest prefix of the ranking that has at most `count` weights; arguments as of `select`.

        Raises:
            SparsityError: If the blocks that `min_kept` requires have more weights than are asked for.
            NonFiniteError: Names the first layer whose saliency is NaN or infinite.
        """
        require_finite(saliency)
        sizes = {n: self._pooled(n, candidates[n].float()) for n in saliency}
        means = {}
        for name, values in saliency.items():
            values = values.detach()
            wide = values.float() if values.element_size() < 4 else values
            means[name] = self._pooled(name, wide.where(candidates[name], 0)) / sizes[name].clamp(min=1)
            if min_kept:
                means[name].masked_fill_(_required(means[name], sizes[name], min_kept), torch.inf)
        if isinstance(count, int):
            layers = list(saliency)
            lengths = [means[name].numel() for name in layers]
            flat_means, flat_sizes = (torch.cat([t[n].flatten() for n in layers]) for t in (means, sizes))
            kept, lots = _longest_prefix(flat_means, flat_sizes, count, "the network")
            chosen = dict(zip(layers, torch.split(kept, lengths), strict=True))
            by_lot = {} if lots is None else dict(zip(layers, torch.split(lots, lengths), strict=True))
        else:
            chosen, by_lot = {}, {}
            for name in saliency:
                flat = means[name].flatten(), sizes[name].flatten()
                chosen[name], lot = _longest_prefix(*flat, count[name], f"layer {name!r}")
                if lot is not None:
                    by_lot[name] = lot
        return Selection(*({n: self._weights(n, t) & candidates[n] for n, t in ts.items()} for ts in (chosen, by_lot)))

    def _sizes(self, name: str) -> tuple[int, int, int, int, int, int]:
        """Groups, units in each, inputs, positions; units and inputs of a block."""
        units, inputs, positions = three_axes(self.places[name])
        groups = int(getattr(self.places[name].module, "groups", 1))
        return groups, units // groups, inputs, positions, self.shape.units, self.shape.inputs

    def _pooled(self, name: str, values: Tensor) -> Tensor:
        """Sums over blocks, `[groups, blocks of units, blocks of inputs, positions]`; one position of whole kernels."""
        groups, units, inputs, positions, r, c = self._sizes(name)
        rows = self.places[name].by_unit(values).reshape(groups, units, inputs, positions)
        if self.shape.is_kernel and isinstance(self.places[name].module, nn.modules.conv._ConvNd):
            return rows.sum(3, keepdim=True)
        padded = F.pad(rows, (0, 0, 0, -inputs % c, 0, -units % r))
        return padded.reshape(groups, -(-units // r), r, -(-inputs // c), c, positions).sum((2, 4))

    def _weights(self, name: str, blocks: Tensor) -> Tensor:
        """What a bool for each block says of the weights in it, shaped like the weight."""
        groups, units, inputs, positions, r, c = self._sizes(name)
        blocks = blocks.reshape(groups, -(-units // r), -(-inputs // c), -1)
        rows = blocks.repeat_interleave(r, 1)[:, :units].repeat_interleave(c, 2)[:, :, :inputs]
        place = self.places[name]
        return place.from_units(rows.expand(-1, -1, -1, positions).reshape(place.shape))


def three_axes(place: Place) -> tuple[int, int, int]:
    """Units, inputs of each (channels of a convolution), and positions in its kernel."""
    shape = (*place.shape, 1, 1)
    return shape[0], shape[1], max(1, place.shape[2:].numel())


def _longest_prefix(values: Tensor, sizes: Tensor, count: int, where: str) -> tuple[Tensor, Tensor | None]:
    """The highest blocks `[n]` that have at most `count` weights together, and which of them a lot chose."""
    there = sizes > 0
    order = tie_order(len(values), values.device)
    ranking = values.where(there, -torch.inf)[order].sort(descending=True, stable=True)
    sums = sizes[order][ranking.indices].double().cumsum(0)
    required = torch.where(ranking.values == torch.inf, sums, 0).max()
    fits = (sums <= count) & (ranking.values > -torch.inf)
    number, least = torch.stack([fits.sum(), required]).tolist()
    if least > count:
        raise SparsityError(
            f"cannot keep {count} weights of {where}: the blocks that stay by min_kept have {int(least)}"
        )
    return ranked(values, int(number), there)


def _required(values: Tensor, sizes: Tensor, at_least: int) -> Tensor:
    """The highest blocks of a layer until they have so many weights, or all there are."""
    flat = values.flatten()
    ranking = flat.where(sizes.flatten() > 0, -torch.inf).sort(descending=True, stable=True)
    in_order = sizes.flatten()[ranking.indices].double()
    before = in_order.cumsum(0) - in_order
    chosen = (before < at_least) & (ranking.values > -torch.inf)
    return torch.zeros_like(flat, dtype=torch.bool).index_put((ranking.indices,), chosen).view_as(values)
