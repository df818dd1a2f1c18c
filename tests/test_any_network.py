"""Networks of every kind, all the way: what the table in `docs/networks.md` says of each.

`pytest -m slow tests/test_any_network.py` goes all ways with all of them, which takes a quarter of an hour, and with
`SPARSITY_WRITE_DOCS=1` writes the table.
"""

import os
import re
import tempfile
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from sparsity.callbacks import SynFlow
from sparsity.interop import load_network
from tests.any_network import COLUMNS, DENSITY, Journey, cell, require_same
from tests.networks_of_the_field import FIELD, Samples

PAGE = Path(__file__).parent.parent / "docs" / "networks.md"
CHEAP = ["cnn_1d", "Gpt"]
"""Those that go all ways in seconds."""
DEAR = ["swin", "densenet121", "googlenet", "efficientnet_b0"]
"""Those whose graph takes longest to make; tests of the graph have them too."""

pytestmark = [
    # Three classes have eight images together, and SNIP would have more.
    pytest.mark.filterwarnings("ignore:class . has . training images"),
    # torchvision's vision transformer starts with a head of zeros, through which nothing flows.
    pytest.mark.filterwarnings("ignore:.* chose .* by lot"),
    # Neither the module nor the data say an image's shape, so the run's summary leaves out what needs it.
    pytest.mark.filterwarnings("ignore:.*does not say what it takes"),
    # Few steps and little width leave layers empty.
    pytest.mark.filterwarnings("ignore:.* left no weight in"),
    pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet"),
]


def require_package(name: str) -> None:
    """Skip a network whose package is in the extra `networks`: where it is installed, torchmetrics imports it too."""
    if name in ("bert", "gpt2"):
        pytest.importorskip("transformers", reason='pip install -e ".[networks]"')


def rows() -> dict[str, list[str]]:
    """The cells of the table by the title of their network."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first: others for first, *others in cells}


def test_the_table_has_every_network_and_every_column() -> None:
    heading, rule, *found = list(rows().items())
    assert heading == ("network", list(COLUMNS))
    assert set("".join(rule[1])) == {"-"}
    assert [title for title, _ in found] == [network.title for network in FIELD.values()]
    cells = [cell for _, row in found for cell in row]
    assert all(cells)
    assert sum(cell == "works" for cell in cells) >= 0.9 * len(cells)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in FIELD])
def test_a_network_is_traced_pruned_trained_and_loaded_again(name: str, tmp_path: Path) -> None:
    require_package(name)
    journey = Journey(name, tmp_path)
    torch.manual_seed(1)
    module = journey.network.module(journey.network.make())
    trainer = journey.trainer(SynFlow(DENSITY, iterations=2), epochs=1)
    trainer.fit(module, datamodule=Samples(name))
    trainer.save_checkpoint(tmp_path / "network.ckpt")
    loaded = load_network(tmp_path / "network.ckpt", network=journey.network.make())
    require_same(loaded, module.network, journey.network.sample())


@pytest.mark.parametrize("name", [*CHEAP, *(pytest.param(n, marks=pytest.mark.slow) for n in FIELD if n not in CHEAP)])
def test_the_table_says_what_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_package(name)
    journey, title = Journey(name, tmp_path), FIELD[name].title
    found = [cell(column, journey) for column in COLUMNS]
    if os.environ.get("SPARSITY_WRITE_DOCS"):
        write(title, found)
    assert rows()[title] == found


def write(title: str, cells: list[str]) -> None:
    """Put a row in place of the one that the table has."""
    row = " | ".join([title, *cells])
    with FileLock(Path(tempfile.gettempdir()) / "sparsity_networks.lock"):
        page = re.sub(rf"^\| {re.escape(title)} \|.*\|$", lambda _: f"| {row} |", PAGE.read_text(), flags=re.MULTILINE)
        PAGE.write_text(page)
