import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from rich.console import Console
from torch.utils.data import DataLoader

from sparsity.callbacks import GemMiner, IterativeMagnitude, PruningCallback, QuietProgressBar, Random
from sparsity.callbacks.phase import Phase

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A terminal of 100 columns in the place of the console, and the text of every line that a bar draws."""
    lines: list[str] = []
    monkeypatch.setattr(
        "sparsity.callbacks.progress.Console",
        lambda: Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None),
    )
    shown = QuietProgressBar._show

    def show(bar: QuietProgressBar, **fields: Any) -> None:
        shown(bar, **fields)
        if bar._line is not None:
            console = Console(width=100, file=io.StringIO(), color_system=None)
            console.print(bar._line.get_renderable())
            lines.append(console.file.getvalue())  # type: ignore[attr-defined]

    monkeypatch.setattr(QuietProgressBar, "_show", show)
    return lines


def fit(bar: QuietProgressBar, module: Any, loader: DataLoader[Any], epochs: int = 2, *others: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[bar, *others],
    )  # fmt: skip
    trainer.fit(module, loader)
    return trainer


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (1_000_000_000, [0, 1, 2, 3, 4, 5, 6]),
        (1, [0, 1, 6]),
        (0, [0, 1, 6]),
    ],
)
def test_it_is_drawn_as_often_in_a_second_as_asked_and_at_both_ends_of_an_epoch(
    rate: int, expected: list[int], seen: list[str], make_module: Any, loader: DataLoader[Any], monkeypatch: Any
) -> None:
    drawn: list[int] = []
    show = QuietProgressBar._show

    def counted(bar: QuietProgressBar, **fields: Any) -> None:
        drawn.extend([fields["completed"]] if "completed" in fields else [])
        show(bar, **fields)

    monkeypatch.setattr(QuietProgressBar, "_show", counted)
    fit(QuietProgressBar(refresh_rate=rate), make_module(), loader, 1)
    assert drawn == expected


def test_one_line_says_how_far_the_whole_fit_is(seen: list[str], make_module: Any, loader: DataLoader[Any]) -> None:
    fit(QuietProgressBar(refresh_rate=1_000_000_000), make_module(), loader, 2, Random(density=0.1))
    assert all(line.count("\n") == 1 for line in seen)
    assert [line.split()[:2] for line in seen[:-1]] == [["epoch", "1/2"]] * 7 + [["epoch", "2/2"]] * 7
    assert all("density 9.95 %" in line for line in seen)


PHASES: list[tuple[PruningCallback, int, list[str]]] = [
    (GemMiner(density=0.1, search_epochs=3, period=1), 5, ["search 1/3", "search 2/3", "search 3/3", "finetuning 1/2"]),
    (IterativeMagnitude(density=0.25, rounds=2), 7, ["training 1/2", "training 2/2", "training 1/2", "training 1/3"]),
]


@pytest.mark.parametrize(("pruner", "epochs", "expected"), PHASES)
def test_phases_are_named(
    pruner: PruningCallback, epochs: int, expected: list[str], seen: list[str], make_module: Any, loader: Any
) -> None:
    fit(QuietProgressBar(), make_module(), loader, epochs, pruner)
    found = [" ".join(line.split()[:2]) for line in seen]
    assert all(one in found for one in expected)
    assert any("cut 1 of 2, density" in line for line in seen)


def test_words_of_a_phase() -> None:
    phase = Phase("search", 12, 45, (11, 44))
    assert (phase.where, phase.cuts_in_words) == ("search 12/45", "cut 11 of 44")
    phase = Phase("epoch", 3, None)
    assert (phase.where, phase.cuts_in_words) == ("epoch 3", "")


def test_nothing_is_shown_where_nobody_looks(
    make_module: Any, loader: DataLoader[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = fit(QuietProgressBar(), make_module(), loader, 2, Random(density=0.1))
    trainer.validate(make_module(), loader, verbose=False)
    assert "epoch" not in capsys.readouterr().out


def test_a_terminal_shows_phases_and_ends_with_the_line_of_results(tmp_path: Path) -> None:
    arguments = "fit --config configs/quickstart.yaml --pruner SynFlow --trainer.max_epochs 2 --trainer.callbacks null"
    command = [sys.executable, "-m", "sparsity", *arguments.split(), "--trainer.default_root_dir", str(tmp_path)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                text += (read := os.read(ours, 65536))
            except OSError:  # its end is closed
                break
            if not read:
                break
    os.close(ours)
    assert process.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())
    for expected in ("SynFlow ━", "epoch 2/2", "density 10 %", "val/accuracy"):
        assert expected in plain
    assert "v_num" not in plain
    assert "Restoring states" not in plain
    assert plain.strip().splitlines()[-1].startswith("SynFlow: density 0.1 asked") or "log in" in plain[-300:]
