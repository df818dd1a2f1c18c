"""What the units of every layer answer to images: real forward passes, watched operation by operation."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from sparsity.errors import SparsityError
from sparsity.forward.passes import evaluating
from sparsity.graph.layers import analysed, placement, refusing
from sparsity.graph.operations import (
    LAYERS,
    NONLINEARITIES,
    NORMALISATIONS,
    SUMS,
    UNIT_WISE,
    BareWeights,
    first_argument,
    operation,
)
from sparsity.masks import Place

Point = Literal["post", "pre", "filters"]
"""Where a layer is looked at: after its nonlinearity, before it, or through bare weights; see `responses`."""


def responses(network: nn.Module, images: Tensor, point: Point = "post") -> dict[str, Tensor]:
    """The units' responses to a batch of images.

    Three points of a layer are defined, for any network:

    - `pre`, before the nonlinearity: the layer's output with its bias, and after the normalisation that takes that
      output directly, if there is one. The layer's own answer, before anything is added to it.
    - `post`, after it: the output of the first nonlinearity that follows, past normalisation, pooling, dropout and
      sums. In a residual block the second convolution (and a convolution in the shortcut) is followed by the
      nonlinearity behind the sum, so its response there is the block's output, the activation that the network
      really has; `pre` shows its own part. A layer that no nonlinearity follows (the output layer; softmax is
      taken as part of the loss) has its `pre` response.
    - `filters`: the layer's output when images pass through the bare weights of the whole network, without biases,
      normalisations and nonlinearities, as the thesis did.

    Args:
        network: Any network; left unchanged.
        images: `[batch, *input_shape]`, on any device.
        point: Where to look.

    Returns:
        By layer name in registration order: `[batch, units, height, width]` of a Conv2d, `[batch, ..., units]` of a
        Linear, on the network's device. A layer that runs several times is seen at its last run.

    Raises:
        SparsityError: If the point is unknown, the images do not fit, a layer's answer is not seen, or two share a
            weight.
    """
    seen = seen_responses(network, images, point)
    for name in analysed(network):
        require_seen(seen, name, network)
    return seen


AN_OPERATION = "a linear map or convolution of its own, as attention's weights, recurrent ones and embeddings never do"


def require_seen(seen: Mapping[str, Tensor], layer: str, network: nn.Module) -> None:
    """Check that a layer's answer is among those that were seen.

    Raises:
        SparsityError: If it is not.
    """
    if layer not in seen:
        raise SparsityError(
            f"layer {layer!r} does not run in the forward pass of {type(network).__name__} as {AN_OPERATION}"
        )


def seen_responses(network: nn.Module, images: Tensor, point: Point = "post") -> dict[str, Tensor]:
    """As `responses`, of those layers alone whose answers are seen: operations that their weight alone makes.

    Args:
        network: As in `responses`.
        images: As in `responses`; whole numbers are token ids and stay so, but bytes.
        point: As in `responses`.

    Raises:
        SparsityError: If the point is unknown, the images do not fit, or two layers share a weight.
    """
    if point not in ("post", "pre", "filters"):
        raise SparsityError(f"there is no point called {point!r}; there are post, pre, filters")
    places = analysed(network)
    device, dtype = placement(network)
    with ExitStack() as modes:
        modes.enter_context(evaluating(network))
        modes.enter_context(parametrize.cached())  # what a parametrised layer computes is one tensor then
        owners = {id(place.weight): name for name, place in places.items()}
        if shared := [name for name, place in places.items() if owners[id(place.weight)] != name]:
            other = owners[id(places[shared[0]].weight)]
            raise SparsityError(
                f"layers {shared[0]!r} and {other!r} share one weight: their answers cannot be told apart"
            )
        recorder = _Recorder(owners, after_nonlinearity=point == "post")
        if point == "filters":
            modes.enter_context(BareWeights())
        modes.enter_context(refusing(network, f"images of shape {tuple(images.shape[1:])}"))
        modes.enter_context(recorder)  # entered last, so it sees an operation first and what comes back of it
        network(images.to(device) if images.dtype in (torch.int64, torch.int32) else images.to(device, dtype))
    return {
        name: response
        for name, place in places.items()
        if (response := recorder.recorded.get(name)) is not None and response.shape[unit_axis(place)] == place.units
    }


def unit_axis(place: Place) -> int:
    """The axis of a layer's output that its units lie on."""
    return 1 if place.weight.ndim > 2 and not isinstance(place.module, nn.Bilinear) else -1


class _Recorder(TorchFunctionMode):
    """Follows each layer's output through the operations that come next."""

    def __init__(self, owners: Mapping[int, str], after_nonlinearity: bool) -> None:
        super().__init__()
        self.recorded: dict[str, Tensor] = {}
        self._owners = owners
        self._after_nonlinearity = after_nonlinearity
        # Tensors are known by identity, and kept alive so that no identity is used twice.
        self._alive: list[Tensor] = []
        self._own: dict[int, str] = {}  # tensors that are one layer's own answer
        self._waiting: dict[int, frozenset[str]] = {}  # layers whose nonlinearity is still to come

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operation(func)
        source = id(first_argument(args, kwargs))
        result = func(*args, **kwargs)
        if name in LAYERS:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if id(weight) in self._owners:
                layer = self._owners[id(weight)]
                self._follow(result, own=layer, waiting=frozenset({layer}))
        elif name in NORMALISATIONS:
            self._follow(result, own=self._own.get(source), waiting=self._waiting.get(source, frozenset()))
        elif name in UNIT_WISE:
            self._follow(result, own=None, waiting=self._waiting.get(source, frozenset()))
        elif name in SUMS:
            summands = [self._waiting.get(id(argument), frozenset()) for argument in args]
            self._follow(result, own=None, waiting=frozenset().union(*summands))
        elif name in NONLINEARITIES and self._after_nonlinearity:
            for layer in self._waiting.get(source, frozenset()):
                self._record(layer, result)
            self._done(self._waiting.get(source, frozenset()))
        return result

    def _follow(self, result: Any, own: str | None, waiting: frozenset[str]) -> None:
        if not isinstance(result, Tensor):
            return
        self._alive.append(result)
        self._own.pop(id(result), None)  # an operation in place makes another thing of the same tensor
        self._waiting[id(result)] = waiting
        if own is not None:
            self._own[id(result)] = own
            self._record(own, result)

    def _done(self, layers: frozenset[str]) -> None:
        self._waiting = {tensor: waiting - layers for tensor, waiting in self._waiting.items()}

    def _record(self, layer: str, response: Tensor) -> None:
        # A copy: the network may go on to write into its tensors.
        self.recorded[layer] = response.detach().clone()
