from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsity.datamodules import MNIST, FashionMNIST
from sparsity.errors import SparsityError

WriteIdx = Callable[[Path, np.ndarray], None]


def test_the_official_files_load(reference: Path) -> None:
    data = MNIST(data_dir=str(reference / "data"))
    data.prepare_data()
    data.setup()
    (val,) = data.val_dataloader()
    train = data.train_dataloader().dataset
    assert (len(train), len(val.dataset), len(data.test_dataloader().dataset)) == (55_000, 5_000, 10_000)
    # Images of each digit among the 60,000, as the data set's page and everybody else counts them.
    counts = train.labels.bincount() + val.dataset.labels.bincount()
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    images, labels = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
    assert images.shape == (128, 1, 28, 28)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    pixels = torch.cat([train.images, val.dataset.images]).double() / 255
    assert pixels.mean().item() == pytest.approx(MNIST.mean[0], abs=1e-4)
    assert pixels.std().item() == pytest.approx(MNIST.std[0], abs=1e-4)


def test_pixels_and_labels_are_those_of_the_files(tmp_path: Path, write_idx: WriteIdx) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images = np.arange(2 * 784, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    write_idx(folder / "t10k-images-idx3-ubyte", images)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.array([3, 9], dtype=np.uint8))
    data = FashionMNIST(data_dir=str(tmp_path))
    data.setup("test")
    ((loaded, labels),) = data.test_dataloader()
    assert np.array_equal(loaded.numpy(), images[:, None])
    assert labels.tolist() == [3, 9]


def test_the_environment_variable_names_the_folder(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_DATA_DIR", str(mnist_root))
    MNIST(val_size=10).setup()
    assert MNIST(data_dir="elsewhere").folder == Path("elsewhere/MNIST/raw")
    monkeypatch.delenv("SPARSITY_DATA_DIR")
    assert MNIST().folder == Path("data/MNIST/raw")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"", "is not an IDX file of unsigned bytes with 3 dimensions"),
        ("train-images-idx3-ubyte", b"\x1f\x8b\x08\x00" * 10, "is not an IDX file of unsigned bytes with 3 dimensions"),
        ("train-labels-idx1-ubyte", bytes([0, 0, 9, 1, 0, 0, 0, 0]), "is not an IDX file of unsigned bytes with 1 dim"),
        ("train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]), "has 1 bytes of data where its header says 9"),
        ("train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 1, 1]), "has 60 images, but .* beside it 1 labels"),
        (
            "train-labels-idx1-ubyte",
            bytes([0, 0, 8, 1, 0, 0, 0, 60]) + b"\x0a" * 60,
            "has the label 10; labels must be",
        ),
    ],
)
def test_a_broken_file_is_named(mnist_root: Path, file: str, content: bytes, message: str) -> None:
    path = mnist_root / "MNIST" / "raw" / file
    path.write_bytes(content)
    with pytest.raises(SparsityError, match=message) as error:
        MNIST(val_size=10, data_dir=str(mnist_root)).setup("fit")
    assert file in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_another_size_are_refused(mnist_root: Path, write_idx: WriteIdx) -> None:
    write_idx(mnist_root / "MNIST" / "raw" / "train-images-idx3-ubyte", np.zeros((60, 8, 8), dtype=np.uint8))
    with pytest.raises(SparsityError, match=r"train-images-idx3-ubyte has images of \[8, 8\] pixels, not of"):
        MNIST(val_size=10, data_dir=str(mnist_root)).setup("fit")


def test_a_truncated_file_is_refused(mnist_root: Path) -> None:
    path = mnist_root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        SparsityError, match="t10k-images-idx3-ubyte has 23519 bytes of data where its header says 23520"
    ):
        MNIST(data_dir=str(mnist_root)).setup("test")


def test_a_folder_with_a_file_missing_is_not_touched_and_the_file_is_named(mnist_root: Path) -> None:
    folder = mnist_root / "MNIST" / "raw"
    (folder / "train-labels-idx1-ubyte").unlink()
    data = MNIST(val_size=10, data_dir=str(mnist_root))
    before = sorted(folder.iterdir())
    data.prepare_data()
    assert sorted(folder.iterdir()) == before
    with pytest.raises(SparsityError, match=r"MNIST needs the file train-labels-idx1-ubyte, which is not in .*raw"):
        data.setup("fit")
