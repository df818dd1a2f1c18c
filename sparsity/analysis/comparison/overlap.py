"""How much two masks of the same network have in common, against chance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from sparsity.errors import SparsityError
from sparsity.graph.weights import BoolArray, Weights, layer_masks


@dataclass(frozen=True)
class LayerOverlap:
    """Weights that two masks of a layer both keep.

    Args:
        kept_a: Weights kept by the first mask.
        kept_b: Weights kept by the second.
        intersection: Weights kept by both.
        iou: Intersection over union, in [0, 1]; 1 if both masks are empty.
        chance_intersection: Mean intersection of two random masks of these sizes, `kept_a * kept_b / size`.
        chance_iou: Intersection over union at that mean, in [0, 1].
        z: Standard deviations by which the intersection is above chance (hypergeometric); 0 where chance leaves no
            choice, as in dense or empty layers.
    """

    kept_a: int
    kept_b: int
    intersection: int
    iou: float
    chance_intersection: float
    chance_iou: float
    z: float


@dataclass(frozen=True)
class MaskOverlap:
    """Overlap by layer, and of all layers together.

    Args:
        layers: By layer name of the first network, in order.
        overall: Counts added up over layers. Chance knows the layers' densities: it shuffles within layers only.
    """

    layers: dict[str, LayerOverlap]
    overall: LayerOverlap


def mask_overlap(a: nn.Module | Weights, b: nn.Module | Weights) -> MaskOverlap:
    """Compare two masks of one network weight by weight, units in their given order.

    Args:
        a: A network, or effective weights by layer name.
        b: Another of the same layer shapes; its layers may have other names.

    Raises:
        SparsityError: If the layers differ in number or shape.
    """
    return overlap_of_masks(layer_masks(a), layer_masks(b))


def overlap_of_masks(masks_a: Mapping[str, BoolArray], masks_b: Mapping[str, BoolArray]) -> MaskOverlap:
    """The same of masks by layer name."""
    shapes_a, shapes_b = ([list(mask.shape) for mask in masks.values()] for masks in (masks_a, masks_b))
    if shapes_a != shapes_b:
        raise SparsityError(f"only masks of the same layer shapes overlap; these have {shapes_a} and {shapes_b}")
    counts = {
        name: (int(mask_a.sum()), int(mask_b.sum()), int((mask_a & mask_b).sum()), mask_a.size)
        for (name, mask_a), mask_b in zip(masks_a.items(), masks_b.values(), strict=True)
    }
    chances = {name: _chance(kept_a, kept_b, size) for name, (kept_a, kept_b, _, size) in counts.items()}
    layers = {name: _overlap(counts[name][:3], chances[name]) for name in counts}
    kept_a, kept_b, intersection, _ = map(sum, zip(*counts.values(), strict=True))
    mean, variance = map(sum, zip(*chances.values(), strict=True))
    return MaskOverlap(layers, _overlap((kept_a, kept_b, intersection), (mean, variance)))


def _chance(kept_a: int, kept_b: int, size: int) -> tuple[float, float]:
    """Mean and variance of the intersection of two random masks (hypergeometric distribution)."""
    if size < 2:
        return float(kept_a * kept_b), 0.0
    mean = kept_a * kept_b / size
    return mean, mean * (size - kept_a) / size * (size - kept_b) / (size - 1)


def _overlap(counts: tuple[int, int, int], chance: tuple[float, float]) -> LayerOverlap:
    kept_a, kept_b, intersection = counts
    mean, variance = chance
    kept = kept_a + kept_b
    return LayerOverlap(
        kept_a=kept_a,
        kept_b=kept_b,
        intersection=intersection,
        iou=intersection / (kept - intersection) if kept else 1.0,
        chance_intersection=mean,
        chance_iou=mean / (kept - mean) if kept else 1.0,
        z=(intersection - mean) / math.sqrt(variance) if variance > 0 else 0.0,
    )
