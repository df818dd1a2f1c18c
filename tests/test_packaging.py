"""The package is the same from a checkout and from a wheel."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports_in_checkout(statement: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", statement]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_callbacks_and_datamodules_are_imported_under_the_packages_name() -> None:
    done = imports_in_checkout("import sparsity.callbacks as c; print(c.__name__, c.SynFlow.__module__)")
    assert done.stdout.split() == ["sparsity.callbacks", "sparsity.callbacks.before_training"]


def test_the_lowest_versions_that_are_tested_are_the_lower_bounds() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.MULTILINE))
    dependencies = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("\n]")[0]
    bounds = dict(re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)(?:,<[\d.]+)?"', dependencies))
    assert pinned.keys() == bounds.keys()
    for package, bound in bounds.items():
        assert f"{pinned[package]}.".startswith(f"{bound}."), package


def test_nothing_imports_the_checkouts_root_through_the_package() -> None:
    done = imports_in_checkout(
        "import sys, sparsity.cli, sparsity.analysis, sparsity.interop; "
        "wrong = ('sparsity.sparsity', 'sparsity.tests', 'callbacks', 'datamodules'); "
        "print([m for m in sys.modules if m.startswith(wrong)])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_pure_functions_do_not_import_lightning_or_matplotlib() -> None:
    done = imports_in_checkout(
        "import sys, sparsity.masks, sparsity.networks, sparsity.pruning.iterative, sparsity.pruning.score_search, "
        "sparsity.analysis, sparsity.interop; "
        "print([m for m in ('pytorch_lightning', 'matplotlib') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_works_in_an_empty_folder(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if not re.search(r"\.dist-info/", name)}
    folders = {"sparsity": "sparsity", "callbacks": "sparsity/callbacks", "datamodules": "sparsity/datamodules"}
    expected = {
        f"{there}/{path.relative_to(ROOT / here)}"
        for here, there in folders.items()
        for path in (ROOT / here).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert inside == expected
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop()); from sparsity.cli import main; "
         "main(['fit', '--data', 'Digits', '--model.network', 'FC', '--pruner', 'SynFlow', '--pruner.density', '0.1', "
         "'--trainer.max_epochs', '1'])", str(wheel)],
        cwd=empty, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (empty / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt").is_file()
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop()); from sparsity.cli import main; "
         "main(['report', 'lightning_logs', '--output', 'page'])", str(wheel)],
        cwd=empty, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (empty / "page" / "index.html").is_file()
