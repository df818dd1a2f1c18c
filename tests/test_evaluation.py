"""Accuracy where it means something, and one line where it does not."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sparsity.errors import SparsityError
from sparsity.evaluation import known_accuracy, read_test_images


class Data(pl.LightningDataModule):
    def __init__(self, *columns: Tensor) -> None:
        super().__init__()
        self.columns = columns

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.columns), batch_size=2)


LOGITS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def test_the_share_of_labelled_images_whose_label_has_the_highest_logit() -> None:
    assert known_accuracy(nn.Identity(), LOGITS, torch.tensor([0, 1, 2, 2])) == 3 / 4
    assert known_accuracy(nn.Identity(), LOGITS, torch.tensor([0, -100, 2, 2])) == 2 / 3


@pytest.mark.parametrize(
    ("network", "labels", "reason"),
    [
        (nn.Identity(), None, "the labels are no class indices"),
        (nn.Identity(), torch.tensor([0, 1, 2, 3]), "labels go from 0 to 3, and the network has 3 outputs"),
        (nn.Unflatten(1, (3, 1, 1)), torch.tensor([0, 1, 2, 2]), r"output is shaped \[4, 3, 1, 1\] for 4 labels"),
        (nn.Linear(3, 1), torch.tensor([0, 1, 1, 0]), r"output is shaped \[4, 1\] for 4 labels"),
        (nn.Identity(), torch.full((4,), -100), "no image has a label"),
    ],
)
def test_what_is_no_accuracy_is_left_out_with_a_line(network: nn.Module, labels: Tensor | None, reason: str) -> None:
    with pytest.warns(UserWarning, match=f"accuracy is not measured and is left out: .*{reason}"):
        assert known_accuracy(network, LOGITS, labels) is None


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SparsityError, match=r"the data do not fit: Linear cannot take images of shape \[3\]"):
        known_accuracy(nn.Linear(2, 2), LOGITS, torch.tensor([0, 1, 1, 0]))


@pytest.mark.parametrize(
    "columns", [(LOGITS,), (LOGITS, LOGITS), (LOGITS, LOGITS[:, 0]), (LOGITS, LOGITS.long()), (LOGITS, LOGITS, LOGITS)]
)
def test_labels_that_are_no_class_indices_are_none(columns: tuple[Tensor, ...]) -> None:
    images, labels = read_test_images(Data(*columns))
    assert images is not None
    assert torch.equal(images, LOGITS)
    assert labels is None


def test_images_and_class_indices_are_read_whole() -> None:
    images, labels = read_test_images(Data(LOGITS, torch.arange(4)))
    assert images is not None
    assert labels is not None
    assert torch.equal(images, LOGITS)
    assert labels.tolist() == [0, 1, 2, 3]
    assert read_test_images(None) == (None, None)


def test_batches_that_do_not_start_with_images_are_refused() -> None:
    class Named(Data):
        def test_dataloader(self) -> DataLoader[Any]:
            return DataLoader([{"x": row} for row in LOGITS])  # type: ignore[arg-type]

    with pytest.raises(SparsityError, match="a test batch starts with a dict; give tensors"):
        read_test_images(Named())
