"""Patterns by flags and in configs, and what the guide says of them."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
COMMANDS = [
    line.strip().removeprefix("python -m sparsity ")
    for line in (ROOT / "docs" / "pruners.md").read_text().splitlines()
    if line.startswith("    python -m sparsity fit") and "--pruner.pattern" in line
]
SHORT = ["--trainer.max_epochs", "2", "--trainer.callbacks", "null", "--trainer.enable_progress_bar", "false",
         "--data.limit", "256"]  # fmt: skip


def test_the_guide_has_a_command_for_each_pattern() -> None:
    assert [shlex.split(line)[shlex.split(line).index("--pruner.pattern") + 1] for line in COMMANDS] == [
        "2:4", "4x1", "kernel", "unit", "fan_in"
    ]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guides_commands_reach_about_the_density(
    command: str, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    small = ["--model.network.width", "4", "--trainer.accelerator", "cpu"] if "resnet" in command else []
    outcome = sparsity(*shlex.split(command), *SHORT, *small, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 0, outcome.err
    words = outcome.out.strip().splitlines()[-1].split()
    asked, reached = (float(words[words.index(word) - 1]) for word in ("asked,", "reached"))
    assert 0.97 * asked <= reached <= asked


def test_a_config_says_2_to_4_without_quotes_and_a_run_goes_on_with_it_alone(sparsity: Any, tmp_path: Path) -> None:
    config = tmp_path / "two_of_four.yaml"
    config.write_text(
        "pruner:\n  class_path: RigL\n  init_args:\n    density: 0.5\n    pattern: 2:4\n    interval: 2\n"
    )
    fixed = ["fit", "--config", ROOT / "configs" / "quickstart.yaml", "--config", config, *SHORT,
             "--trainer.default_root_dir", tmp_path]  # fmt: skip
    outcome = sparsity(*fixed)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "lightning_logs" / "version_0"
    assert "pattern: '2:4'" in (folder / "config.yaml").read_text()
    longer = ["--trainer.max_epochs", "4", "--ckpt_path", "last"]
    refused = sparsity(*fixed, *longer, "--pruner.pattern", "weight")
    assert refused.code == 2
    assert "of a run with pruner.pattern 2:4, and this one has weight; use the same" in refused.err
    outcome = sparsity(*fixed, *longer)
    assert outcome.code == 0, outcome.err
    newest = max(tmp_path.glob("lightning_logs/version_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    state = torch.load(newest, weights_only=True)["state_dict"]
    masks = [mask for name, mask in state.items() if name.endswith("_mask")]
    assert len(masks) == 6
    assert all(mask.view(-1, 4).sum(1).eq(2).all() for mask in masks)
