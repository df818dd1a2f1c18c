"""Modules that do not classify, each with its data: what their training steps take and give is their own."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Module(pl.LightningModule):
    """Trains a network by a loss that it is given."""

    def __init__(self, network: nn.Module, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self.network, batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(self.network, batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class UNet(nn.Module):
    """Two scales, a transposed convolution and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        skipped = self.down(images)
        return self.head(torch.cat([skipped, self.up(self.deep(skipped))], dim=1))


class LSTM(nn.Module):
    """A language model of one recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


class Transformer(nn.Module):
    """A language model of one layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        later = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.head(self.layer(self.embedding(tokens), src_mask=later))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(3, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(F.relu(self.first(a) + self.second(b)))


class ByName(nn.Module):
    """Takes its inputs by name and answers with a dictionary, as Hugging Face's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.body = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 4))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        seen = self.embedding(input_ids) * attention_mask[..., None]
        return {"logits": self.body(seen.sum(1))}


class Rows(Dataset[Any]):
    """Samples that are dictionaries."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def by_name_loss(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    labels = batch.pop("labels")
    return F.cross_entropy(network(**batch)["logits"], labels)


def next_token_loss(network: nn.Module, batch: list[Tensor]) -> Tensor:
    (tokens,) = batch
    return F.cross_entropy(network(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole_numbers(below: int, *shape: int) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(0))


def regression() -> tuple[Module, Dataset[Any]]:
    network = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))
    inputs = numbers(32, 6)
    return Module(network, lambda network, batch: F.mse_loss(network(batch[0]), batch[1])), TensorDataset(
        inputs, inputs[:, :2] ** 2
    )


def segmentation() -> tuple[Module, Dataset[Any]]:
    data = TensorDataset(numbers(32, 3, 8, 8), whole_numbers(4, 32, 8, 8))
    return Module(UNet(), lambda network, batch: F.cross_entropy(network(batch[0]), batch[1])), data


def lstm() -> tuple[Module, Dataset[Any]]:
    return Module(LSTM(), next_token_loss), TensorDataset(whole_numbers(11, 32, 7))


def transformer() -> tuple[Module, Dataset[Any]]:
    return Module(Transformer(), next_token_loss), TensorDataset(whole_numbers(11, 32, 7))


def two_inputs() -> tuple[Module, Dataset[Any]]:
    module = Module(TwoInputs(), lambda network, batch: F.l1_loss(network(*batch[:2])[:, 0], batch[2]))
    return module, TensorDataset(numbers(32, 5), numbers(32, 3), numbers(32, seed=1))


def dictionaries() -> tuple[Module, Dataset[Any]]:
    data = Rows(input_ids=whole_numbers(11, 32, 7), attention_mask=torch.ones(32, 7), labels=whole_numbers(4, 32))
    return Module(ByName(), by_name_loss), data


def binary() -> tuple[Module, Dataset[Any]]:
    """Labels that are whole numbers, one to a sample, and one output."""
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 1))

    def loss(network: nn.Module, batch: list[Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(network(batch[0])[:, 0], batch[1].float())

    return Module(network, loss), TensorDataset(numbers(32, 6), whole_numbers(2, 32))


MODULES: dict[str, Callable[[], tuple[Module, Dataset[Any]]]] = {
    "regression": regression,
    "segmentation": segmentation,
    "LSTM": lstm,
    "transformer": transformer,
    "two inputs": two_inputs,
    "dictionaries": dictionaries,
    "binary": binary,
}


def loader(data: Dataset[Any]) -> DataLoader[Any]:
    """Four batches of eight, in an order of their own."""
    return DataLoader(data, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(1))
