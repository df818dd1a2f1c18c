import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from pytorch_lightning.callbacks import ModelCheckpoint

from sparsity.datamodules import CIFAR10, CIFAR100, MNIST, Digits, FashionMNIST, ImageDataModule
from sparsity.datamodules.augmentation import Normalise
from sparsity.errors import SparsityError


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def train_images(data: ImageDataModule) -> torch.Tensor:
    data.setup("fit")
    return data.train_dataloader().dataset.images


def first_epoch(data: ImageDataModule) -> list[int]:
    data.setup("fit")
    return torch.cat([labels for _, labels in data.train_dataloader()]).tolist()


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, CIFAR10, CIFAR100, Digits])
def test_every_argument_is_explained_in_the_help(cls: type[ImageDataModule]) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(cls, "data")
    text = " ".join(parser.format_help().split())
    assert "Images per step and process. (type: int, default: 128)" in text
    assert "(type: int, default: 200)" in text if cls is Digits else "(type: int, default: 5000)" in text
    assert "--data.augmentation" not in text
    arguments = [a for a in parser._actions if a.dest.startswith("data.")]
    assert all(a.help and a.help != "==SUPPRESS==" for a in arguments)


@pytest.mark.parametrize(
    ("cls", "shape", "classes"),
    [
        (MNIST, (1, 28, 28), 10),
        (FashionMNIST, (1, 28, 28), 10),
        (CIFAR10, (3, 32, 32), 10),
        (CIFAR100, (3, 32, 32), 100),
        (Digits, (1, 28, 28), 10),
    ],
)
def test_shape_and_number_of_classes_are_known_before_anything_is_read(
    cls: type[Any], shape: tuple[int, ...], classes: int
) -> None:
    data = cls()
    assert data.input_shape == shape
    assert data.num_classes == classes
    assert len(data.mean) == len(data.std) == shape[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number of at least 1, not 1.5"),
        ({"val_size": -1}, "val_size must be a whole number of at least 0, not -1"),
        ({"num_workers": -1}, "num_workers must be a whole number of at least 0, not -1"),
        ({"limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ({"limit": True}, "limit must be a whole number of at least 1, not True"),
    ],
)
def test_a_bad_argument_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=f"^{message}$"):
        Digits(**options)


def test_sizes_that_the_data_do_not_allow_are_refused_in_setup(mnist_root: Path) -> None:
    with pytest.raises(SparsityError, match="val_size=60 leaves nothing to train on: MNIST has 60 training images"):
        MNIST(val_size=60, data_dir=str(mnist_root)).setup("fit")
    with pytest.raises(SparsityError, match="limit=51 is more than the 50 training images that MNIST has"):
        MNIST(val_size=10, limit=51, data_dir=str(mnist_root)).setup("validate")
    assert len(train_images(MNIST(val_size=10, limit=50, data_dir=str(mnist_root)))) == 50
    assert len(train_images(MNIST(val_size=59, data_dir=str(mnist_root)))) == 1


def test_training_and_validation_images_are_disjoint_and_together_all(mnist_root: Path) -> None:
    data = MNIST(val_size=20, data_dir=str(mnist_root))
    train = train_images(data)
    (val,) = data.val_dataloader()
    everything, _ = data.read(train=True)
    assert len(train) == 40
    assert len(val.dataset) == 20
    assert not rows(train) & rows(val.dataset.images)
    assert rows(train) | rows(val.dataset.images) == rows(everything)


def test_images_keep_their_labels(mnist_root: Path) -> None:
    data = MNIST(val_size=20, data_dir=str(mnist_root))
    data.setup("fit")
    images, labels = data.read(train=True)
    label_of = dict(zip([i.numpy().tobytes() for i in images], labels.tolist(), strict=True))
    for loader in (data.train_dataloader(), *data.val_dataloader()):
        for batch_images, batch_labels in loader:
            assert [label_of[i.numpy().tobytes()] for i in batch_images] == batch_labels.tolist()


def test_the_split_is_the_same_for_every_seed_and_in_every_version() -> None:
    splits = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        data = Digits()
        data.setup("validate")
        splits.append(data.val_dataloader()[0].dataset)
    assert torch.equal(splits[0].images, splits[1].images)
    # Pinned: whoever changes the split makes all earlier results incomparable.
    assert splits[0].labels[:20].tolist() == [8, 0, 1, 9, 4, 0, 8, 9, 6, 3, 6, 8, 6, 5, 6, 2, 1, 1, 0, 3]


def test_limit_takes_the_first_of_a_fixed_order_and_leaves_validation_as_it_is(mnist_root: Path) -> None:
    sizes = {}
    vals = []
    for limit in (5, 12, None):
        torch.manual_seed(limit or 0)
        data = MNIST(val_size=20, limit=limit, data_dir=str(mnist_root))
        sizes[limit] = rows(train_images(data))
        vals.append(data.val_dataloader()[0].dataset.images)
    assert [len(images) for images in sizes.values()] == [5, 12, 40]
    assert sizes[5] < sizes[12] < sizes[None]
    assert torch.equal(vals[0], vals[1])
    assert torch.equal(vals[0], vals[2])


def test_the_order_depends_on_the_seed_and_on_nothing_drawn_before() -> None:
    orders = []
    for seed, draws in ((1, 0), (1, 17), (2, 0)):
        torch.manual_seed(seed)
        torch.rand(draws)
        orders.append(first_epoch(Digits()))
    assert orders[0] == orders[1] != orders[2]


