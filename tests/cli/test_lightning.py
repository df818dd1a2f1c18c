"""The command line as a user types it, in this process; a few whole processes are in test_readme and test_resume."""

import io
import json
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparsity.datamodules import CIFAR10
from sparsity.runs.folder import RunFolder

QUICK = [
    "--data", "Digits", "--data.limit", "320", "--model.network", "FC", "--model.network.width", "20",
    "--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
]  # fmt: skip
SYNFLOW = ["--pruner", "SynFlow", "--pruner.density", "0.1"]


def run_folder(root: Path, version: int = 0) -> Path:
    return root / "lightning_logs" / f"version_{version}"


def scalars(folder: Path) -> dict[str, list[float]]:
    (place,) = RunFolder(folder).events_folders
    events = EventAccumulator(str(place)).Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def trained(sparsity: Any, tmp_path: Path) -> Path:
    outcome = sparsity("fit", *QUICK, *SYNFLOW, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 0, outcome.err
    return tmp_path


def test_a_fit_logs_loss_accuracy_learning_rate_and_density(sparsity: Any, trained: Path) -> None:
    values = scalars(run_folder(trained))
    for stage in ("train", "val"):
        for name in ("loss", "accuracy", "top5_accuracy"):
            assert len(values[f"{stage}/{name}"]) == 2
    assert len(values["lr-SGD"]) == 2
    total = 784 * 20 + 4 * 400 + 200
    assert values["kept/network"] == [round(0.1 * total)]  # logged once: it does not change
    assert values["density/network"] == pytest.approx([round(0.1 * total) / total])
    assert len([tag for tag in values if tag.startswith("density/fc")]) == 6
    assert values["flops/dense"] == [total]
    assert values["flops/effective"] == values["kept/network"]


def test_a_run_leaves_its_config_and_both_checkpoints(trained: Path) -> None:
    folder = run_folder(trained)
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["pruner"]["class_path"] == "sparsity.callbacks.SynFlow"
    assert config["seed_everything"] == 42


def test_the_saved_config_repeats_the_run_exactly(sparsity: Any, trained: Path) -> None:
    again = sparsity("fit", "--config", run_folder(trained) / "config.yaml")
    assert again.code == 0, again.err
    first, second = (
        torch.load(run_folder(trained, v) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for v in (0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_arguments_with_another_seed_give_another_network(sparsity: Any, trained: Path) -> None:
    sparsity("fit", "--config", run_folder(trained) / "config.yaml", "--seed_everything", "7")
    first, second = (
        torch.load(run_folder(trained, v) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for v in (0, 1)
    )
    assert not torch.equal(first["network.fc2.weight_mask"], second["network.fc2.weight_mask"])


@pytest.mark.parametrize("which", ["best", "last"])
def test_test_evaluates_the_newest_checkpoint(sparsity: Any, trained: Path, which: str) -> None:
    outcome = sparsity("test", "--config", run_folder(trained) / "config.yaml", "--ckpt_path", which)
    assert outcome.code == 0, outcome.err
    assert "test/accuracy" in outcome.out
    assert f"{which}.ckpt" in outcome.err


def test_a_run_that_keeps_masks_is_called_so_when_it_goes_on_too(sparsity: Any, trained: Path) -> None:
    weights = run_folder(trained) / "checkpoints" / "last.ckpt"
    arguments = [*QUICK, "--trainer.default_root_dir", trained, "--model.weights", weights]
    assert sparsity("fit", *arguments).code == 0
    go_on = ["--ckpt_path", run_folder(trained, 1), "--trainer.max_epochs", 3]
    assert sparsity("fit", *arguments, *go_on).code == 0
    names = [folder.name for number in (1, 2) for folder in RunFolder(run_folder(trained, number)).events_folders]
    assert names == ["masks_kept-seed42"] * 2


def test_a_run_that_is_resumed_at_its_end_has_the_networks_that_it_had(sparsity: Any, trained: Path) -> None:
    shutil.rmtree(run_folder(trained))
    fit = ["fit", *QUICK, *SYNFLOW, "--trainer.default_root_dir", trained, "--test_after_fit", "true"]
    assert sparsity(*fit).code == 0
    assert sparsity(*fit, "--ckpt_path", "last").code == 0
    first, again = run_folder(trained), run_folder(trained, 1)
    assert not (again / "checkpoints").exists()
    accuracy = json.loads((first / "summary.json").read_text())["test_accuracy"]["best"]
    assert json.loads((again / "summary.json").read_text())["test_accuracy"]["best"] == accuracy
    outcome = sparsity("report", trained / "lightning_logs", "--output", trained / "page")
    assert outcome.code == 0, outcome.err
    assert "left out" not in outcome.err
    assert f"{accuracy:.2%}".replace("%", " %") in (trained / "page" / "index.html").read_text()
    for path in (again, "best"):
        outcome = sparsity("test", "--config", first / "config.yaml", "--ckpt_path", path)
        assert f"is {first / 'checkpoints' / 'best.ckpt'}\n" in outcome.err


def test_without_checkpoints_the_network_at_hand_is_tested(sparsity: Any, tmp_path: Path) -> None:
    accuracies = []
    for number, checkpoints in enumerate(("true", "false")):
        options = ["--trainer.enable_checkpointing", checkpoints, "--trainer.default_root_dir", tmp_path]
        assert sparsity("fit", *QUICK, *SYNFLOW, *options, "--test_after_fit", "true").code == 0
        summary = json.loads((run_folder(tmp_path, number) / "summary.json").read_text())
        accuracies.append(summary["test_accuracy"])
    assert accuracies[1] == {"last": accuracies[0]["last"]}


def test_the_folder_of_a_run_stands_for_its_network(sparsity: Any, trained: Path) -> None:
    folder = run_folder(trained)
    outcome = sparsity("test", "--config", folder / "config.yaml", "--ckpt_path", folder)
    assert outcome.code == 0, outcome.err
    assert f"--ckpt_path {folder} is {folder / 'checkpoints' / 'best.ckpt'}\n" in outcome.err
    more = ["--trainer.max_epochs", 3]
    outcome = sparsity("fit", "--config", folder / "config.yaml", "--ckpt_path", folder / "checkpoints", *more)
    assert f"is {folder / 'checkpoints' / 'last.ckpt'}, of a run that came to its end\n" in outcome.err
    assert outcome.code == 0, outcome.err
    outcome = sparsity("test", "--config", folder / "config.yaml", "--ckpt_path", trained)
    assert outcome.code == 2
    assert f"{trained} is a folder without a checkpoint of its own" in outcome.err


def test_testing_after_the_fit_ends_in_one_line_that_says_everything(sparsity: Any, tmp_path: Path) -> None:
    outcome = sparsity("fit", *QUICK, *SYNFLOW, "--trainer.default_root_dir", tmp_path, "--test_after_fit", "true")
    summary = outcome.out.strip().splitlines()[-1]
    assert summary.startswith("SynFlow: density 0.1 asked, 0.1 reached (1,748 of 17,480 weights); test accuracy ")
    assert "% (best), " in summary
    assert summary.endswith(f"log in {run_folder(tmp_path)}")
    results = json.loads((run_folder(tmp_path) / "summary.json").read_text())
    assert results["kept"] == 1748
    assert set(results["test_accuracy"]) == {"best", "last"}
    logged = scalars(run_folder(tmp_path))
    assert logged["test/last_accuracy"] == pytest.approx([results["test_accuracy"]["last"]])


def test_flags_override_the_config(sparsity: Any, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "data: Digits\nmodel:\n  network: {class_path: FC, init_args: {width: 10}}\n"
        "pruner: {class_path: SynFlow, init_args: {density: 0.5}}\ntrainer: {max_epochs: 1}\n"
    )
    outcome = sparsity(
        "fit", "--config", config, "--pruner.density", "0.02", "--model.network.width", "30", "--seed_everything", "5",
        "--trainer.default_root_dir", tmp_path, "--print_config",
    )  # fmt: skip
    printed = yaml.safe_load(outcome.out)
    assert printed["pruner"]["init_args"]["density"] == 0.02
    assert printed["model"]["network"]["init_args"]["width"] == 30
    assert printed["seed_everything"] == 5


def test_a_pruner_given_by_name_keeps_the_density_of_the_config(sparsity: Any, trained: Path) -> None:
    config = run_folder(trained) / "config.yaml"
    outcome = sparsity("fit", "--config", config, "--pruner", "Random", "--print_config")
    assert yaml.safe_load(outcome.out)["pruner"] == {
        "class_path": "sparsity.callbacks.Random",
        "init_args": {
            "density": 0.1,
            "seed": None,
            "rescale": "none",
            "scope": "global",
            "allocation": None,
            "min_kept": 0,
            "pattern": "weight",
        },
    }


def test_without_a_pruner_the_network_stays_dense(sparsity: Any, tmp_path: Path) -> None:
    outcome = sparsity("fit", *QUICK, "--trainer.default_root_dir", tmp_path, "--test_after_fit", "true")
    assert outcome.out.strip().splitlines()[-1].startswith("dense: density 1 asked, 1 reached")


def test_gem_miner_saves_as_best_only_networks_of_the_final_density(sparsity: Any, tmp_path: Path) -> None:
    gem = ["--pruner", "GemMiner", "--pruner.density", "0.1", "--pruner.search_epochs", "2"]
    sparsity("fit", *QUICK, *gem, "--trainer.max_epochs", "3", "--trainer.default_root_dir", tmp_path)
    best = torch.load(run_folder(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 2
    kept = sum(int(t.sum()) for n, t in best["state_dict"].items() if n.endswith("weight_mask"))
    assert kept == 1748


@pytest.mark.parametrize("subcommand", ["fit", "validate", "test", "predict"])
def test_help_of_every_subcommand_names_our_arguments(sparsity: Any, subcommand: str) -> None:
    outcome = sparsity(subcommand, "--help")
    assert outcome.code == 0
    for argument in ("--data", "--model.network", "--pruner", "--test_after_fit", "--ckpt_path"):
        assert argument in outcome.out
    assert "A DataModule standardizes" not in outcome.out


@pytest.mark.parametrize("command", ["show", "fit"])
def test_help_names_our_networks_and_not_every_module_there_is(sparsity: Any, command: str) -> None:
    said = sparsity(command, "--help").out
    assert "sparsity.networks.ResNet20" in said
    assert "any other by its path" in said
    assert "torch.nn.Linear" not in said
    assert "sparsity.networks.resnet.BasicBlock" not in said


def test_help_of_a_pruner_explains_its_options(sparsity: Any) -> None:
    outcome = sparsity("fit", "--pruner.help=SynFlow")
    assert "Kept fraction of the maskable weights, in (0, 1]." in " ".join(outcome.out.split())


FC = ["--data", "Digits", "--model.network", "FC", "--trainer.max_epochs", "4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FC, *SYNFLOW[:2], "--pruner.density", "0"], "density is the fraction of weights to keep, in (0, 1]; 0.0 is"),
        ([*FC, *SYNFLOW[:2], "--pruner.density", "1.5"], "1.5 is not"),
        ([*FC, *SYNFLOW[:2], "--pruner.density", "nan"], "pruner.density must be of type float, not nan"),
        ([*FC, *SYNFLOW[:2], "--pruner.density", "1e-9"], "keeps none of 119,400 weights"),
        ([*FC, "--pruner", "GemMiner", "--pruner.density", "0.1", "--pruner.search_epochs", "4"], "leaves 4 and 0"),
        ([*FC, "--pruner", "SynFlo", "--pruner.density", "0.1"], "no class is called SynFlo; did you mean SynFlow?"),
        ([*FC[:2], "--model.network", "FullyConnected"], "no class is called FullyConnected"),
        (
            ["--data", "Digits", "--model.network", "torch.nn.Identity"],
            "no Linear, convolution, attention or recurrent layer to prune",
        ),
        (["--data", "Digits", "--model.network", "ResNet20"], "set model.network.input_shape"),
        ([*FC, "--pruner", "SynFlow"], "pruner: SynFlow needs density"),
        ([*FC, "--pruner", "SynFlow", "--pruner.densty", "0.1"], "SynFlow has no argument densty"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        ([*FC, "--model.optimizer.lr", "0.1"], "give --model.optimizer SGD --model.optimizer.lr VALUE"),
        ([*FC, "--model.lr_scheduler.step_size", "3"], "give --model.lr_scheduler StepLR --model.lr_scheduler.step_s"),
        ([*FC, "--lr", "0.1"], "there is no option --lr; did you mean --model.optimizer.lr?"),
        ([*FC, "--density", "0.1"], "did you mean --pruner.density?"),
        ([*FC, "--epochs", "5"], "did you mean --trainer.max_epochs?"),
        ([*FC, "--batch_size", "64"], "did you mean --data.batch_size?"),
        (["--data", "mnist", "--model.network", "FC"], "no class is called mnist; did you mean MNIST?"),
        ([*FC, "--model.exclude", "fc1"], "model.exclude is a list: write [fc1]"),
        ([*FC, "--test_after_fit", "true", "--trainer.limit_test_batches", "0"], "limit_test_batches 0 leaves nothing"),
        ([*FC, "--model.network.width", "wide"], "model.network.width must be of type int, not wide"),
        ([*FC, "--ckpt_path", "nowhere.ckpt"], "there is no file nowhere.ckpt"),
        ([*FC, "--ckpt_path", "last"], "has a checkpoint last.ckpt"),
        ([*FC, "--model.label_smoothing", "2"], "label_smoothing"),
        ([*FC, *SYNFLOW, "--pruner.iterations", "0"], "iterations"),
        ([*FC, *SYNFLOW, "--pruner.iterations", str(10**20)], "iterations must be below 2**63"),
        ([*FC, *SYNFLOW, "--trainer.callbacks", "Random", "--trainer.callbacks.density", "0.5"], "at most one pruner"),
    ],
)
def test_wrong_input_is_one_clear_sentence_and_writes_nothing(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = sparsity("fit", *arguments)
    assert outcome.code != 0
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 5  # the sentence, and what Lightning says of devices and seeds
    assert not list(tmp_path.iterdir())


def test_nothing_where_lightning_needs_something_is_refused_before_anything_starts(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("trainer: {detect_anomaly: null, default_root_dir: log}")
    outcome = sparsity("fit", *QUICK, "--config", "run.yaml")
    assert outcome.code == 2
    assert "trainer.detect_anomaly must be of type bool, not null" in outcome.err
    assert not Path("log").exists()


def test_the_version_is_told(sparsity: Any) -> None:
    outcome = sparsity("--version")
    assert (outcome.code, outcome.out.split()[-1]) == (0, version("sparsity-lightning"))


def test_help_of_the_pruners_names_the_program(sparsity: Any) -> None:
    assert sparsity("fit", "--pruner.help").out.startswith("usage: sparsity")


def test_a_monitor_that_is_never_logged_is_said(sparsity: Any, tmp_path: Path) -> None:
    monitor = ["--trainer.callbacks", "SparseCheckpoint", "--trainer.callbacks.monitor", "val/nothing"]
    with pytest.warns(UserWarning, match="monitors 'val/nothing', which is not logged, .* there are val/accuracy"):
        sparsity("fit", *QUICK, *monitor, "--trainer.default_root_dir", tmp_path)


def test_data_that_are_missing_without_a_network_are_named_with_their_place(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CIFAR10.source, "url", "http://127.0.0.1:9/nothing.tar.gz")
    outcome = sparsity("fit", "--data", "CIFAR10", "--data.data_dir", "nowhere", "--model.network", "ResNet20")
    assert outcome.code == 2
    assert "CIFAR10 is not in nowhere/cifar-10-batches-py and could not be downloaded" in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_corrupt_data_file_is_named(sparsity: Any, tmp_path: Path, reference: Path) -> None:
    shutil.copytree(reference / "data" / "MNIST", tmp_path / "MNIST")
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.chmod(0o644)
    images.write_bytes(images.read_bytes()[:1000])
    log = tmp_path / "log"
    log.mkdir()
    arguments = ["--data", "MNIST", "--data.data_dir", tmp_path, "--model.network", "FC", "--trainer.max_epochs", "1"]
    outcome = sparsity("fit", *arguments, "--trainer.default_root_dir", log)
    assert outcome.code == 2
    assert "train-images-idx3-ubyte" in outcome.err
    assert not list(log.iterdir())


def test_synchronised_batchnorm_on_cpus_is_refused_before_processes_start(sparsity: Any, tmp_path: Path) -> None:
    two = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    folder = ["--trainer.default_root_dir", tmp_path]
    run = sparsity(
        "fit", "--data", "Digits", "--model.network", "FC", *two, "--trainer.sync_batchnorm", "true", *folder
    )
    assert run.code == 2
    assert "trainer.sync_batchnorm works on GPUs alone; leave it out, or train in one process" in run.err
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_is_one_sentence_and_its_checkpoint_is_good(sparsity: Any, tmp_path: Path) -> None:
    folder = ["--trainer.default_root_dir", tmp_path, "--trainer.enable_progress_bar", "false"]
    run = sparsity("fit", *FC, "--model.optimizer", "SGD", "--model.optimizer.lr", "1e30", *folder)
    assert run.code == 2
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert re.search(r"error: training diverged: the loss is nan in epoch 0 at step \d, where layer 'fc\d'", run.err)
    assert run.err.strip().endswith(f"; {last} was saved before")
    state = torch.load(last, weights_only=True)["state_dict"]
    assert all(t.isfinite().all() for t in state.values())


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_evaluating_without_a_checkpoint_is_refused(sparsity: Any, subcommand: str) -> None:
    outcome = sparsity(subcommand, *QUICK)
    assert outcome.code == 2
    assert "needs a trained network: give --ckpt_path" in outcome.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model.network.width", "30"], "network.fc1.weight is [20, 784] there and [30, 784] here"),
        (["--model.network.depth", "7"], "network.fc6.weight is [10, 20] there and [20, 20] here"),
        (["--pruner", "Random"], "of a run with pruner SynFlow, and this one has Random"),
        (["--pruner", "null"], "of a run with pruner SynFlow, and this one has None"),
        (["--pruner.density", "0.2"], "with density 0.1, and this one asks for 0.2"),
    ],
)
def test_resuming_another_run_is_refused_and_writes_nothing(
    sparsity: Any, trained: Path, change: list[str], message: str
) -> None:
    config = run_folder(trained) / "config.yaml"
    outcome = sparsity("fit", "--config", config, "--ckpt_path", "last", *change)
    assert outcome.code == 2
    assert message in outcome.err
    assert not run_folder(trained, 1).exists()


def test_a_file_that_is_no_checkpoint_is_refused(sparsity: Any, tmp_path: Path) -> None:
    path = tmp_path / "noise.ckpt"
    path.write_bytes(bytes(range(256)) * 9)
    outcome = sparsity("fit", *QUICK, "--ckpt_path", path, "--trainer.default_root_dir", tmp_path / "log")
    assert outcome.code == 2
    assert "noise.ckpt is damaged" in outcome.err


def test_a_checkpoint_with_a_damaged_tensor_is_refused(sparsity: Any, trained: Path, tmp_path: Path) -> None:
    content = bytearray((run_folder(trained) / "checkpoints" / "last.ckpt").read_bytes())
    weights = torch.load(io.BytesIO(content), weights_only=True)["state_dict"]["network.fc1.weight"]
    place = content.index(weights.numpy().tobytes())
    content[place + 1] ^= 1
    path = tmp_path / "flipped.ckpt"
    path.write_bytes(content)
    outcome = sparsity("test", "--config", run_folder(trained) / "config.yaml", "--ckpt_path", path)
    assert outcome.code == 2
    assert "flipped.ckpt is damaged" in outcome.err


def test_errors_that_are_behind_each_other_do_not_keep_the_program_busy(sparsity: Any, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        first, second = OSError("first"), OSError("second")
        first.__context__, second.__context__ = second, first
        raise first

    monkeypatch.setattr("sparsity.cli.lightning.SparsityCLI.__init__", fail)
    with pytest.raises(OSError, match="first"):
        sparsity("fit")


@pytest.mark.parametrize("size", [None, 0, 1000])
def test_a_last_checkpoint_that_is_damaged_or_gone_is_refused_and_another_one_named(
    sparsity: Any, trained: Path, size: int | None
) -> None:
    checkpoints = run_folder(trained) / "checkpoints"
    last = checkpoints / "last.ckpt"
    if size is None:
        last.unlink()
    else:
        os.truncate(last, size)
    outcome = sparsity("fit", "--config", run_folder(trained) / "config.yaml", "--ckpt_path", last)
    assert outcome.code == 2
    assert f"{last}" in outcome.err
    assert outcome.err.endswith(f"the newest other checkpoint beside it is {checkpoints / 'best.ckpt'}\n")
    assert not run_folder(trained, 1).exists()


def test_a_log_folder_that_cannot_be_written_is_named_before_training(sparsity: Any, tmp_path: Path) -> None:
    (tmp_path / "lightning_logs").write_text("a file")
    outcome = sparsity("fit", *QUICK, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 2
    assert f"error: cannot write {run_folder(tmp_path)}: Not a directory" in outcome.err
    assert "Density" not in outcome.out


def test_runs_of_the_same_slurm_job_have_folders_of_their_own(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"JOB_ID": "7", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for _ in range(2):
        outcome = sparsity("fit", *QUICK, "--trainer.default_root_dir", tmp_path)
        assert outcome.code == 0, outcome.err
    assert {path.name for path in (tmp_path / "lightning_logs").iterdir()} == {"version_7", "version_8"}


def test_the_folder_of_another_run_is_never_written_to(sparsity: Any, tmp_path: Path) -> None:
    logger = ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", tmp_path]
    chosen = [*logger, "--trainer.logger.version", "mine", "--trainer.enable_checkpointing", "false"]
    assert sparsity("fit", *QUICK, *chosen).code == 0
    folder = tmp_path / "lightning_logs" / "mine"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = sparsity("fit", *QUICK, *chosen)
    assert outcome.code == 2
    assert f"{folder} holds another run" in outcome.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_from_sparse_weights_is_not_called_dense(sparsity: Any, trained: Path, tmp_path: Path) -> None:
    weights = ["--model.weights", run_folder(trained) / "checkpoints" / "last.ckpt"]
    assert sparsity("fit", *QUICK, *weights, "--trainer.default_root_dir", tmp_path / "again").code == 0
    (place,) = RunFolder(run_folder(tmp_path / "again")).events_folders
    assert place.name == "masks_kept-seed42"
