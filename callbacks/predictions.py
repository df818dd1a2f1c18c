"""What `predict` leaves behind: a row per image as CSV, and the same as tensors."""

import csv
import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from sparsity.analysis.output import next_folder
from sparsity.atomic import missing_folders, remove_empty, write_new
from sparsity.errors import SparsityError


class PredictionWriter(Callback):
    """Writes class probabilities into a new folder when a prediction ends, and says where.

    `predictions.csv` has a row per image, in the data's order: index, label if there is one, predicted class, and the
    probability of every class. `predictions.pt` holds the same as tensors.

    Args:
        output: The folder; if there is one of that name, one with a number after it.

    Raises:
        SparsityError: In several processes, each of which sees some of the images only, or if the network does not
            classify.
    """

    def __init__(self, output: str = "predictions") -> None:
        self.output = Path(output)
        self._probabilities: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._folder: Path | None = None
        self._made: list[Path] = []

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            raise SparsityError("predict writes one table, from one process; set trainer.devices to 1")
        self._probabilities, self._labels = [], []
        parents = missing_folders(self.output.parent)
        self._folder = next_folder(self.output.parent, self.output.name)
        self._made = [self._folder, *parents]

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            shape = f" shaped {list(outputs.shape)}" if isinstance(outputs, Tensor) else ""
            raise SparsityError(
                "predict writes class probabilities [batch, classes], and predict_step of "
                f"{type(pl_module).__name__} gives a {type(outputs).__name__}{shape}"
            )
        self._probabilities.append(outputs.detach().float().cpu())
        match batch:
            case [_, Tensor() as labels, *_] if labels.shape == outputs.shape[:1] and not labels.is_floating_point():
                self._labels.append(labels.cpu())

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._folder is not None
        probabilities = torch.cat(self._probabilities)
        labels = torch.cat(self._labels) if self._labels else None
        write_predictions(self._folder, probabilities, labels)
        print(f"{len(probabilities):,} predictions written to {self._folder}")

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        remove_empty(self._made)


def write_predictions(folder: Path, probabilities: Tensor, labels: Tensor | None) -> None:
    """Write `predictions.csv` and `predictions.pt`, both or none.

    Args:
        folder: Without these files.
        probabilities: `[images, classes]`, on the CPU.
        labels: `[images]`, class indices; None if nobody knows.
    """
    predicted = probabilities.argmax(1)
    tensors = {"probabilities": probabilities, "predicted": predicted}
    columns = {"index": list(range(len(probabilities)))}
    if labels is not None:
        tensors["labels"] = labels
        columns["label"] = labels.tolist()
    columns["predicted"] = predicted.tolist()
    table, binary = io.StringIO(newline=""), io.BytesIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*columns, *(f"probability_{k}" for k in range(probabilities.shape[1]))])
    for *row, values in zip(*columns.values(), probabilities.tolist(), strict=True):
        writer.writerow([*row, *(f"{value:.9g}" for value in values)])
    torch.save(tensors, binary)
    write_new(folder / "predictions.csv", table.getvalue().encode())
    try:
        write_new(folder / "predictions.pt", binary.getbuffer())
    except BaseException:
        (folder / "predictions.csv").unlink()
        raise