def test_a_stage_reads_only_what_it_needs_and_only_once(mnist_root: Path) -> None:
    data = MNIST(val_size=20, data_dir=str(mnist_root))
    for file in (mnist_root / "MNIST" / "raw").glob("t10k*"):
        file.rename(file.with_suffix(".away"))
    data.setup("fit")
    with pytest.raises(SparsityError, match="t10k-images"):
        data.setup("test")
    for file in (mnist_root / "MNIST" / "raw").glob("t*"):
        file.rename(file.with_suffix("" if file.suffix else ".away"))
    data.setup("fit")
    data.setup("validate")
    data.setup("test")
    data.setup("predict")
    assert len(data.test_dataloader().dataset) == len(data.predict_dataloader().dataset) == 30


def test_loaders_before_setup_say_what_to_call() -> None:
    data = Digits()
    for stage, loader in (
        ("fit", data.train_dataloader),
        ("validate", data.val_dataloader),
        ("test", data.test_dataloader),
        ("predict", data.predict_dataloader),
    ):
        with pytest.raises(SparsityError, match=rf"call setup\('{stage}'\) first"):
            loader()
    data.setup("validate")
    with pytest.raises(SparsityError, match=r"call setup\('fit'\) first"):
        data.train_dataloader()


def test_training_images_are_augmented_and_others_are_not(
    cifar_root: Path, trainer: Callable[..., pl.Trainer], tiny_classifier: Callable[[int], pl.LightningModule]
) -> None:
    data = CIFAR10(val_size=40, data_dir=str(cifar_root), verify=False)
    module = tiny_classifier(3072)
    seen: dict[str, list[torch.Tensor]] = {}

    def watch(step: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(batch: Any, batch_idx: int) -> Any:
            seen.setdefault(name, []).append(batch[0])
            return step(batch, batch_idx)

        return watched

    module.training_step = watch(module.training_step, "train")
    module.validation_step = watch(module.validation_step, "val")
    module.test_step = watch(module.test_step, "test")
    run = trainer(max_epochs=1)
    run.fit(module, datamodule=data)
    run.test(module, datamodule=data, verbose=False)
    normalise = Normalise(data.mean, data.std)
    plain = {
        "train": normalise(data.train_dataloader().dataset.images),
        "val": normalise(data.val_dataloader()[0].dataset.images),
        "test": normalise(data.test_dataloader().dataset.images),
    }
    assert rows(torch.cat(seen["val"])) == rows(plain["val"])
    assert rows(torch.cat(seen["test"])) == rows(plain["test"])
    assert len(rows(torch.cat(seen["train"])) - rows(plain["train"])) > 140
    assert torch.cat(seen["train"]).dtype == torch.float32


def test_without_augment_training_images_are_only_normalised(cifar_root: Path) -> None:
    data = CIFAR10(val_size=40, data_dir=str(cifar_root), verify=False, augment=False)
    assert data.augmentation is None


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_stages_run(
    num_workers: int,
    mnist_root: Path,
    trainer: Callable[..., pl.Trainer],
    tiny_classifier: Callable[[int], pl.LightningModule],
) -> None:
    data = MNIST(batch_size=16, val_size=20, data_dir=str(mnist_root), num_workers=num_workers)
    run = trainer(max_epochs=2)
    module = tiny_classifier(784)
    run.fit(module, datamodule=data)
    run.validate(module, datamodule=data, verbose=False)
    run.test(module, datamodule=data, verbose=False)
    predictions = run.predict(module, datamodule=data)
    assert torch.equal(torch.cat(predictions), data.read(train=False)[1])


def test_without_validation_images_a_fit_runs_and_saves_without_a_warning(
    tmp_path: Path, trainer: Callable[..., pl.Trainer], tiny_classifier: Callable[[int], pl.LightningModule]
) -> None:
    data = Digits(val_size=0, batch_size=500)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(max_epochs=2, callbacks=[ModelCheckpoint(tmp_path / "kept")]).fit(tiny_classifier(784), datamodule=data)
    messages = [str(w.message) for w in caught]
    assert not [m for m in messages if "length" in m or "val_dataloader" in m]
    assert len(list((tmp_path / "kept").glob("*.ckpt"))) == 1


def test_the_global_random_state_is_left_alone_by_a_whole_fit(
    cifar_root: Path, trainer: Callable[..., pl.Trainer], tiny_classifier: Callable[[int], pl.LightningModule]
) -> None:
    module = tiny_classifier(3072)
    data = CIFAR10(batch_size=32, val_size=40, data_dir=str(cifar_root), verify=False)
    state = torch.get_rng_state()
    trainer(max_epochs=2).fit(module, datamodule=data)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(20, 1, 28, 28), torch.zeros(20, dtype=torch.int64), "must give images as uint8, from 0 to 255"),
        (torch.zeros(20, 28, 28, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64), r"\[samples, 1, 28, 28\]"),
        (torch.zeros(20, 1, 28, 28, dtype=torch.uint8), torch.zeros(15, dtype=torch.int64), "not 15 for 20"),
        (torch.zeros(20, 1, 28, 28, dtype=torch.uint8), torch.zeros(20), "labels as class indices, int64"),
    ],
    ids=["not bytes", "no channel", "too few labels", "labels that are no indices"],
)
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_what_read_must_not_give_is_refused(images: Any, labels: Any, message: str, stage: str) -> None:
    class Own(Digits):
        def read(self, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
            return images, labels

    with pytest.raises(SparsityError, match=message):
        Own(val_size=5).setup(stage)
