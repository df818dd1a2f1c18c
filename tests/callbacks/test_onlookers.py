"""Whoever only looks on at a fit never stops or changes it, whatever the module and its data are."""

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from sparsity.callbacks import DensityMonitor, NetworkComparison, Random, StopOnDivergence, TopologyAnalysis
from sparsity.callbacks.network import network_of
from sparsity.forward.tensors import tensors_in
from sparsity.masks import add_masks, maskable
from tests.networks_of_strangers import NETWORKS


class Stranger(pl.LightningModule):
    """Trains any network on the sum of all it gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        computed = [name for name, place in maskable(network).items() if place.stored is None]
        add_masks(network, exclude=computed)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.network(batch[0] if isinstance(batch, list) else batch))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measures nothing."""

    def loss(self, output: Any) -> Tensor:
        return torch.stack([tensor.square().mean() for tensor in tensors_in(output)]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class WithoutForward(Stranger):
    """Its layers are its own, and nothing but its training step says what they do."""

    def __init__(self, _: nn.Module) -> None:
        super().__init__(nn.Linear(6, 5))
        self.first, self.network = self.network, None
        self.second = nn.LSTM(5, 4, batch_first=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.second(self.first(batch[0]))[0])


class TwoInputs(nn.Module):
    """Adds two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.first(a) + self.second(b)


class BothInputs(Stranger):
    def __init__(self, _: nn.Module) -> None:
        super().__init__(TwoInputs())
        self.example_input_array = (torch.zeros(1, 6), torch.zeros(1, 6))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.network(*batch))


class NamedInputs(Stranger):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.example_input_array = {"x": torch.zeros(1, 6)}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.network(batch["x"]))


class ByHand(Stranger):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.automatic_optimization = False

    def training_step(self, batch: Any) -> None:  # type: ignore[override]
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(self.network(batch[0])))
        optimizer.step()


class Stream(IterableDataset[Any]):
    """Gives every sample once, and never again."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = iter(samples)

    def __iter__(self) -> Iterator[Any]:
        return self.samples


class Named(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.full((6,), index / 8)}


def batches(shape: tuple[int, ...], inputs: int = 1) -> Any:
    """Shuffled by the global random state: drawing from it would change their order."""
    data = [torch.rand(8, *shape, generator=torch.Generator().manual_seed(n)) for n in range(inputs)]
    return DataLoader(TensorDataset(*data), batch_size=4, shuffle=True)


MODULES: dict[str, Callable[[], tuple[pl.LightningModule, Any]]] = {
    kind: lambda kind=kind: (Stranger(NETWORKS[kind]()), batches(NETWORKS[kind].input_shape))
    for kind in NETWORKS.keys() - {"raises halfway", "tied linears"}
} | {
    "without forward": lambda: (WithoutForward(nn.Identity()), batches((5, 6))),
    "two inputs": lambda: (BothInputs(nn.Identity()), batches((6,), inputs=2)),
    "batch as dict": lambda: (NamedInputs(NETWORKS["chain"]()), DataLoader(Named(), batch_size=4, shuffle=True)),
    "by hand": lambda: (ByHand(NETWORKS["chain"]()), batches((6,))),
    "stream": lambda: (Stranger(nn.Linear(6, 3)), DataLoader(Stream(list(torch.rand(16, 6))), batch_size=4)),
    "own generator": lambda: (
        Stranger(nn.Linear(6, 3)),
        DataLoader(torch.rand(8, 6), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3)),
    ),
}


def fit(folder: Path, kind: str, *onlookers: pl.Callback) -> list[Any]:
    """What a fit ends with: all weights, and the random states."""
    pl.seed_everything(3)
    module, data = MODULES[kind]()
    random.seed(3)
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=TensorBoardLogger(folder), callbacks=list(onlookers),
                         enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, data, None if kind == "stream" else data)
    states = [*module.state_dict().values(), torch.rand(3), torch.get_rng_state()]
    generator = getattr(data, "generator", None)
    own = [] if generator is None else [generator.get_state()]
    return [t.tolist() for t in [*states, *own]] + [random.random(), np.random.rand(), module.global_step]  # noqa: NPY002


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_a_fit_ends_the_same_with_and_without_onlookers(kind: str, tmp_path: Path) -> None:
    alone = fit(tmp_path / "alone", kind)
    onlookers = [DensityMonitor(), TopologyAnalysis(figures=False), NetworkComparison(images=4, figures=False)]
    assert fit(tmp_path / "seen", kind, *onlookers, StopOnDivergence()) == alone


