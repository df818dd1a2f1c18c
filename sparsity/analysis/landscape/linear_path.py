"""Linear mode connectivity: loss and accuracy on the straight line between two networks."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_whole_number
from sparsity.forward.labels import NO_LABEL, require_labels
from sparsity.forward.passes import eval_mode, evaluating, refusing
from sparsity.forward.tensors import logits_of
from sparsity.graph.layers import placement, require_plain
from sparsity.graph.weights import FloatArray

_BATCH = 500


@dataclass(frozen=True, eq=False)
class LinearPath:
    """What lies between two networks.

    Args:
        positions: `[points]`, the share of the second network, from 0 to 1.
        losses: `[points]`, mean cross-entropy.
        accuracies: `[points]`, in [0, 1].
    """

    positions: FloatArray
    losses: FloatArray
    accuracies: FloatArray

    @property
    def error_barrier(self) -> float:
        """The largest error on the line above the mean of its ends' (the instability of Frankle et al. 2020)."""
        return float((self.accuracies[0] + self.accuracies[-1]) / 2 - self.accuracies.min())

    @property
    def loss_barrier(self) -> float:
        """The largest loss on the line above the mean of its ends'."""
        return float(self.losses.max() - (self.losses[0] + self.losses[-1]) / 2)

    def rows(self) -> list[dict[str, float]]:
        """One for each point."""
        columns = {"position": self.positions, "loss": self.losses, "accuracy": self.accuracies}
        return [dict(zip(columns, map(float, values), strict=True)) for values in zip(*columns.values(), strict=True)]


def linear_path(
    a: nn.Module,
    b: nn.Module,
    images: Tensor,
    labels: Tensor,
    points: int = 30,
    statistics_from: Tensor | None = None,
) -> LinearPath:
    """Loss and accuracy of the networks `(1 - t) a + t b`.

    Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", section 2. Weights that only one
    of two sparse networks keeps are on their way to zero.

    Args:
        a: A classifier; left unchanged.
        b: Another of the same architecture, its units in the order to compare; left unchanged.
        images: `[n, *input_shape]`.
        labels: `[n]`, class indices.
        points: How many, the ends among them, at least 2.
        statistics_from: Training images `[n, *input_shape]` on which the running statistics of normalisation layers
            are computed anew at every point: those of the ends, interpolated, are nobody's.

    Raises:
        SparsityError: If the networks differ in their tensors, or images or labels do not fit.
    """
    require_whole_number("points", points, at_least=2)
    for network in (a, b):
        require_plain(network)
    ours, theirs = _interpolated_tensors(a), _interpolated_tensors(b)
    if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        raise SparsityError("there is a line between networks of one architecture only; the tensors of these differ")
    between = copy.deepcopy(a)
    places = _interpolated_tensors(between)
    device, dtype = placement(between)
    images, labels = images.to(device, dtype), labels.to(device)
    positions = np.linspace(0, 1, points)
    found = []
    for position in positions:
        with torch.no_grad():
            for name, tensor in places.items():
                tensor.copy_((1 - position) * ours[name] + position * theirs[name].to(device))
        if statistics_from is not None:
            reset_statistics(between, statistics_from.to(device, dtype))
        found.append(_loss_and_accuracy(between, images, labels))
    losses, accuracies = np.array(found).T
    return LinearPath(positions, losses, accuracies)


@torch.no_grad()
def reset_statistics(network: nn.Module, images: Tensor) -> None:
    """Compute the running means and variances of a network's batch normalisations anew, as means over batches.

    Args:
        network: Changed in place; everything but these layers runs as in evaluation.
        images: `[n, *input_shape]`.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    with eval_mode(network), _cumulative(norms):
        for batch in torch.split(images, _BATCH):
            if len(batch) > 1 or len(images) == 1:
                network(batch)


@contextmanager
def _cumulative(norms: list[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def has_statistics(network: nn.Module) -> bool:
    """Whether a network has normalisation layers whose statistics `reset_statistics` computes."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats for m in network.modules())


def _interpolated_tensors(network: nn.Module) -> dict[str, Tensor]:
    tensors: Mapping[str, Tensor] = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: tensor.detach() for name, tensor in tensors.items() if tensor.is_floating_point()}


@torch.no_grad()
def _loss_and_accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    losses, hits = [], []
    with evaluating(network), refusing(network, images):
        for x, y in zip(torch.split(images, _BATCH), torch.split(labels, _BATCH), strict=True):
            logits = logits_of(network(x))
            require_labels(y, logits)
            losses.append(F.cross_entropy(logits.double(), y, reduction="sum"))
            hits.append((logits.argmax(1) == y).sum())
    labelled = int((labels != NO_LABEL).sum())
    if not labelled:
        raise SparsityError("no image has a label; loss and accuracy need some")
    return float(torch.stack(losses).sum()) / labelled, int(torch.stack(hits).sum()) / labelled
