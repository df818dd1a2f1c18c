"""Saliencies: one number per weight that says how much a pruning method wants to keep it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from sparsity.errors import NonFiniteError, SparsityError
from sparsity.forward.labels import require_labels
from sparsity.forward.passes import in_mode, refusing, substituted
from sparsity.forward.second_derivatives import twice_differentiable
from sparsity.forward.tensors import logits_of
from sparsity.graph.flow import Flow, absolute_values
from sparsity.graph.layers import parameter_names
from sparsity.graph.sample import Given, trace_of
from sparsity.masks import masked_weights, masks, zero_pruned
from sparsity.seeding import derive_seed, named_generator

Saliency = Mapping[str, Tensor]
"""One tensor per masked layer, shaped like its weight, keyed by layer name; the highest are kept."""

Mode = Literal["eval", "train"]
"""In which a network computes: normalisation by running statistics and no dropout, or as while it trains."""

_INDEPENDENT = "the loss does not depend on the masked weights"


def random_saliency(network: nn.Module, seed: int | None = None) -> dict[str, Tensor]:
    """Independent draws from U(0, 1), the control of every pruning method.

    Args:
        network: A network with masks, left unchanged.
        seed: Base seed of each layer's own generator; by default the run's.
    """
    return {
        name: torch.rand(
            weight.shape,
            generator=named_generator("random pruning", name, seed=seed),
            dtype=torch.float64,
        ).to(weight.device)
        for name, weight in masked_weights(network).items()
    }


def magnitude_saliency(network: nn.Module) -> dict[str, Tensor]:
    """The weights' magnitudes `|w|` (Han et al. 2015).

    Args:
        network: A network with masks, left unchanged.

    Raises:
        NonFiniteError: Names the first layer with a weight that is NaN or infinite.
    """
    saliency = {name: weight.detach().abs() for name, weight in masked_weights(network).items()}
    require_finite(saliency, "magnitude")
    return saliency


def lamp_saliency(network: nn.Module) -> dict[str, Tensor]:
    """Each squared weight over the sum of those in its layer that are not smaller (Lee et al. 2021).

    A layer's largest weight scores 1: no layer loses its last weight while another has two left. Of equal weights the
    later counts as larger.

    Args:
        network: A network with masks, left unchanged.

    Returns:
        One float64 tensor in [0, 1] per masked layer, 0 where weights are zero.

    Raises:
        NonFiniteError: Names the first layer with a weight that is NaN or infinite.
    """
    saliency = {name: _lamp(weight.detach()) for name, weight in masked_weights(network).items()}
    require_finite(saliency, "LAMP")
    return saliency


def _lamp(weight: Tensor) -> Tensor:
    squares, order = weight.double().square().flatten().sort(stable=True)
    not_smaller = squares.flip(0).cumsum(0).flip(0)
    score = torch.empty_like(squares)
    score[order] = squares / not_smaller.where(not_smaller != 0, 1)  # a layer of zeros alone scores 0
    return score.view_as(weight)


def unaveraged(gradient: Tensor) -> Tensor:
    """The gradient as it is, where a single process has all the data."""
    return gradient


Loss = Callable[[], Tensor]
"""Computes the loss of a network as it is when called: one number, to be differentiated by the network's weights."""


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """The loss of a classifier.

    Args:
        network: Maps images to logits `[batch, classes]`.
        images: `[batch, ...]`.
        labels: `[batch]`, class indices.
        temperature: Divides the logits, above 0.

    Raises:
        SparsityError: If the network cannot take the images, or the labels do not fit its outputs.
    """
    with refusing(network, images):
        logits = logits_of(network(images))
    require_labels(labels, logits)
    return F.cross_entropy(logits / temperature, labels)


