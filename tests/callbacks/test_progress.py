from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from torch.utils.data import DataLoader

from sparsity.callbacks import QuietProgressBar


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches after which the bar of Lightning is told, of an epoch of six."""
    told: list[int] = []
    theirs = RichProgressBar.on_train_batch_end
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda *a: (told.append(a[-1]), theirs(*a))[1])
    return told


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        (QuietProgressBar(refresh_rate=1_000_000_000), [0, 1, 2, 3, 4, 5]),
        (QuietProgressBar(refresh_rate=1), [0, 5]),
        (QuietProgressBar(refresh_rate=0), [0, 5]),
    ],
)
def test_it_is_updated_as_often_in_a_second_as_asked_and_at_both_ends_of_an_epoch(
    bar: QuietProgressBar, expected: list[int], updates: list[int], make_module: Any, loader: DataLoader[Any]
) -> None:
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[bar],
    )  # fmt: skip
    trainer.fit(make_module(), loader)
    assert updates == expected


def test_a_short_epoch_shows_its_speed(
    make_module: Any, loader: DataLoader[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[QuietProgressBar()],
    )  # fmt: skip
    trainer.fit(make_module(), loader)
    assert "6/6" in (shown := capsys.readouterr().out)
    assert " 0.00it/s" not in shown.splitlines()[-1]
