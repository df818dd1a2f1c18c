"""What CONTRIBUTING.md says of adding something: its examples and commands as they stand there, and its counts."""

import difflib
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
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


HERE = {
    "my_saliency": ("sparsity/pruning/saliency.py", "callbacks/before_training.py", "SquaredMagnitude"),
    "my_dynamics": ("callbacks/during_training.py", "callbacks/during_training.py", "LargeUnits"),
    "my_network": ("sparsity/networks/shallow.py", "sparsity/networks/shallow.py", "Shallow"),
    "my_data": ("datamodules/stripes.py", "datamodules/stripes.py", "Stripes"),
}
"""By example, the files that its functions and its class are added to, and the class's name."""


def _add(text: str, path: Path) -> None:
    path.write_text((path.read_text() + "\n\n" if path.exists() else "") + text)


@pytest.fixture(scope="module")
def with_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout to which every example was added where one of ours would be, with short names of their own."""
    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("sparsity", "callbacks", "datamodules", "configs"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for module, (functions_in, class_in, name) in HERE.items():
        # The base class is in that very file, or is named by where it is.
        example = EXAMPLES[module].replace("sparsity.datamodules import", "sparsity.datamodules.images import")
        example = re.sub(r"from sparsity\.callbacks import \w+\n", "", example)
        functions, header, body = example.partition(f"class {name}")
        if functions_in == class_in:
            _add(example, checkout / class_in)
        else:
            _add(functions, checkout / functions_in)
            source = functions_in.removesuffix(".py").replace("/", ".")
            names = ", ".join(re.findall(r"^def (\w+)", functions, flags=re.MULTILINE))
            _add(f"from {source} import {names}\n\n\n{header}{body}", checkout / class_in)
        place = class_in.removesuffix(".py").replace("/", ".")
        listing = checkout / Path(class_in).parent / "__init__.py"
        lines = listing.read_text().replace("__all__ = [", f'__all__ = ["{name}", ', 1)
        imported = f"from {place if place.startswith('sparsity') else f'sparsity.{place}'} import {name}\n"
        listing.write_text(lines.replace("from sparsity", f"{imported}from sparsity", 1))
    return checkout


@pytest.mark.parametrize(("pruner", "kept"), [("SquaredMagnitude", "3,176"), ("LargeUnits", "3,176")])
def test_each_can_be_added_here_as_well_and_has_a_short_name(with_all: Path, pruner: str, kept: str) -> None:
    arguments = ["--config", "configs/quickstart.yaml", "--pruner", pruner, "--pruner.density", "0.1",
                 "--model.network", "Shallow", "--model.network.width", "40", "--data", "Stripes",
                 "--data.limit", "1000"]  # fmt: skip
    command = [sys.executable, "-m", "sparsity", "fit", *arguments, *SHORT]
    done = subprocess.run(command, cwd=with_all, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{pruner}: density 0.1 asked, 0.1 reached ({kept} of 31,760 weights)" in done.stdout


def _changed_lines(before: Path, after: Path) -> int:
    old, new = (path.read_text().splitlines() for path in (before, after))
    return sum(line.startswith("+ ") for line in difflib.ndiff(old, new))


def test_here_it_takes_the_files_and_lines_that_are_promised(with_all: Path) -> None:
    rows = dict(
        re.findall(r"^\| an? (saliency|pruner|network|data set)\b[^|]*\|[^|]*\|([^|]*)\|", PAGE, flags=re.MULTILINE)
    )
    assert len(rows) == len(HERE)
    listings: Counter[Path] = Counter()
    for (functions_in, class_in, _), promise in zip(HERE.values(), rows.values(), strict=True):
        listing = Path(class_in).parent / "__init__.py"
        listings[listing] += 2
        assert "2 lines" in promise
        for file in {functions_in, class_in}:
            assert file in promise or f"{Path(file).parent}/" in promise
    for listing, lines in listings.items():
        assert 1 < _changed_lines(ROOT / listing, with_all / listing) <= lines


def test_a_data_set_takes_no_more_than_the_lines_that_are_promised() -> None:
    (most,) = re.findall(r"1 class, at most (\d+) lines", PAGE)
    for source in (EXAMPLES["my_data"], *map(inspect.getsource, (Digits, MNIST, FashionMNIST, CIFAR10, CIFAR100))):
        assert len(source.splitlines()) <= int(most)


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, CIFAR10, CIFAR100, Digits])
def test_no_data_set_repeats_the_arguments_of_the_base_class(cls: type) -> None:
    own = set(re.findall(r"^ +(\w+): ", inspect.getdoc(cls) or "", flags=re.MULTILINE))
    assert not own & {"batch_size", "num_workers", "limit"}


def test_the_page_has_the_examples_and_commands() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys() == KEPT.keys()
