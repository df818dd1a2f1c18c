"""The loss around a network: its gradient, the eigenvalues and trace of its Hessian, and how sharp it is.

Derivatives are by all parameters but pruned weights, on which nothing depends that the network can reach.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.analysis.landscape.directions import Directions, kept_directions
from sparsity.errors import NonFiniteError, SparsityError, require_whole_number
from sparsity.forward.labels import NO_LABEL, require_labels
from sparsity.forward.passes import refusing
from sparsity.forward.tensors import logits_of
from sparsity.graph.layers import placement
from sparsity.graph.weights import FloatArray
from sparsity.seeding import named_generator

_BATCH = 500


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace.

    Args:
        mean: Of the probes.
        standard_error: Of that mean; NaN of a single probe.
    """

    mean: float
    standard_error: float


def gradient_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The norm of the loss's gradient by the kept weights and all other parameters: the gradient flow.

    Evci et al. 2022, "Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win".

    Args:
        network: A classifier; left unchanged. It is looked at in evaluation mode.
        images: `[n, *input_shape]`.
        labels: `[n]`, class indices; the loss is the mean cross-entropy.

    Raises:
        SparsityError: If images or labels do not fit.
        NonFiniteError: If the gradient is NaN or infinite.
    """
    with _surface(network, images, labels) as surface:
        return float(surface.gradient().double().norm())


def hessian_eigenvalues(network: nn.Module, images: Tensor, labels: Tensor, count: int = 1) -> FloatArray:
    """The largest eigenvalues of the loss's Hessian, by Lanczos iterations on products with it.

    Args:
        network: As in `gradient_norm`.
        images: As in `gradient_norm`.
        labels: As in `gradient_norm`.
        count: How many, at least 1.

    Returns:
        `[count]`, falling; fewer if there are fewer parameters.

    Raises:
        SparsityError: As `gradient_norm`, and if the iterations do not converge.
        NonFiniteError: As `gradient_norm`.
    """
    require_whole_number("count", count, at_least=1)
    with _surface(network, images, labels) as surface:
        size = surface.directions.size
        if size <= max(2 * count, 20):
            rows = [surface.product(row).double().cpu().numpy() for row in torch.eye(size)]
            matrix = np.stack(rows)
            return np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1][:count].copy()

        def product(vector: FloatArray) -> FloatArray:
            found: FloatArray = surface.product(torch.from_numpy(np.ravel(vector))).double().cpu().numpy()
            return found

        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype=np.float64)
        start = torch.randn(size, generator=named_generator("hessian eigenvalues", seed=0), dtype=torch.float64)
        tolerance = 1e-10 if placement(network)[1] == torch.float64 else 1e-4
        try:
            found: FloatArray = scipy.sparse.linalg.eigsh(
                operator, k=count, which="LA", v0=start.numpy(), tol=tolerance, return_eigenvectors=False
            )
        except scipy.sparse.linalg.ArpackError as error:
            raise SparsityError(f"the Hessian's eigenvalues do not converge: {error}") from error
        return np.sort(found)[::-1].copy()


def hessian_trace(network: nn.Module, images: Tensor, labels: Tensor, probes: int = 30, seed: int = 0) -> TraceEstimate:
    """The trace of the loss's Hessian by Hutchinson's estimator: the mean of `v H v` over signs v drawn at random.

    Args:
        network: As in `gradient_norm`.
        images: As in `gradient_norm`.
        labels: As in `gradient_norm`.
        probes: How many vectors, at least 1.
        seed: Of the draws.

    Raises:
        SparsityError: As `gradient_norm`.
        NonFiniteError: As `gradient_norm`.
    """
    require_whole_number("probes", probes, at_least=1)
    generator = named_generator("hessian trace", seed=seed)
    with _surface(network, images, labels) as surface:
        found = []
        for _ in range(probes):
            signs = torch.randint(2, (surface.directions.size,), generator=generator).double() * 2 - 1
            found.append(float(signs @ surface.product(signs).double().cpu()))
    error = float(np.std(found, ddof=1) / math.sqrt(probes)) if probes > 1 else float("nan")
    return TraceEstimate(float(np.mean(found)), error)


def sharpness(network: nn.Module, images: Tensor, labels: Tensor, radius: float = 0.05, steps: int = 1) -> float:
    """How much the loss rises within a ball around the parameters, found by ascent along the gradient.

    One step goes straight to the ball's surface, as SAM does (Foret et al. 2021, "Sharpness-Aware Minimization for
    Efficiently Improving Generalization", eq. 2). Several go `2 radius / steps` each, are cut back to the ball, and the
    highest loss on the way counts. Either is a lower bound of what a better search would find.

    Args:
        network: As in `gradient_norm`.
        images: As in `gradient_norm`.
        labels: As in `gradient_norm`.
        radius: Of the ball, in the Euclidean norm, above 0.
        steps: At least 1.

    Returns:
        The highest loss found less the loss in the middle, at least 0; 0 if the gradient is 0.

    Raises:
        SparsityError: As `gradient_norm`, and if the radius is not above 0.
        NonFiniteError: As `gradient_norm`.
    """
    require_whole_number("steps", steps, at_least=1)
    if not 0 < radius < math.inf:
        raise SparsityError(f"the radius is a number above 0, not {radius}")
    length = radius if steps == 1 else 2 * radius / steps
    with _surface(network, images, labels) as surface:
        middle = highest = surface.loss()
        place = torch.zeros(surface.directions.size, dtype=torch.float64)
        for _ in range(steps):
            with surface.directions.moved(place):
                gradient = surface.gradient().double().cpu()
            norm = float(gradient.norm())
            if norm == 0:
                break
            place = place + gradient * (length / norm)
            place = place * min(1.0, radius / float(place.norm()))
            with surface.directions.moved(place):
                highest = max(highest, surface.loss())
    return highest - middle


class _Surface:
    """The mean loss as a function of the kept parameters."""

    def __init__(self, network: nn.Module, directions: Directions, images: Tensor, labels: Tensor) -> None:
        self.directions = directions
        self._network = network
        self._batches = list(zip(torch.split(images, _BATCH), torch.split(labels, _BATCH), strict=True))
        self._labelled = int((labels != NO_LABEL).sum())
        if not self._labelled:
            raise SparsityError("no image has a label; the loss needs some")

    def _losses(self) -> Iterator[Tensor]:
        for images, labels in self._batches:
            with refusing(self._network, images):
                logits = logits_of(self._network(images))
            require_labels(labels, logits)
            yield F.cross_entropy(logits, labels, reduction="sum", ignore_index=NO_LABEL) / self._labelled

    @torch.no_grad()
    def loss(self) -> float:
        return float(torch.stack([loss.double() for loss in self._losses()]).sum())

    def gradient(self) -> Tensor:
        return self._checked(sum(self.directions.flat(self._gradients(loss)) for loss in self._losses()))

    def product(self, vector: Tensor) -> Tensor:
        """The Hessian times a vector `[size]`, by differentiating the gradient's product with it."""
        direction = self.directions.spread(vector)
        found: Tensor | int = 0
        for loss in self._losses():
            gradients = self._gradients(loss, create_graph=True)
            slope = torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()
            if slope.requires_grad:  # else the loss is linear in all parameters
                found = found + self.directions.flat(self._gradients(slope))
        if isinstance(found, int):
            return torch.zeros(self.directions.size)
        return self._checked(found)

    def _gradients(self, value: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
        if not value.requires_grad:
            raise SparsityError(f"the loss of {type(self._network).__name__} depends on none of its parameters")
        try:
            return torch.autograd.grad(
                value, self.directions.parameters, create_graph=create_graph, allow_unused=True, materialize_grads=True
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise SparsityError(f"{type(self._network).__name__} cannot be differentiated so: {reason}") from error

    def _checked(self, vector: Tensor | int) -> Tensor:
        assert isinstance(vector, Tensor)
        if not vector.isfinite().all():
            raise NonFiniteError("a derivative of the loss is NaN or infinite; check the weights and the images")
        return vector.detach()


@contextmanager
def _surface(network: nn.Module, images: Tensor, labels: Tensor) -> Iterator[_Surface]:
    device, dtype = placement(network)
    if images.is_floating_point() or images.dtype == torch.uint8:
        images = images.to(dtype)
    if len(images) != len(labels):
        raise SparsityError(f"there are {len(images)} images and {len(labels)} labels; give as many of each")
    with kept_directions(network) as directions:
        yield _Surface(network, directions, images.to(device), labels.to(device))
