"""Small networks as strangers write them: shared and tied parts, parametrisations, odd buffers, inputs and outputs.

Each is made by a function without arguments and says in `input_shape` what one sample looks like. Tests take them by
name from `NETWORKS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class _Layers(nn.Module):
    """A chain of layers; what else is there takes part as the subclasses say."""

    input_shape: tuple[int, ...] = (6,)

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        chain = layers or (nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        self.layers = nn.Sequential(*chain)

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


class SharedLayer(_Layers):
    """A layer reachable by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.head = self.layers[2]


class SharedNorm(_Layers):
    """A BatchNorm reachable by two names, beside convolutions."""

    input_shape = (1, 6, 6)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 3)
        )
        self.norm = self.layers[1]


class TiedLinears(_Layers):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.layers[2].weight = self.layers[0].weight


class Tokens(_Layers):
    """An embedding and a head, on token numbers."""

    input_shape = (4,)
    tied = False

    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 5), nn.ReLU())
        self.embedding = nn.Embedding(7, 5)
        self.head = nn.Linear(5, 7, bias=False)
        if self.tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(x.long().clamp(0, 6)).mean(1)))


class TiedHead(Tokens):
    """A head whose weight is the embedding's."""

    tied = True


class WeightNorm(_Layers):
    """A parametrised layer between ordinary ones."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 5), nn.ReLU(), weight_norm(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3))


class InfiniteBuffer(_Layers):
    """A buffer that is -inf by design, as in attention masks."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, -math.inf, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.mask.exp()


class Counting(_Layers):
    """Rebinds a buffer, counts in an integer one, keeps what it saw, and draws numbers even in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.passes = self.passes + 1
        self.calls += 1
        self.seen = x
        return self.layers(F.dropout(x, 0.1))


class RaisesHalfway(_Layers):
    """Raises after its BatchNorm has measured."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 5), nn.BatchNorm1d(5))
        self.never = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.layers(x)
        raise KeyError("no such layer")


class Frozen(_Layers):
    """Its first layer does not train."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[0].requires_grad_(False)


class Tuple(_Layers):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.layers[:2](x)
        return self.layers[2](hidden), hidden


class Dictionary(_Layers):
    """Gives tensors by name."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"logits": self.layers(x), "loss": None}


@dataclass
class Output:
    """What `Dataclass` gives."""

    logits: Tensor
    hidden: Tensor


class Dataclass(_Layers):
    """Gives a dataclass."""

    def forward(self, x: Tensor) -> Output:
        hidden = self.layers[:2](x)
        return Output(self.layers[2](hidden), hidden)


class Attention(_Layers):
    """Attention over four places, with a class token of its own."""

    input_shape = (4, 6)

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.layers(x)], dim=1)
        return self.head(self.attention(x, x, x, need_weights=False)[0][:, 0])


class Transformer(_Layers):
    """A whole encoder layer."""

    input_shape = (4, 8)

    def __init__(self) -> None:
        super().__init__(nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True), nn.Linear(8, 3))


class OwnAttention(_Layers):
    """Linear layers around `scaled_dot_product_attention`."""

    input_shape = (4, 8)

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.layers[0](x).chunk(3, dim=-1)
        return self.layers[2](self.layers[1](F.scaled_dot_product_attention(query, key, value)).mean(1))


class Recurrent(_Layers):
    """An LSTM and a head."""

    input_shape = (5, 6)

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 3))
        self.lstm = nn.LSTM(6, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.lstm(x)[0][:, -1])


class Convolution1d(_Layers):
    """A convolution over time and a head."""

    input_shape = (2, 8)

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))


class OwnMatrix(_Layers):
    """A matrix that belongs to no layer, as in GPT-2's Conv1D."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x @ self.matrix)


class PositionsAdded(_Layers):
    """Learned positions, a matrix that multiplies nothing."""

    input_shape = (4, 6)

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x + self.positions)


class NeverRuns(_Layers):
    """Has a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(6, 5)


class PaddingOnly(_Layers):
    """A kernel larger than its image: most of its positions only ever meet padding."""

    input_shape = (1, 1, 1)

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2))


class Bare(nn.Linear):
    """One layer that is the network, whose name is empty."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__(6, 3)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "chain": _Layers, "shared layer": SharedLayer, "shared norm": SharedNorm, "tied linears": TiedLinears,
    "tokens": Tokens, "tied head": TiedHead, "weight norm": WeightNorm, "infinite buffer": InfiniteBuffer,
    "counting": Counting, "raises halfway": RaisesHalfway, "frozen": Frozen, "tuple": Tuple,
    "dictionary": Dictionary, "dataclass": Dataclass, "attention": Attention, "transformer": Transformer,
    "own attention": OwnAttention, "recurrent": Recurrent, "convolution 1d": Convolution1d, "own matrix": OwnMatrix,
    "positions added": PositionsAdded, "never runs": NeverRuns, "padding only": PaddingOnly, "bare": Bare,
}  # fmt: skip
