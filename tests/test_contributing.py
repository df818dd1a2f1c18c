"""What CONTRIBUTING.md says of adding something: its examples and commands as they stand there, and its counts."""

import inspect
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsity.datamodules import CIFAR10, CIFAR100, MNIST, Digits, FashionMNIST

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"`(my_\w+)\.py`.*?```python\n(.*?)```", PAGE, flags=re.DOTALL))
COMMANDS = {re.findall(r"my_\w+", line)[0]: line.strip().removeprefix("python -m sparsity ")
            for line in PAGE.splitlines() if line.startswith("    python -m sparsity fit")}  # fmt: skip
SHORT = ["--trainer.max_epochs", "2", "--data.batch_size", "64", "--data.val_size", "100",
         "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]  # fmt: skip


@pytest.fixture
def _in_one_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the example's own file is added, and nothing is registered anywhere."""
    module: str = request.node.callspec.params["module"]
    (tmp_path / f"{module}.py").write_text(EXAMPLES[module])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.chdir(ROOT)


KEPT = {
    "my_saliency": r"SquaredMagnitude: density 0\.1 asked, 0\.1 reached \(11,940 of 119,400 weights\)",
    "my_dynamics": r"LargeUnits: density 0\.1 asked, 0\.1 reached \(11,940 of 119,400 weights\)",
    # 784 x 40 + 40 x 10 weights.
    "my_network": r"SynFlow: density 0\.1 asked, 0\.1 reached \(3,176 of 31,760 weights\)",
    # With 2 units at the end, not 10.
    "my_data": r"SynFlow: density 0\.1 asked, 0\.1 reached \(11,860 of 118,600 weights\)",
}


@pytest.mark.usefixtures("_in_one_file")
@pytest.mark.parametrize("module", KEPT)
def test_one_file_is_all_it_takes_to_fit_with_it(module: str, sparsity: Any, tmp_path: Path) -> None:
    outcome = sparsity(*shlex.split(COMMANDS[module]), *SHORT, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 0, outcome.err
    assert re.match(KEPT[module], outcome.out.strip().splitlines()[-1])
    folder = tmp_path / "lightning_logs" / "version_0"
    assert f"{module}." in (folder / "config.yaml").read_text()
    assert (folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.usefixtures("_in_one_file")
@pytest.mark.parametrize("module", ["my_data"])
def test_stripes_are_learnt_once_they_are_shown_often_enough(module: str, sparsity: Any, tmp_path: Path) -> None:
    options = ["--trainer.max_epochs", "20", "--trainer.callbacks", "null", "--trainer.default_root_dir", tmp_path]
    outcome = sparsity(*shlex.split(COMMANDS[module]), *SHORT, *options)
    assert outcome.code == 0, outcome.err
    accuracy = re.findall(r"test accuracy ([\d.]+)%", outcome.out)
    assert float(accuracy[-1]) > 80


@pytest.mark.usefixtures("_in_one_file")
@pytest.mark.parametrize("module", ["my_data"])
def test_a_data_set_has_the_base_class_options_with_their_help(module: str, sparsity: Any) -> None:
    outcome = sparsity("fit", f"--data.help={module}.Stripes")
    assert outcome.code == 0
    for words in ("--data.batch_size", "--data.val_size", "--data.num_workers", "--data.limit"):
        assert words in outcome.out
    assert "Training images set aside for validation" in outcome.out


def test_a_data_set_takes_no_more_than_the_lines_that_are_promised() -> None:
    (most,) = re.findall(r"1 class, at most (\d+) lines", PAGE)
    for source in (EXAMPLES["my_data"], *map(inspect.getsource, (Digits, FashionMNIST, CIFAR100))):
        assert len(source.splitlines()) <= int(most)


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, CIFAR10, CIFAR100, Digits])
def test_no_data_set_repeats_the_arguments_of_the_base_class(cls: type) -> None:
    own = set(re.findall(r"^ +(\w+): ", inspect.getdoc(cls) or "", flags=re.MULTILINE))
    assert not own & {"batch_size", "num_workers", "limit"}


def test_the_page_has_the_examples_and_commands() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys() == KEPT.keys()