def test_what_is_left_out_is_said_once(tmp_path: Path) -> None:
    module, data = MODULES["batch as dict"]()
    module.network.input_shape = module.example_input_array = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        onlookers = [DensityMonitor(), TopologyAnalysis(), NetworkComparison(figures=False)]
        folder_of_a_fit(tmp_path, module, *onlookers, data=data, validation=data)
    said = [str(warning.message) for warning in caught]
    assert sum("multiply-adds are not known and are left out: _Layers does not say" in s for s in said) == 1
    assert sum("correlation of activations failed" in s and "starts with a dict" in s for s in said) == 1
    assert sum("TopologyAnalysis failed and is left out" in s and "give input_shape" in s for s in said) == 1


@pytest.mark.parametrize("onlooker", [DensityMonitor, TopologyAnalysis, NetworkComparison, StopOnDivergence])
def test_no_onlooker_moves_a_random_state(onlooker: type[pl.Callback], tmp_path: Path) -> None:
    assert fit(tmp_path, "counting", onlooker()) == fit(tmp_path, "counting")


def folder_of_a_fit(
    tmp_path: Path, module: pl.LightningModule, *callbacks: pl.Callback, data: Any = None, validation: Any = None
) -> Path:
    logger = TensorBoardLogger(tmp_path)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=logger, callbacks=list(callbacks),
                         enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer.fit(module, batches((6,)) if data is None else data, validation)
    return Path(logger.log_dir)


def test_callbacks_start_anew_in_a_second_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    density, topology = DensityMonitor(), TopologyAnalysis(figures=False)
    for network in (nn.Linear(6, 4), nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2))):
        folder = folder_of_a_fit(tmp_path, Stranger(network), Random(0.5), density, topology)
        assert {path.name for path in (folder / "analysis").iterdir()} == {"topology_pruned", "topology_final"}
        assert "50.00%" in capsys.readouterr().out
        expected = {f"{name}.weight_mask".lstrip(".") for name, _ in network.named_modules() if name} or {"weight_mask"}
        assert expected <= network.state_dict().keys()
        layers = (folder / "analysis" / "topology_final" / "layers.csv").read_text().splitlines()[1:]
        assert len(layers) == len(expected)


def test_shapes_come_from_the_first_batch_where_nothing_else_tells_them(tmp_path: Path) -> None:
    module = Stranger(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)))
    folder = folder_of_a_fit(tmp_path, module, Random(0.5), TopologyAnalysis(figures=False))
    assert {path.name for path in (folder / "analysis").iterdir()} == {"topology_pruned", "topology_final"}
    assert network_of(module) is module.network


@pytest.mark.parametrize("listed_before_the_pruner", [True, False])
def test_the_start_of_a_network_is_dense_wherever_the_comparison_is_listed(
    listed_before_the_pruner: bool, tmp_path: Path
) -> None:
    class Unmasked(Stranger):
        def __init__(self) -> None:
            pl.LightningModule.__init__(self)
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.loss(self.second(self.first(batch[0])))

    callbacks = [NetworkComparison(figures=False), Random(0.5)]
    folder = folder_of_a_fit(tmp_path, Unmasked(), *callbacks[:: 1 if listed_before_the_pruner else -1])
    rows = (folder / "analysis" / "comparison" / "overlaps.csv").read_text().splitlines()
    kept = [int(row.split(",")[4]) for row in rows[1:]]
    assert rows[0].split(",")[4] == "kept_b"
    assert kept == [30, 15]


def test_a_resumed_fit_does_not_analyse_the_final_mask_again(tmp_path: Path) -> None:
    topology, folders = TopologyAnalysis(figures=False), []
    for epochs, checkpoint in ((1, None), (2, tmp_path / "half.ckpt")):
        logger = TensorBoardLogger(tmp_path)
        trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", logger=logger, enable_progress_bar=False,
                             callbacks=[Random(0.5), topology], enable_model_summary=False)  # fmt: skip
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            module = Stranger(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)))
            trainer.fit(module, batches((6,)), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "half.ckpt")
        folders.append({path.name for path in (Path(logger.log_dir) / "analysis").iterdir()})
    assert folders == [{"topology_pruned", "topology_final"}, {"topology_final"}]
