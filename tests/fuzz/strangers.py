"""Networks and LightningModules drawn from a grammar, as strangers write them, and nothing that Lightning refuses."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from hypothesis import strategies as st
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from sparsity.classifier import SparseClassifier
from sparsity.masks import add_masks, masks, set_mask
from tests.callbacks.test_every_pruner import PRUNERS

CLASSES = 3
SAMPLES = 6
"""In a batch."""

SHAPES = {
    "vector": (5,), "sequence": (4, 5), "tokens": (4,), "series": (2, 7), "image": (2, 5, 5), "volume": (2, 3, 3, 3),
}  # fmt: skip
CONVOLUTIONS = {"series": nn.Conv1d, "image": nn.Conv2d, "volume": nn.Conv3d}
LAZY = {"series": nn.LazyConv1d, "image": nn.LazyConv2d, "volume": nn.LazyConv3d}
NORMS = {"series": nn.BatchNorm1d, "image": nn.BatchNorm2d, "volume": nn.BatchNorm3d, "vector": nn.BatchNorm1d}
ACTIVATIONS = {
    "ReLU": nn.ReLU, "ReLU6": nn.ReLU6, "Sigmoid": nn.Sigmoid, "GELU": nn.GELU, "Hardsigmoid": nn.Hardsigmoid,
    "Dropout": nn.Dropout,
}  # fmt: skip
LAYERS = [
    *ACTIVATIONS, "weights", "weights", "pointwise", "grouped", "lazy", "BatchNorm", "LayerNorm", "GroupNorm",
    "Softmax", "LSTM", "MultiheadAttention", "squeeze and excitation",
]  # fmt: skip
WIDTH = 4

TRAINERS: dict[str, dict[str, Any]] = {
    "clip": {"gradient_clip_val": 1.0}, "accumulate": {"accumulate_grad_batches": 2},
    "bf16": {"precision": "bf16-mixed"}, "double": {"precision": "64-true"},
    "max_steps": {"max_steps": 3}, "stochastic averaging": {}, "moving average": {},
}  # fmt: skip

Block = str | tuple["Block", ...]
"""A layer, or what a residual sum adds."""


@dataclass(frozen=True)
class Case:
    """All that is drawn of a fit; the same case is the same fit."""

    pruner: str = "Random"
    density: float = 0.5
    kind: str = "vector"
    blocks: tuple[Block, ...] = ()
    wrappers: tuple[str, ...] = ()
    pool: str = "mean"
    zero_head: bool = False
    output: str = "tensor"
    module: str = "own"
    attribute: str = "network"
    made_in: str = "init"
    automatic: bool = True
    optimizer: str = "SGD"
    batch: str = "tuple"
    epochs: int = 2
    batches: int = 1
    validates: bool = False
    trainer: str = ""
    again: str = ""
    seed: int = 0


@st.composite
def cases_of_strangers(draw: st.DrawFn) -> Case:
    """Any case; a `SparseClassifier` only with what it is made for."""
    layer = st.sampled_from(LAYERS)
    blocks = st.lists(layer | layer | st.lists(layer, min_size=1, max_size=3).map(tuple), max_size=4)
    epochs, batches = draw(st.sampled_from([(1, 2), (1, 6), (2, 1), (2, 3), (3, 2), (4, 1), (5, 1), (6, 1)]))
    own = draw(st.booleans())
    automatic = not own or draw(st.sampled_from([True, True, False]))
    return Case(
        pruner=draw(st.sampled_from([*PRUNERS, "KeepMasks"])),
        density=draw(st.sampled_from([0.2, 0.5, 0.9, 1.0]) | st.floats(0.01, 1)),
        kind=draw(st.sampled_from(sorted(SHAPES))),
        blocks=tuple(draw(blocks)),
        wrappers=tuple(draw(st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=2, unique=True))),
        pool=draw(st.sampled_from(["mean", "flatten"])),
        zero_head=draw(st.sampled_from([False, False, False, True])),
        output=draw(st.sampled_from(["tensor", "tuple", "dict", "dataclass"])) if own else "tensor",
        module="own" if own else "classifier",
        attribute=draw(st.sampled_from(["network", "model"])) if own else "network",
        made_in=draw(st.sampled_from(["init", "init", "setup", "configure_model"])) if own else "init",
        automatic=automatic,
        optimizer=draw(st.sampled_from(["SGD", "Adam", "LBFGS", *["a part"] * own, *["two"] * (not automatic)])),
        batch=draw(st.sampled_from(["tuple", "tuple", "dict"])) if own else "tuple",
        epochs=epochs,
        batches=batches,
        validates=draw(st.booleans()),
        trainer=draw(st.sampled_from(["", "", *TRAINERS])) if automatic else "",
        again=draw(st.sampled_from(["", "", "same", "fresh"])),
        seed=draw(st.integers(0, 9)),
    )


class Run(nn.Module):
    """Calls a layer that gives more than one tensor, and takes the first."""

    def __init__(self, layer: nn.Module, copies: int = 1) -> None:
        super().__init__()
        self.layer = layer
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(*[x] * self.copies)[0]


class Residual(nn.Module):
    """Adds its layers to what they are given."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class SqueezeAndExcitation(nn.Module):
    """Scales channels by what their means say."""

    def __init__(self, spatial: int, last: bool) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(WIDTH, 2), nn.Linear(2, WIDTH)
        self.spatial, self.last = spatial, last

    def forward(self, x: Tensor) -> Tensor:
        if self.last:
            return x * F.hardsigmoid(self.excite(F.relu(self.squeeze(x))))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(x.flatten(2).mean(2)))))
        return x * gate.reshape(*gate.shape, *[1] * self.spatial)


