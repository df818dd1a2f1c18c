"""What a fit's samples look like is asked of the module first, then of the data, then of the network."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from sparsity.callbacks.samples import known_sample


class Named(nn.Linear):
    """As Hugging Face's networks say what they take."""

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        return {"input": torch.zeros(3, 4)}


class Around(pl.LightningModule):
    def __init__(self, network: nn.Module, **said: Any) -> None:
        super().__init__()
        self.network = network
        for name, value in said.items():
            setattr(self, name, value)


class Data(pl.LightningDataModule):
    input_shape = (5,)


def network(kind: type[nn.Linear] = nn.Linear, **said: Any) -> nn.Module:
    made = kind(4, 3)
    for name, value in said.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("module", "data", "expected"),
    [
        (Around(network(input_shape=[6]), example_input_array=torch.zeros(1, 4)), Data(), torch.zeros(1, 4)),
        (Around(network(input_shape=[6])), Data(), (5,)),
        (Around(network(input_shape=[6])), None, (6,)),
        (Around(network(example_input_array=torch.ones(1, 4))), None, torch.ones(1, 4)),
        (Around(network(Named)), None, {"input": torch.zeros(3, 4)}),
        (Around(network(input_shape="any")), None, None),
        (Around(network()), None, None),
    ],
)
def test_who_says_what_a_sample_looks_like(module: Around, data: Any, expected: Any) -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.datamodule = data
    torch.testing.assert_close(known_sample(trainer, module), expected)
