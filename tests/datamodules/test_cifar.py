import hashlib
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsity.datamodules import CIFAR10, CIFAR100
from sparsity.errors import SparsityError

ROOT = Path(__file__).parent.parent.parent


def cifar10(root: Path, **options: Any) -> CIFAR10:
    return CIFAR10(**{"val_size": 40, "data_dir": str(root), "verify": False, **options})


def change(root: Path, file: str, **changes: Any) -> Path:
    path = root / "cifar-10-batches-py" / file
    entry = pickle.loads(path.read_bytes()) | changes
    path.write_bytes(pickle.dumps({key: value for key, value in entry.items() if value is not None}))
    return path


def test_the_reference_half_of_cifar10_loads(reference: Path) -> None:
    data = CIFAR10(data_dir=str(reference / "data"), verify=False)
    data.prepare_data()
    data.setup()
    (val,) = data.val_dataloader()
    train = data.train_dataloader().dataset
    test = data.test_dataloader().dataset
    assert (len(train), len(val.dataset), len(test)) == (20_000, 5_000, 8_000)
    assert (train.labels.bincount() + val.dataset.labels.bincount()).tolist() == [2500] * 10
    assert test.labels.bincount().tolist() == [800] * 10
    pixels = torch.cat([train.images, val.dataset.images]) / 255
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx(CIFAR10.mean, abs=0.003)
    assert pixels.std((0, 2, 3)).tolist() == pytest.approx(CIFAR10.std, abs=0.003)


def test_files_that_are_not_the_official_ones_are_refused(reference: Path) -> None:
    data = CIFAR10(data_dir=str(reference / "data"))
    data.prepare_data()
    with pytest.raises(SparsityError, match=r"data_batch_1 is not the official file .*verify: false"):
        data.setup("fit")
    with pytest.raises(SparsityError, match=r"test_batch is not the official file .*verify: false"):
        data.setup("test")


def test_official_files_are_recognised_by_their_md5(cifar_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cifar_root / "cifar-10-batches-py" / "test_batch"
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10.source, "test_list", [["test_batch", md5]])
    data = cifar10(cifar_root, verify=True)
    data.setup("test")
    assert len(data.test_dataloader().dataset) == 24


def test_pixels_and_labels_are_those_of_the_files_in_their_order(cifar_root: Path) -> None:
    images, labels = cifar10(cifar_root).read(train=True)
    assert images.shape == (200, 3, 32, 32)
    assert images.dtype == torch.uint8
    for number in range(5):
        path = cifar_root / "cifar-10-batches-py" / f"data_batch_{number + 1}"
        entry = pickle.loads(path.read_bytes())
        part = slice(40 * number, 40 * number + 40)
        assert np.array_equal(images[part].flatten(1).numpy(), entry["data"])
        assert labels[part].tolist() == entry["labels"]


def test_cifar100_has_fine_labels(cifar100_root: Path) -> None:
    data = CIFAR100(val_size=10, data_dir=str(cifar100_root), verify=False)
    data.setup()
    expected = pickle.loads((cifar100_root / "cifar-100-python" / "test").read_bytes())["fine_labels"]
    assert data.read(train=False)[1].tolist() == expected
    assert len(data.train_dataloader().dataset) == 40


def test_without_verification_the_number_of_images_is_said(
    cifar_root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="pytorch_lightning"):
        cifar10(cifar_root).setup("fit")
    assert "CIFAR10: found 200 training images in" in caplog.text
    assert "test images" not in caplog.text


def test_an_ordinary_program_shows_the_number_of_images(cifar_root: Path) -> None:
    program = (
        f"from sparsity.datamodules import CIFAR10; CIFAR10(data_dir={str(cifar_root)!r}, verify=False).setup('test')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert "CIFAR10: found 24 test images in" in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0] * 39}, "has 40 images, but 39 labels"),
        ({"labels": [0] * 39 + [10]}, r"has the label 10; labels must be in \[0, 10\)"),
        ({"labels": [-1] * 40}, r"has the label -1; labels must be in \[0, 10\)"),
        ({"labels": ["cat"] * 40}, "has no list of whole numbers called 'labels'"),
        ({"labels": None}, "has no list of whole numbers called 'labels'"),
        ({"data": None}, "has no 'data' of unsigned bytes, 3072 for each image"),
        ({"data": np.zeros((40, 3072))}, "has no 'data' of unsigned bytes, 3072 for each image"),
        ({"data": np.zeros((40, 784), dtype=np.uint8)}, "has no 'data' of unsigned bytes, 3072 for each image"),
    ],
)
def test_a_file_with_other_content_is_named(cifar_root: Path, changes: dict[str, Any], message: str) -> None:
    path = change(cifar_root, "data_batch_3", **changes)
    with pytest.raises(SparsityError, match=message) as error:
        cifar10(cifar_root).setup("fit")
    assert str(path) in str(error.value)
