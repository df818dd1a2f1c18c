"""The commands of `docs/networks.md`, as they stand there, on a few images."""

import pickle
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.datamodules.conftest import cifar_entry

PAGE = (Path(__file__).parent.parent / "docs" / "networks.md").read_text()
COMMANDS = re.findall(r"^    python -m sparsity (.*)$", PAGE, flags=re.MULTILINE)
SHORT = (
    "--data.verify false --data.val_size 20 --data.batch_size 8 --pruner.iterations 2 --trainer.max_epochs 1 "
    "--trainer.limit_train_batches 2 --trainer.accelerator cpu --trainer.enable_progress_bar false "
    "--trainer.callbacks null"
)


@pytest.mark.filterwarnings("ignore:.* chose .* by lot")
@pytest.mark.filterwarnings("ignore:.* left no weight in")
@pytest.mark.filterwarnings("ignore:.*does not say what it takes")
def test_networks_are_named_as_the_page_says(sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("test_batch", *(f"data_batch_{number}" for number in range(1, 6))):
        (folder / name).write_bytes(pickle.dumps(cifar_entry(40), protocol=2))
    (code,) = re.findall(r"```python\n([^`]*)```", PAGE)
    (tmp_path / "my_net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SPARSITY_DATA_DIR", str(tmp_path / "data"))
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        if "transformers." in command and find_spec("transformers") is None:
            continue
        outcome = sparsity(*shlex.split(command), *(shlex.split(SHORT) if command.startswith("fit ") else []))
        assert outcome.code == 0, outcome.err
        assert ("density 0.1 asked" in outcome.out) == command.startswith("fit ")
    assert (tmp_path / "analysis" / "summary.json").is_file()