def layer_of(block: Block, kind: str) -> nn.Module:
    """A layer whose output is shaped like its input; `kind` says what that is."""
    if isinstance(block, tuple):
        return Residual(*(layer_of(inner, kind) for inner in block))
    if block in ACTIVATIONS:
        return ACTIVATIONS[block]()
    places, spatial = kind in ("sequence", "tokens"), len(SHAPES[kind]) - 1
    if block == "Softmax":
        return nn.Softmax(-1 if places else 1)
    if block == "LSTM" and places:
        return Run(nn.LSTM(WIDTH, WIDTH, batch_first=True))
    if block == "MultiheadAttention" and places:
        return Run(nn.MultiheadAttention(WIDTH, 2, batch_first=True), copies=3)
    if block == "squeeze and excitation":
        return SqueezeAndExcitation(spatial, last=kind not in CONVOLUTIONS)
    if block in ("BatchNorm", "GroupNorm") and not places:
        return NORMS[kind](WIDTH) if block == "BatchNorm" else nn.GroupNorm(2, WIDTH)
    if block in ("BatchNorm", "LayerNorm", "GroupNorm"):
        return nn.GroupNorm(1, WIDTH) if kind in CONVOLUTIONS else nn.LayerNorm(WIDTH)
    if kind not in CONVOLUTIONS:
        return nn.LazyLinear(WIDTH) if block == "lazy" else nn.Linear(WIDTH, WIDTH, bias=block != "pointwise")
    if block == "lazy":
        return LAZY[kind](WIDTH, 3, padding=1)
    if block == "pointwise":
        return CONVOLUTIONS[kind](WIDTH, WIDTH, 1, bias=False)
    return CONVOLUTIONS[kind](WIDTH, WIDTH, 3, padding=1, groups=WIDTH if block == "grouped" else 1)


@dataclass
class Output:
    """What a network gives that gives a dataclass."""

    logits: Tensor
    hidden: Tensor


