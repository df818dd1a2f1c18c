"""A run goes on with its own settings or not at all; a new one may start from its weights."""

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparsity.checkpoints.starting import load_weights
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, density, masks, set_mask
from sparsity.networks import FC
from sparsity.runs.resuming import require_same_settings, settings_of

SMALL = [
    "--data", "Digits", "--data.limit", "200", "--model.network", "FC", "--model.network.width", "10",
    "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
]  # fmt: skip
SGD = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0.05"]
SYNFLOW = ["--pruner", "SynFlow", "--pruner.density", "0.1"]
ADAM = ["--model.optimizer", "Adam", "--model.optimizer.lr", "0.05"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run of one epoch."""
    from sparsity.cli import main

    folder = tmp_path_factory.mktemp("trained")
    arguments = [*SMALL, *SGD, *SYNFLOW, "--trainer.max_epochs", "1", "--trainer.default_root_dir", str(folder)]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "argv", ["sparsity"])
        main(["fit", *arguments])
    return folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


def moved(saved: Path, folder: Path, **changes: Any) -> Path:
    checkpoint = torch.load(saved, weights_only=True) | changes
    torch.save({key: value for key, value in checkpoint.items() if value is not None}, folder / "moved.ckpt")
    return folder / "moved.ckpt"


OTHER = [
    (["--data.limit", "32"], "data.limit 200, and this one has 32"),
    (["--data.val_size", "100"], "data.val_size 200, and this one has 100"),
    (["--model.optimizer.lr", "0.01"], "model.optimizer.lr 0.05, and this one has 0.01"),
    (["--model.optimizer.momentum", "0.9"], "model.optimizer.momentum 0.0, and this one has 0.9"),
    (ADAM, "model.optimizer SGD, and this one has Adam"),
    (["--model.optimizer", "null"], "model.optimizer SGD, and this one has None"),
    (["--model.lr_scheduler", "StepLR", "--model.lr_scheduler.step_size", "3"],
     "model.lr_scheduler None, and this one has StepLR"),
    (["--model.label_smoothing", "0.1"], "model.label_smoothing 0.0, and this one has 0.1"),
    (["--model.decay_all", "true"], "model.decay_all False, and this one has True"),
    (["--model.weights", "other.ckpt"], "model.weights None, and this one has other.ckpt"),
    (["--pruner.iterations", "7"], "pruner.iterations 100, and this one has 7"),
    (["--seed_everything", "7"], "seed_everything 42, and this one has 7"),
    (["--ablation", "shuffle"], "ablation None, and this one has shuffle"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), OTHER)
def test_a_run_does_not_go_on_with_other_settings_and_says_which_and_what_to_do(
    sparsity: Any, saved: Path, tmp_path: Path, change: list[str], message: str
) -> None:
    path = moved(saved, tmp_path)
    root = ["--trainer.max_epochs", "2", "--trainer.default_root_dir", tmp_path]
    outcome = sparsity("fit", *SMALL, *SGD, *SYNFLOW, *root, "--ckpt_path", path, *change)
    assert outcome.code == 2
    assert f"error: {path} is of a run with {message}; use the same, or start a new run from its weights with " in (
        outcome.err
    )
    assert f"--model.weights {path}" in outcome.err
    assert {p.name for p in tmp_path.iterdir()} == {"moved.ckpt"}


def test_a_run_goes_on_with_other_workers_places_and_flags_of_the_trainer(
    sparsity: Any, saved: Path, tmp_path: Path
) -> None:
    free = ["--model.channels_last", "false", "--trainer.log_every_n_steps", "7", "--trainer.max_epochs", "2"]
    path = moved(saved, tmp_path)
    root = ["--trainer.default_root_dir", tmp_path]
    outcome = sparsity("fit", *SMALL, *SGD, *SYNFLOW, *free, *root, "--ckpt_path", path)
    assert outcome.code == 0, outcome.err


def test_an_older_checkpoint_without_settings_is_compared_by_its_hyper_parameters(
    sparsity: Any, saved: Path, tmp_path: Path
) -> None:
    path = moved(saved, tmp_path, settings=None)
    run = ["fit", *SMALL, *SGD, *SYNFLOW, "--trainer.default_root_dir", tmp_path, "--ckpt_path", path]
    outcome = sparsity(*run, "--model.optimizer.lr", "0.01", "--trainer.max_epochs", "2")
    assert "model.optimizer.lr 0.05, and this one has 0.01" in outcome.err
    assert sparsity(*run, "--trainer.max_epochs", "2").code == 0


def of_a_fit(**settings: Any) -> dict[str, Any]:
    return {"optimizer_states": [{}], "settings": settings}


MNIST = {"class_path": "sparsity.datamodules.MNIST", "init_args": {"data_dir": "data", "limit": None}}


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        ({"data": MNIST}, {"data": {"class_path": "sparsity.datamodules.Digits"}}, "data MNIST, and this one has Digi"),
        ({"data": MNIST}, {"data": MNIST | {"init_args": {"data_dir": "elsewhere", "limit": None}}}, None),
        ({"data": MNIST}, {"data": MNIST | {"init_args": {"limit": 5}}}, "data.limit None, and this one has 5"),
        ({"data": MNIST}, {"data": MNIST | {"init_args": {"limit": None, "new_option": 5}}}, None),
        ({"model": {"network": {"init_args": {"input_shape": [1, 8, 8]}}}},
         {"model": {"network": {"init_args": {"input_shape": (1, 8, 8)}}}}, None),
        ({"model": {"exclude": ["fc1"]}}, {"model": {"exclude": []}}, r"model.exclude \['fc1'\], and"),
        ({"model": None}, {"model": {"decay_all": True}}, "model None, and"),
    ],
)  # fmt: skip
def test_settings_are_compared_where_both_sides_know_them(
    there: dict[str, Any], here: dict[str, Any], message: str | None
) -> None:
    if message is None:
        require_same_settings(of_a_fit(**there), settings_of(here), "a.ckpt")
    else:
        with pytest.raises(SparsityError, match=message):
            require_same_settings(of_a_fit(**there), settings_of(here), "a.ckpt")


def test_a_new_run_starts_from_the_weights_and_masks_of_another_with_its_own_optimizer(
    sparsity: Any, saved: Path, tmp_path: Path
) -> None:
    frozen = ["--model.optimizer", "Adam", "--model.optimizer.lr", "0", "--trainer.max_epochs", "1"]
    outcome = sparsity(
        "fit", *SMALL, *frozen, "--model.weights", saved, "--trainer.default_root_dir", tmp_path, "--seed_everything", 7
    )
    assert outcome.code == 0, outcome.err
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    before, after = (torch.load(path, weights_only=True)["state_dict"] for path in (saved, last))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "pruner", ["SynFlow", "Magnitude", "SNIP", "Random", "GradualMagnitude", "IterativeMagnitude", "SET"]
)
def test_what_is_pruned_already_is_pruned_further_to_the_weight(
    sparsity: Any, saved: Path, tmp_path: Path, pruner: str
) -> None:
    more = ["--pruner", pruner, "--pruner.density", "0.05", "--trainer.max_epochs", "3"]
    outcome = sparsity("fit", *SMALL, *SGD, *more, "--model.weights", saved, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 0, outcome.err
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    kept = {name: mask for name, mask in torch.load(last, weights_only=True)["state_dict"].items() if "mask" in name}
    total = sum(mask.numel() for mask in kept.values())
    assert sum(int(mask.sum()) for mask in kept.values()) == round(0.05 * total)


def test_a_run_that_started_from_weights_goes_on_also_when_their_file_is_gone(
    sparsity: Any, saved: Path, tmp_path: Path
) -> None:
    start = moved(saved, tmp_path)
    run = ["fit", *SMALL, *SGD, "--model.weights", start, "--trainer.default_root_dir", tmp_path]
    assert sparsity(*run, "--trainer.max_epochs", 1).code == 0
    start.unlink()
    outcome = sparsity(*run, "--trainer.max_epochs", 2, "--ckpt_path", "last")
    assert outcome.code == 0, outcome.err
    assert f"weights: {start}" in (tmp_path / "lightning_logs" / "version_1" / "config.yaml").read_text()


def small(width: int = 5, depth: int = 2) -> nn.Module:
    network = FC(input_shape=(1, 4, 4), width=width, depth=depth)
    add_masks(network)
    return network


def test_a_bare_state_dict_is_read_and_layers_without_a_mask_there_keep_theirs(tmp_path: Path) -> None:
    dense = FC(input_shape=(1, 4, 4), width=5, depth=2)
    torch.save(dense.state_dict(), tmp_path / "dense.pt")
    network = small()
    load_weights(network, tmp_path / "dense.pt")
    assert density(network) == 1
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in dense.state_dict().items())


def test_weights_that_a_mask_prunes_are_zero_whatever_the_file_has_there(tmp_path: Path) -> None:
    other = small()
    set_mask(other, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(other).items()})
    state = {name: tensor if "mask" in name else torch.ones_like(tensor) for name, tensor in other.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    network = small()
    with pytest.warns(UserWarning, match="pruned weights in the file are not zero"):
        load_weights(network, tmp_path / "a.pt")
    assert torch.equal(network.fc1.weight, masks(other)["fc1"].float())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (small(6).state_dict(), r"fc1.weight is \[6, 16\] there and \[5, 16\] here"),
        (small(5, 3).state_dict(), "fc2.weight is"),
        (small().state_dict() | {"fc9.weight": torch.ones(2)}, r"fc9.weight is \[2\] there and missing here"),
        ({"fc1.weight": torch.ones(5, 16)}, "fc1.bias is missing there"),
        (small().state_dict() | {"fc1.weight_mask": torch.full((5, 16), 0.5)}, "fc1.weight_mask is no mask"),
    ],
)
def test_the_weights_of_another_network_are_refused_and_nothing_is_changed(
    tmp_path: Path, state: dict[str, torch.Tensor], message: str
) -> None:
    torch.save(state, tmp_path / "other.pt")
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(SparsityError, match=message):
        load_weights(network, tmp_path / "other.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
