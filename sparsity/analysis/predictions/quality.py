"""How good the probabilities of a classifier are, and how well it knows each class."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsity.forward.labels import NO_LABEL, require_labels

BINS = 15


@dataclass(frozen=True)
class Quality:
    """Numbers beyond accuracy, all better where they are lower.

    Args:
        expected_calibration_error: In [0, 1], how far confidence and accuracy are apart, see the function.
        negative_log_likelihood: At least 0, in nats; infinite where a label has probability 0, NaN of logits that are.
        brier_score: In [0, 2], see the function.
    """

    expected_calibration_error: float
    negative_log_likelihood: float
    brier_score: float


def quality(logits: Tensor, labels: Tensor) -> Quality:
    """Measure probabilities, in float64.

    Args:
        logits: `[n, classes]`.
        labels: `[n]`, class indices; images with `NO_LABEL` are left out, and there is another.

    Raises:
        SparsityError: If they do not fit.
    """
    require_labels(labels, logits)
    labelled = labels != NO_LABEL
    logits, labels = logits[labelled].double(), labels[labelled]
    probabilities = logits.softmax(1)
    return Quality(
        expected_calibration_error(probabilities, labels),
        F.cross_entropy(logits, labels).item(),
        brier_score(probabilities, labels),
    )


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """The mean gap between confidence and accuracy (Guo et al. 2017, eq. 3), in [0, 1].

    Images are sorted into bins of equal width by their highest probability; of each bin the difference of the mean
    confidence and the share of right predictions counts by its images.

    Args:
        probabilities: `[n, classes]`, n at least 1.
        labels: `[n]`, class indices.
        bins: Each includes its lower edge, the last one both.
    """
    confidence, predicted = probabilities.max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=probabilities.dtype)
    number = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=probabilities.dtype)
    gaps.index_add_(0, number, confidence - (predicted == labels).to(probabilities.dtype))
    return (gaps.abs().sum() / len(labels)).item()


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """The mean squared distance of probabilities and the right answer, over all classes (Brier 1950), in [0, 2].

    Args:
        probabilities: `[n, classes]`, n at least 1.
        labels: `[n]`, class indices.
    """
    right = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    return ((probabilities - right) ** 2).sum(1).mean().item()


def class_accuracies(logits: Tensor, labels: Tensor) -> dict[int, tuple[int, float]]:
    """By class that has images, how many, and the share of them that is predicted.

    Args:
        logits: `[n, classes]`.
        labels: `[n]`, class indices; `NO_LABEL` does not count.
    """
    hits = logits.argmax(1) == labels
    found = {}
    for label in range(logits.shape[1]):
        chosen = labels == label
        if count := int(chosen.sum()):
            found[label] = (count, int((hits & chosen).sum()) / count)
    return found