class Network(nn.Module):
    """A stem, blocks and a head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        kind, shape = case.kind, SHAPES[case.kind]
        if kind == "tokens":
            self.stem: nn.Module = nn.Embedding(9, WIDTH)
        elif kind in CONVOLUTIONS:
            self.stem = CONVOLUTIONS[kind](shape[0], WIDTH, 3, padding=1)
        else:
            self.stem = nn.Linear(shape[-1], WIDTH)
        self.body = nn.Sequential(*(layer_of(block, kind) for block in case.blocks))
        places = shape[1:] if kind in CONVOLUTIONS else shape[:-1] if kind != "tokens" else shape
        self.pool, self.axis = case.pool, 1 if kind in ("sequence", "tokens") else -1
        flat = WIDTH * int(torch.tensor(places).prod()) if case.pool == "flatten" else WIDTH
        self.head = nn.Linear(flat, CLASSES)
        if case.zero_head:
            nn.init.zeros_(self.head.weight)
        self.output = case.output
        self.reentrant: bool | None = None

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        if self.reentrant is not None and torch.is_grad_enabled():
            x = checkpoint(self.body, x, use_reentrant=self.reentrant)
        else:
            x = self.body(x)
        if self.pool == "flatten" or x.ndim == 2:
            hidden = x.flatten(1)
        else:
            hidden = x.mean(1) if self.axis == 1 else x.flatten(2).mean(2)
        logits = self.head(hidden)
        if hasattr(self, "bias_mask"):
            logits = logits + self.bias_mask.exp()
        if hasattr(self, "matrix"):
            logits = logits @ self.matrix
        if self.output == "tuple":
            return logits, hidden
        if self.output == "dict":
            return {"logits": logits, "hidden": hidden}
        return Output(logits, hidden) if self.output == "dataclass" else logits


def logits_of(output: Any) -> Tensor:
    """What the loss is computed of."""
    if isinstance(output, tuple):
        return output[0]
    if isinstance(output, dict):
        return output["logits"]
    return output.logits if isinstance(output, Output) else output


def weighty(network: nn.Module) -> list[nn.Module]:
    """Layers with a weight that is there."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    lazy = nn.modules.lazy.LazyModuleMixin
    return [m for m in network.modules() if isinstance(m, kinds) and not isinstance(m, lazy)]


def _tie(network: Network) -> None:
    first, *others = weighty(network.body) or [network.head]
    for other in others:
        if other.weight.shape == first.weight.shape:
            other.weight = first.weight


def _run_twice(network: Network) -> None:
    if len(network.body):
        network.body.append(network.body[-1])


def _freeze(network: Network) -> None:
    network.stem.requires_grad_(False)


def _freeze_all_but_head(network: Network) -> None:
    _freeze(network)
    network.body.requires_grad_(False)


def _prune_away(network: Network) -> None:
    layer = weighty(network)[0]
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.remove(layer, "weight")


def _mask_half(network: Network) -> None:
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.5 for name, mask in masks(network).items()})


WRAPPERS: dict[str, Callable[[Network], Any]] = {
    "shared layer": lambda n: setattr(n, "alias", n.stem),
    "shared head": lambda n: setattr(n, "alias", n.head),
    "runs twice": _run_twice,
    "tied": _tie,
    "weight_norm": lambda n: weight_norm(weighty(n)[0]),
    "spectral_norm of the head": lambda n: spectral_norm(n.head),
    "old weight_norm": lambda n: nn.utils.weight_norm(weighty(n)[0]),
    "prune": lambda n: prune.random_unstructured(weighty(n)[0], "weight", 0.5),
    "pruned away": _prune_away,
    "frozen": _freeze,
    "frozen all but head": _freeze_all_but_head,
    "average of the head": lambda n: setattr(n, "average", AveragedModel(n.head)),
    "average of all": lambda n: setattr(n, "average_of_all", AveragedModel(copy.deepcopy(n))),
    "checkpointing": lambda n: setattr(n, "reentrant", False),
    "reentrant checkpointing": lambda n: setattr(n, "reentrant", True),
    "infinite buffer": lambda n: n.register_buffer("bias_mask", torch.tensor([0.0, -torch.inf, 0.0])),
    "own matrix": lambda n: setattr(n, "matrix", nn.Parameter(torch.randn(CLASSES, CLASSES))),
    "never runs": lambda n: setattr(n, "spare", nn.Linear(4, 3)),
    "half masked": _mask_half,
    "in evaluation mode": lambda n: n.body.eval(),
    "dense head": lambda n: add_masks(n, ["head"]),
}