def snip_saliency(
    network: nn.Module, loss: Loss, average: Callable[[Tensor], Tensor] = unaveraged, mode: Mode = "eval"
) -> dict[str, Tensor]:
    """Sensitivity of the loss to each connection, `|dL/dw * w|` (Lee et al. 2019, eq. 6).

    Args:
        network: A network with masks, left unchanged (weights, buffers, modes, gradients), as is the random state.
        loss: Of the network, for example `partial(cross_entropy, network, images, labels)`.
        average: Takes the mean of a gradient over processes.
        mode: In which the loss is evaluated: `eval` as in the programs of Lee et al. and of Tanaka et al., `train` as
            in many others. On networks with BatchNorm the masks of the two have less than half of their weights in
            common. Layers that draw numbers in training get the same ones in every call.

    Returns:
        One non-negative tensor per masked layer.

    Raises:
        NonFiniteError: Names the first layer whose saliency is NaN or infinite.
        SparsityError: If the loss is not one number, or does not depend on the masked weights.
    """
    with _differentiable(network, loss, mode) as (value, weights):
        gradients = _gradients(value, weights)
    saliency = {name: (average(gradients[name]) * weight.detach()).abs() for name, weight in weights.items()}
    require_finite(saliency, "SNIP")
    return saliency


def grasp_saliency(
    network: nn.Module, loss: Loss, average: Callable[[Tensor], Tensor] = unaveraged
) -> dict[str, Tensor]:
    """What each weight adds to the squared norm of the gradient, `w * (H g)` (Wang et al. 2020).

    The authors score `-w * (H g)` and remove the highest; this is the same order turned round. The loss is evaluated in
    training mode; layers that draw numbers there get the same ones in every call.

    Args:
        network: A network with masks, left unchanged (weights, buffers, modes, gradients), as is the random state.
        loss: Of the network, twice differentiable; the authors' is `cross_entropy` at temperature 200.
        average: Takes the mean of a gradient over processes, first of g, then of `H g`.

    Returns:
        One tensor of either sign per masked layer.

    Raises:
        NonFiniteError: Names the first layer whose saliency is NaN or infinite.
        SparsityError: If the loss is not one number, or does not depend on the masked weights, or has no curvature.
    """
    with twice_differentiable(), _differentiable(network, loss, "train") as (value, weights):
        gradients = _gradients(value, weights, create_graph=True)
        # Pruned weights do not train: the flow to preserve is that of the sparse network, over its kept weights only.
        kept = {name: average(gradients[name].detach()) * mask for name, mask in masks(network).items()}
        flow = torch.stack([(kept[name] * gradient).sum() for name, gradient in gradients.items()]).sum()
        if not flow.requires_grad:
            raise SparsityError("the loss is linear in the masked weights, and GraSP ranks by its curvature; use SNIP")
        hessian_gradients = _gradients(flow, weights)
    saliency = {name: average(hessian_gradients[name]) * weight.detach() for name, weight in weights.items()}
    require_finite(saliency, "GraSP")
    return saliency


def synflow_saliency(network: nn.Module, input_shape: Given) -> dict[str, Tensor]:
    """Synaptic flow `|dR/dw * w|`, R the summed output for an input of ones (Tanaka et al. 2020, algorithm 1).

    R is computed on the linearised network (`sparsity.graph.flow`), with every parameter and running statistic replaced
    by its absolute value, in float64, since R passes float32's range in deep networks. Of a network of ReLU and
    BatchNorm in evaluation mode that is the authors' R.

    Args:
        network: A network with masks, left unchanged (weights, buffers, modes, gradients).
        input_shape: Shape of one sample, without the batch dimension, or a sample, as in `sparsity.graph.sample`.

    Returns:
        One non-negative float64 tensor per masked layer.

    Raises:
        NonFiniteError: Names the first layer whose saliency is NaN or infinite.
    """
    saliency = SynapticFlow(network, input_shape)(network)
    require_finite(saliency, "SynFlow")
    return saliency


