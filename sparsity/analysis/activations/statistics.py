"""What correlations and similarities are computed from: every network sees every image once, no response is kept."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsity.analysis.activations.kernels import LayerKernels
from sparsity.analysis.activations.moments import LayerMoments
from sparsity.analysis.activations.responses import AN_OPERATION, Point, seen_responses, unit_axis
from sparsity.errors import SparsityError
from sparsity.graph.layers import analysed
from sparsity.graph.weights import FloatArray
from sparsity.masks import Place


@dataclass(frozen=True, eq=False)
class ResponseStatistics:
    """Of some networks whose layers are paired in forward order.

    Args:
        layers: By network the names of its layers whose answers are seen, in order.
        moments: By layer, in order: of every network and of every two.
        kernels: Likewise.
    """

    layers: Mapping[str, Sequence[str]]
    moments: Sequence[LayerMoments]
    kernels: Sequence[LayerKernels]


def response_statistics(
    networks: Mapping[str, nn.Module], images: Tensor, point: Point, batch_size: int
) -> ResponseStatistics:
    """Pass images through networks in batches and gather what compares them.

    Args:
        networks: By name; left unchanged.
        images: `[n, *input_shape]`.
        point: As in `responses`.
        batch_size: Images at a time.

    Raises:
        SparsityError: If the networks' layers differ in number, units or positions, or images do not fit, or no layer's
            answers are seen; those of single layers are left out with a warning.
    """
    layers = {network: list(analysed(module).items()) for network, module in networks.items()}
    _require_same_units([[place.units for _, place in found] for found in layers.values()])
    if len(images) == 0:
        raise SparsityError("there are no images to correlate responses over; give at least one")
    moments: list[LayerMoments] = []
    kernels: list[LayerKernels] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        answers = {network: seen_responses(module, batch, point) for network, module in networks.items()}
        if not moments:
            layers = _seen(layers, answers)
            first = next(iter(layers))
            moments = [
                LayerMoments(list(networks), place.units, _rounding(answers[first][name]))
                for name, place in layers[first]
            ]
            kernels = [LayerKernels(list(networks)) for _ in moments]
        for place, (of_units, of_images) in enumerate(zip(moments, kernels, strict=True)):
            names = {network: found[place][0] for network, found in layers.items()}
            columns = {
                network: _columns(answers[network].pop(names[network]), found[place][1])
                for network, found in layers.items()
            }
            _require_same_positions(names, columns, len(batch))
            of_units.add(columns)
            of_images.add({network: found.reshape(len(batch), -1) for network, found in columns.items()})
    return ResponseStatistics(
        {network: [name for name, _ in found] for network, found in layers.items()}, moments, kernels
    )


def _seen(
    layers: Mapping[str, Sequence[tuple[str, Place]]], answers: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, list[tuple[str, Place]]]:
    """The layers whose answers are seen in all networks; the others are named in a warning.

    Raises:
        SparsityError: If there is none.
    """
    rows = list(zip(*layers.values(), strict=True))
    seen = [all(name in answers[network] for network, (name, _) in zip(layers, row, strict=True)) for row in rows]
    left_out = [row[0][0] for row, is_seen in zip(rows, seen, strict=True) if not is_seen]
    if not any(seen):
        raise SparsityError(f"no layer runs as {AN_OPERATION}: there are no answers to correlate")
    if left_out:
        # From one place, so that Python says it once.
        warnings.warn(
            f"activations of {', '.join(left_out)} are left out: they do not run as {AN_OPERATION}", stacklevel=1
        )
    return {
        network: [layer for layer, kept in zip(found, seen, strict=True) if kept] for network, found in layers.items()
    }


def _require_same_units(units: Sequence[Sequence[int]]) -> None:
    for others in units[1:]:
        if others != units[0]:
            raise SparsityError(
                f"only networks with the same units per layer can be matched; these have {units[0]} and {others}"
            )


def _require_same_positions(names: Mapping[str, str], columns: Mapping[str, FloatArray], images: int) -> None:
    (first, of_first), *others = columns.items()
    for other, of_other in others:
        if len(of_other) != len(of_first):
            raise SparsityError(
                f"layers {names[first]!r} and {names[other]!r} answer at different numbers of positions, "
                f"{len(of_first) // images} and {len(of_other) // images}"
            )


def _rounding(response: Tensor) -> float:
    """Of a sum of terms that may be a hundred times as large."""
    return 100 * torch.finfo(response.dtype).eps


def _columns(response: Tensor, place: Place) -> FloatArray:
    """Responses as `[images * positions, units]`."""
    columns = response.movedim(unit_axis(place), -1).flatten(0, -2)
    return columns.cpu().double().numpy()
