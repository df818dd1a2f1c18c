import pytest
import torch

from sparsity.metrics import ClassificationTotals


def test_totals_are_means_over_samples_not_batches() -> None:
    totals = ClassificationTotals()
    logits = torch.tensor([[2.0, 1, 0, 0, 0, 0], [0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]])
    labels = torch.tensor([0, 5, 0])
    totals.update(torch.tensor(1.0), logits[:2], labels[:2])
    totals.update(torch.tensor(4.0), logits[2:], labels[2:])
    means = totals.compute()
    assert means["loss"] == 2
    assert means["accuracy"] == pytest.approx(1 / 3)
    assert means["top5_accuracy"] == pytest.approx(2 / 3)  # the last one's label is sixth


def test_a_network_that_says_nothing_is_as_good_as_chance() -> None:
    totals = ClassificationTotals()
    totals.update(torch.tensor(0.0), torch.zeros(7, 10), torch.tensor([0, 1, 2, 0, 9, 9, 9]))
    assert totals.compute()["accuracy"] == pytest.approx(0.1)
    assert totals.compute()["top5_accuracy"] == pytest.approx(0.5)


def test_nan_has_no_hits() -> None:
    totals = ClassificationTotals()
    totals.update(torch.tensor(0.0), torch.full((2, 10), torch.nan), torch.tensor([0, 1]))
    totals.update(torch.tensor(0.0), torch.tensor([[0.0, *[torch.nan] * 9]]), torch.tensor([0]))
    assert totals.compute()["accuracy"] == totals.compute()["top5_accuracy"] == 0


def test_tied_classes_share_the_places_that_are_left() -> None:
    totals = ClassificationTotals()
    # One ahead of three that share the second place: never first, and sure to be among five.
    totals.update(torch.tensor(0.0), torch.tensor([[3.0, 2, 2, 2, 1, 1, 1]]), torch.tensor([2]))
    # Four ahead of three that share the last of five places.
    totals.update(torch.tensor(0.0), torch.tensor([[1.0, 1, 1, 2, 2, 2, 2]]), torch.tensor([0]))
    assert totals.compute()["accuracy"] == 0
    assert totals.compute()["top5_accuracy"] == pytest.approx((1 + 1 / 3) / 2)
