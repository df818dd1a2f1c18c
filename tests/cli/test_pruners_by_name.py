"""Every pruner runs from the command line by its bare name, and a broken ticket by one more flag."""

from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = [
    "fit", "--config", ROOT / "configs" / "quickstart.yaml", "--trainer.max_epochs", "4", "--data.limit", "320",
    "--trainer.callbacks", "null", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
]  # fmt: skip
SAID_AT_THE_START = {
    "GemMiner": "GemMiner: 2 epochs of search with 1 cuts (period 1), then 2 of finetuning",
    "EdgePopup": "EdgePopup: 4 epochs of search at density 0.1, then 0 of finetuning",
    "IterativeMagnitude": "IterativeMagnitude: 1 cuts between trainings of 2 epochs, rewinding to init",
    "GradualMagnitude": "GradualMagnitude: a new mask every 1 steps, from step 2 to 9 of 12",
    "SET": "SET: a new mask every 1 steps, from step 0 to 9 of 12",
    "RigL": "RigL: a new mask every 1 steps, from step 0 to 9 of 12",
}
ONE_SHOT = ["Random", "Magnitude", "LAMP", "SynFlow", "SNIP", "GraSP", "Clustered"]


def run(sparsity: Any, folder: Path, *arguments: object) -> Any:
    return sparsity(*QUICKSTART, "--trainer.default_root_dir", folder, *arguments)


def masks(folder: Path, version: int = 0) -> dict[str, torch.Tensor]:
    path = folder / "lightning_logs" / f"version_{version}" / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.endswith("weight_mask")}


# Densities of 0.1 empty a layer of the quickstart's network for some, which they say.
@pytest.mark.filterwarnings("ignore:.*left no weight in")
@pytest.mark.parametrize("name", [*ONE_SHOT, *SAID_AT_THE_START])
def test_a_bare_name_is_enough(name: str, sparsity: Any, tmp_path: Path) -> None:
    outcome = run(sparsity, tmp_path, "--pruner", name, "--pruner.density", "0.1")
    assert outcome.code == 0, outcome.err
    summary = outcome.out.strip().splitlines()[-1]
    assert summary.startswith(f"{name}: density 0.1 asked, 0.1 reached (11,940 of 119,400 weights)")
    assert SAID_AT_THE_START.get(name, "") in outcome.err


@pytest.mark.parametrize("ablation", ["shuffle", "reinitialise", "invert", "random_same_ratios"])
def test_one_flag_repeats_a_run_with_a_broken_ticket(ablation: str, sparsity: Any, tmp_path: Path) -> None:
    whole = ["--pruner", "SynFlow", "--pruner.iterations", "5"]
    assert run(sparsity, tmp_path, *whole).code == 0
    outcome = run(sparsity, tmp_path, *whole, "--ablation", ablation)
    found, broken = masks(tmp_path, 0), masks(tmp_path, 1)
    summary = outcome.out.strip().splitlines()[-1]
    if ablation == "invert":
        assert summary.startswith("SynFlow (invert): density 0.1 asked, 0.9 reached")
        assert all(torch.equal(broken[n], ~m) for n, m in found.items())
    else:
        assert summary.startswith(f"SynFlow ({ablation}): density 0.1 asked, 0.1 reached")
        assert all(broken[n].sum() == m.sum() for n, m in found.items())


def test_the_mask_of_a_checkpoint_is_trained_whole_or_broken(sparsity: Any, tmp_path: Path) -> None:
    assert run(sparsity, tmp_path, "--pruner", "RigL").code == 0
    taken = ["--pruner", "MaskFrom", "--pruner.mask_from",
             tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"]  # fmt: skip
    outcome = run(sparsity, tmp_path, *taken)
    assert "MaskFrom: density 0.1 asked, 0.1 reached" in outcome.out
    outcome = run(sparsity, tmp_path, *taken, "--ablation", "shuffle")
    assert "MaskFrom (shuffle): density 0.1 asked, 0.1 reached" in outcome.out
    layers = masks(tmp_path, 0)
    assert all(m.sum() == masks(tmp_path, 2)[n].sum() for n, m in layers.items())
    resumed = run(sparsity, tmp_path, *taken, "--ablation", "shuffle", "--ckpt_path", "last")
    assert resumed.code == 0, resumed.err


@pytest.mark.parametrize("taken_from", ["checkpoint", "list", "mapping"])
def test_an_allocation_can_be_that_of_another_run(taken_from: str, sparsity: Any, tmp_path: Path) -> None:
    assert run(sparsity, tmp_path, "--pruner", "SynFlow", "--pruner.iterations", "5").code == 0
    found = {n.split(".")[1]: int(m.sum()) / m.numel() for n, m in masks(tmp_path).items()}
    allocation = {
        "checkpoint": str(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"),
        "list": str(list(found.values())),
        "mapping": str(found),
    }[taken_from]
    outcome = run(sparsity, tmp_path, "--pruner", "Random", "--pruner.allocation", allocation)
    assert outcome.code == 0, outcome.err
    again = {n.split(".")[1]: int(m.sum()) / m.numel() for n, m in masks(tmp_path, 1).items()}
    assert again == found


WRONG = [
    (["--pruner", "Random", "--pruner.allocation", "erkk"], "erkk"),
    (["--pruner", "Random", "--pruner.allocation", "[0.1, 0.2]"], "2 densities for 6 layers"),
    (["--pruner", "Random", "--pruner.allocation", "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]"], "set density to 0.5"),
    (["--pruner", "Random", "--pruner.allocation", "{fc1: 0.1}"], "'fc2'"),
    (
        ["--pruner", "Random", "--pruner.allocation", "smart_ratio", "--pruner.density", "0.001"],
        "raise it, or choose another",
    ),
    (["--pruner", "MaskFrom", "--pruner.mask_from", "nowhere.ckpt"], "there is no file nowhere.ckpt"),
    (["--pruner", "SET", "--ablation", "shuffle"], "--pruner MaskFrom --pruner.mask_from"),
    (["--pruner", "null", "--ablation", "shuffle"], "give one with --pruner"),
    (["--pruner", "SET", "--pruner.start", "0.9"], "0 <= start < stop <= 1"),
    (["--pruner", "RigL", "--pruner.drop_fraction", "1.5"], "drop_fraction is a fraction in (0, 1)"),
    (["--pruner", "SNIP", "--pruner.samples_per_class", "0"], "samples_per_class must be a whole number"),
    (["--pruner", "GraSP", "--pruner.temperature", "0"], "temperature must be above 0"),
    (["--pruner", "IterativeMagnitude", "--pruner.rounds", "9"], "9 rounds need 10 trainings"),
    (["--pruner", "IterativeMagnitude", "--pruner.rewind", "30"], "not within the first training of 6 steps"),
    (["--pruner", "EdgePopup", "--pruner.search_epochs", "9"], "search_epochs 9 is more than trainer.max_epochs 4"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=lambda value: " ".join(value)[9:60] if isinstance(value, list) else ""
)
def test_a_mistake_ends_in_one_sentence_and_leaves_nothing_behind(
    arguments: list[str], message: str, sparsity: Any, tmp_path: Path
) -> None:
    outcome = run(sparsity, tmp_path, *arguments)
    assert outcome.code == 2
    error = outcome.err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not list(tmp_path.iterdir())
