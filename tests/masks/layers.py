"""One small classifier for each kind of weight that can be masked, from `[batch, 1, 6, 6]` to two classes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Conv1D(nn.Module):
    """As Hugging Face writes it: a Linear whose weight is `[in, out]`."""

    def __init__(self, units: int, inputs: int) -> None:
        super().__init__()
        self.nf = units
        self.weight = nn.Parameter(torch.randn(inputs, units) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Classifier(nn.Module):
    """Rows of an image through a layer, then the mean over what is not batch or units, then a head."""

    input_shape = (1, 6, 6)

    def __init__(self, layer: nn.Module, units: int, call: Callable[[nn.Module, Tensor], Tensor], axis: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(units, 2)
        self._call, self._axis = call, axis

    def forward(self, images: Tensor) -> Tensor:
        found = self._call(self.layer, images).movedim(self._axis, 1).flatten(2).mean(2)
        logits: Tensor = self.head(found.relu())
        return logits


class Cells(nn.Module):
    """A recurrent cell, row after row."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, rows: Tensor) -> Tensor:
        state: Any = None
        for row in rows.unbind(1):
            state = self.cell(row, state)
        last: Tensor = state[0] if isinstance(state, tuple) else state
        return last.unsqueeze(1)


class TwoInputs(nn.Module):
    """A bilinear layer of an image's rows and the rows turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Bilinear(6, 6, 5)

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.product(rows, rows.flip(-1))
        return found


class Words(nn.Module):
    """An embedding of pixels that are rounded to whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(8, 5)

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.table((rows.abs() * 3).long().clamp(max=7))
        return found


def _image(layer: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = layer(images)
    return found


def _rows(layer: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = layer(images.flatten(1, 2))
    return found


def _cube(layer: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = layer(images.unsqueeze(1))
    return found


def _states(layer: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = layer(images.flatten(1, 2))[0]
    return found


def _attention(layer: nn.Module, images: Tensor) -> Tensor:
    rows = images.flatten(1, 2)
    found: Tensor = layer(rows, rows, rows)[0]
    return found


def _maps(layer: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = layer(images.expand(-1, 4, -1, -1))
    return found


LAYERS: dict[str, Callable[[], Classifier]] = {
    "linear": lambda: Classifier(nn.Linear(6, 5), 5, _rows, -1),
    "conv 1d": lambda: Classifier(nn.Conv1d(6, 5, 3), 5, _rows, 1),
    "conv 2d": lambda: Classifier(nn.Conv2d(1, 5, 3), 5, _image, 1),
    "grouped": lambda: Classifier(nn.Conv2d(4, 6, 3, groups=2), 6, _maps, 1),
    "depthwise": lambda: Classifier(nn.Conv2d(4, 8, 3, groups=4), 8, _maps, 1),
    "conv 3d": lambda: Classifier(nn.Conv3d(1, 5, (1, 3, 3)), 5, _cube, 1),
    "transposed 1d": lambda: Classifier(nn.ConvTranspose1d(6, 5, 3), 5, _rows, 1),
    "transposed 2d": lambda: Classifier(nn.ConvTranspose2d(1, 5, 3), 5, _image, 1),
    "transposed in groups": lambda: Classifier(nn.ConvTranspose2d(4, 6, 3, groups=2), 6, _maps, 1),
    "transposed 3d": lambda: Classifier(nn.ConvTranspose3d(1, 5, (1, 3, 3)), 5, _cube, 1),
    "bilinear": lambda: Classifier(TwoInputs(), 5, _rows, -1),
    "attention": lambda: Classifier(nn.MultiheadAttention(6, 2, batch_first=True), 6, _attention, -1),
    "attention of two sizes": lambda: Classifier(
        nn.MultiheadAttention(6, 2, kdim=6, vdim=6, batch_first=True, bias=False), 6, _attention, -1
    ),
    "lstm": lambda: Classifier(nn.LSTM(6, 5, num_layers=2, batch_first=True), 5, _states, -1),
    "lstm both ways": lambda: Classifier(
        nn.LSTM(6, 5, proj_size=3, bidirectional=True, batch_first=True), 6, _states, -1
    ),
    "gru": lambda: Classifier(nn.GRU(6, 5, batch_first=True), 5, _states, -1),
    "rnn": lambda: Classifier(nn.RNN(6, 5, batch_first=True), 5, _states, -1),
    "lstm cell": lambda: Classifier(Cells(nn.LSTMCell(6, 5)), 5, _rows, -1),
    "gru cell": lambda: Classifier(Cells(nn.GRUCell(6, 5)), 5, _rows, -1),
    "gpt": lambda: Classifier(Conv1D(5, 6), 5, _rows, -1),
    "embedding": lambda: Classifier(Words(), 5, _rows, -1),
}
INCLUDED = {"embedding": ["*.table"]}
"""What has to be asked for."""