def make_network(case: Case) -> Network:
    """The network of a case, as it is wrapped."""
    network = Network(case)
    for name in case.wrappers:
        WRAPPERS[name](network)
    return network


class Own(pl.LightningModule):
    """A LightningModule that knows nothing of this package."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.automatic_optimization = case.automatic
        self._make_in("init")

    def _make_in(self, place: str) -> None:
        if place == self.case.made_in and self.case.attribute not in self._modules:
            setattr(self, self.case.attribute, make_network(self.case))

    def setup(self, stage: str) -> None:
        self._make_in("setup")

    def configure_model(self) -> None:
        self._make_in("configure_model")

    def forward(self, x: Tensor) -> Any:
        return self._modules[self.case.attribute](x)  # type: ignore[misc]

    def loss(self, batch: Any) -> Tensor:
        x, y = batch.values() if isinstance(batch, dict) else batch
        return F.cross_entropy(logits_of(self(x)), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        if self.automatic_optimization:
            return self.loss(batch)
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:

            def closure(optimizer: Any = optimizer) -> Tensor:
                optimizer.zero_grad()
                loss = self.loss(batch)
                self.manual_backward(loss)
                return loss

            optimizer.step(closure)
        return None

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def on_train_batch_end(self, *_: Any) -> None:
        network: Any = self._modules[self.case.attribute]
        if "average of the head" in self.case.wrappers:
            network.average.update_parameters(network.head)

    def configure_optimizers(self) -> Any:
        parameters = list(self.parameters())
        if self.case.optimizer == "a part":
            return SGD(self._modules[self.case.attribute].head.parameters(), lr=0.05)  # type: ignore[union-attr, arg-type]
        if self.case.optimizer == "two":
            return SGD(parameters[::2], lr=0.05), Adam(parameters[1::2])
        return optimizer_of(self.case)(parameters)


def optimizer_of(case: Case) -> Callable[[Any], Optimizer]:
    """What makes the optimizer of a case."""
    makers: dict[str, Callable[[Any], Optimizer]] = {
        "SGD": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
        "Adam": lambda p: Adam(p, lr=0.01),
        "LBFGS": lambda p: LBFGS(p, lr=0.1, max_iter=2),
    }
    return makers[case.optimizer]


def make_module(case: Case) -> pl.LightningModule:
    """The LightningModule of a case."""
    if case.module == "own":
        return Own(case)
    wrappers = [name for name in case.wrappers if name != "dense head"]
    network = make_network(Case(**{**vars(case), "wrappers": tuple(wrappers)}))
    dense = ["head"] if "dense head" in case.wrappers else []
    return SparseClassifier(network, optimizer_of(case), exclude=dense)


def averaging(case: Case) -> list[pl.Callback]:
    """The callbacks of Lightning's that a case has."""
    if case.trainer == "stochastic averaging":
        return [StochasticWeightAveraging(swa_lrs=0.01)]
    return [EMAWeightAveraging(use_buffers=False)] if case.trainer == "moving average" else []


def make_loader(case: Case) -> DataLoader[Any]:
    """Batches in which every class is."""
    shape, generator = (SAMPLES * case.batches, *SHAPES[case.kind]), torch.Generator().manual_seed(case.seed)
    if case.kind == "tokens":
        inputs = torch.randint(9, shape, generator=generator)
    else:
        inputs = torch.randn(shape, generator=generator)
    samples: list[Any] = [(x, i % CLASSES) for i, x in enumerate(inputs)]
    if case.batch == "dict":
        samples = [{"inputs": x, "targets": y} for x, y in samples]
    return DataLoader(samples, batch_size=SAMPLES, generator=generator)
