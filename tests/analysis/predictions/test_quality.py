import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from sparsity.analysis.predictions.quality import brier_score, class_accuracies, expected_calibration_error, quality
from sparsity.errors import SparsityError
from sparsity.forward.labels import NO_LABEL


def test_calibration_error_by_hand() -> None:
    # Confidence 0.9 twice, right once: gap 0.4 of two in four; 0.6 twice, right twice: gap 0.4. In all 0.4.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], dtype=torch.float64)
    assert expected_calibration_error(probabilities, torch.tensor([0, 1, 0, 1])) == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_is_that_of_torchmetrics(bins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = (3 * torch.randn(500, 7, generator=generator, dtype=torch.float64)).softmax(1)
    labels = torch.randint(7, (500,), generator=generator)
    theirs = multiclass_calibration_error(probabilities, labels, num_classes=7, n_bins=bins, norm="l1")
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(theirs.item(), abs=1e-6)


def test_a_network_that_is_sure_and_right_is_perfect() -> None:
    found = quality(torch.eye(4) * 1000, torch.arange(4))
    assert (found.expected_calibration_error, found.negative_log_likelihood, found.brier_score) == (0, 0, 0)


def test_a_network_that_says_nothing_has_the_numbers_of_chance() -> None:
    # Over ten classes: log 10 nats, and 0.9^2 + 9 * 0.1^2 = 0.9.
    found = quality(torch.zeros(20, 10), torch.arange(20) % 10)
    assert found.negative_log_likelihood == pytest.approx(math.log(10), abs=1e-12)
    assert found.brier_score == pytest.approx(0.9, abs=1e-12)
    assert found.expected_calibration_error == pytest.approx(0, abs=1e-12)


def test_brier_score_of_a_sure_error_is_2() -> None:
    assert brier_score(torch.tensor([[1.0, 0.0]]), torch.tensor([1])) == 2


def test_classes_are_counted_one_by_one_and_images_without_label_are_not() -> None:
    logits = torch.eye(3)[[0, 0, 1, 2]]
    labels = torch.tensor([0, 1, 1, NO_LABEL])
    assert class_accuracies(logits, labels) == {0: (1, 1.0), 1: (2, 0.5)}
    assert quality(logits, labels) == quality(logits[:3], labels[:3])


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SparsityError, match="labels go from 3 to 3"):
        quality(torch.zeros(1, 3), torch.tensor([3]))