class SynapticFlow:
    """`synflow_saliency` of one network again and again, while its masks shrink and nothing else changes.

    Args:
        network: A network with masks, left unchanged.
        input_shape: As in `synflow_saliency`.

    Raises:
        SparsityError: If the network cannot be traced, has an operation that is not known, or weights that are not
            there yet.
    """

    def __init__(self, network: nn.Module, input_shape: Given) -> None:
        for module in network.modules():
            if any(parameter is not None and is_lazy(parameter) for parameter in module._parameters.values()):
                raise SparsityError(
                    f"a {type(module).__name__} of the network has no weights yet; let it see one batch first"
                )
        own, names = masked_weights(network), parameter_names(network)
        self._flow = Flow(trace_of(network, input_shape), next(iter(own.values())).device)
        self._parameters, self._buffers = absolute_values(network)
        self._weights = {name: self._parameters[names[weight]].requires_grad_() for name, weight in own.items()}

    def __call__(self, network: nn.Module) -> dict[str, Tensor]:
        """The saliency under the masks that the network has now; not checked, so that no device has to wait.

        Raises:
            SparsityError: If no output depends on the masked weights.
        """
        for name, mask in masks(network).items():
            zero_pruned(self._weights[name], mask)
        with torch.enable_grad():
            flow = self._flow(self._parameters, self._buffers)
            if not flow.requires_grad:
                raise SparsityError(f"no output of {type(network).__name__} depends on its masked weights")
            gradients = _gradients(flow, self._weights)
        return {name: gradients[name].detach().mul_(weight.detach()).abs_() for name, weight in self._weights.items()}


def sums_are_finite(saliency: Saliency) -> Tensor:
    """Whether the sum of every layer is finite: only if all its terms are, and a tenth of asking them one by one."""
    return torch.stack([tensor.sum() for tensor in saliency.values()]).isfinite().all()


def require_finite(saliency: Saliency, method: str = "") -> None:
    """Check a saliency with one synchronisation.

    Args:
        saliency: To be checked.
        method: Its name, for the message.

    Raises:
        NonFiniteError: Names the first layer that has a NaN or infinite entry.
    """
    if sums_are_finite(saliency):
        return
    for name, tensor in saliency.items():
        if not tensor.isfinite().all():
            raise NonFiniteError(
                f"the {f'{method} saliency'.strip()} of layer {name!r} is NaN or infinite; check that layer's weights, "
                "or start from a smaller initialisation"
            )


@contextmanager
def _differentiable(network: nn.Module, loss: Loss, mode: Mode) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """A loss in a mode and the masked layers' weights that it depends on, to be differentiated within.

    A forward pass may be run again on the way back, so everything stays substituted until the end.
    """
    own = masked_weights(network)
    weights = {name: weight.detach().requires_grad_() for name, weight in own.items()}
    stand_ins: dict[Tensor, Tensor] = {parameter: parameter.detach() for parameter in network.parameters()}
    stand_ins |= {weight: weights[name] for name, weight in own.items()}
    seed = derive_seed("training mode of a saliency")
    recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
    # cuDNN differentiates recurrent layers in training mode only.
    kernels = torch.backends.cudnn.flags(enabled=False) if recurrent and mode == "eval" else nullcontext()
    with in_mode(network, mode == "train"), substituted(network, stand_ins), torch.enable_grad(), kernels:
        torch.manual_seed(seed)
        value = loss()
        if value.numel() != 1:
            raise SparsityError(f"a loss is one number, and this one is shaped {list(value.shape)}; take its mean")
        if not value.requires_grad:
            raise SparsityError(_INDEPENDENT)
        yield value, weights


def _gradients(value: Tensor, weights: Mapping[str, Tensor], create_graph: bool = False) -> dict[str, Tensor]:
    try:
        gradients = torch.autograd.grad(value, list(weights.values()), create_graph=create_graph, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SparsityError(f"the network cannot be differentiated as the saliency needs it: {reason}") from error
    if all(gradient is None for gradient in gradients):
        raise SparsityError(_INDEPENDENT)
    return {
        name: torch.zeros_like(weight) if gradient is None else gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
