"""Which part of a LightningModule is the network."""

import pytorch_lightning as pl
from torch import nn


def network_of(module: pl.LightningModule) -> nn.Module:
    """The part of a LightningModule that is pruned: its `network` if it has one, else all of it."""
    network = getattr(module, "network", None)
    return network if isinstance(network, nn.Module) else module
