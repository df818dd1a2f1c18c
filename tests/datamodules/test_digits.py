import socket

import pytest
import torch

from sparsity.datamodules import Digits
from sparsity.datamodules.digits import is_test
from sparsity.networks import FC


def test_digits_suit_the_default_network() -> None:
    data = Digits()
    data.setup()
    images, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert FC()(images).shape == (128, 10)
    assert labels.dtype == torch.int64


def test_digits_come_without_any_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    data = Digits()
    data.prepare_data()
    data.setup()


def test_the_numbers_of_the_docstring_are_those_of_the_data() -> None:
    train, test = Digits().read(train=True), Digits().read(train=False)
    assert (len(train[1]), len(test[1])) == (1438, 359)
    assert train[0].shape == (1438, 1, 28, 28)
    assert train[0].dtype == torch.uint8
    assert (train[0].min(), train[0].max()) == (0, 255)
    pixels = train[0] / 255
    assert pixels.mean().item() == pytest.approx(Digits.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(Digits.std[0], abs=1e-3)


def test_each_class_gives_a_fifth_to_the_test_images_whatever_the_seed() -> None:
    labels = torch.cat([Digits().read(train=True)[1], Digits().read(train=False)[1]])
    torch.manual_seed(1)
    first = is_test(labels)
    torch.manual_seed(2)
    assert torch.equal(first, is_test(labels))
    for label in range(10):
        of_class = labels == label
        assert first[of_class].sum() == round(0.2 * int(of_class.sum()))


def test_no_image_is_in_both_parts() -> None:
    train, test = ({i.numpy().tobytes() for i in Digits().read(train)[0]} for train in (True, False))
    assert not train & test
