"""What the operations of a forward pass mean to the analysis, whether called as modules, functions or methods.

Torch function modes see every operation of a forward pass by name, so `nn.ReLU`, `F.relu` and `x.relu_()` are one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

LAYERS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
NORMALISATIONS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "local_response_norm"})
NONLINEARITIES = (
    frozenset({"relu", "relu6", "leaky_relu", "prelu", "rrelu", "threshold", "clamp", "clamp_min", "clip", "hardtanh"})
    | frozenset({"elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus", "softsign"})
    | frozenset({"sigmoid", "tanh", "hardsigmoid", "logsigmoid"})
)
SOFTMAXES = frozenset({"softmax", "log_softmax"})
SUMS = frozenset({"add", "iadd", "radd"})
DROPOUTS = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout"}
) | frozenset({"feature_alpha_dropout"})
UNIT_WISE = frozenset({"max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool2d"}) | DROPOUTS
"""Operations that leave every unit its own channel."""


def operation(func: Callable[..., Any]) -> str:
    """The plain name of a torch function: `relu` for `F.relu`, `torch.relu_` and `Tensor.relu`."""
    return str(getattr(func, "__name__", "")).strip("_")


def first_argument(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a function works on, given by position or as `input`."""
    return args[0] if args else kwargs.get("input")


class BareWeights(TorchFunctionMode):
    """Runs a network on its weights alone: no biases, normalisations, nonlinearities, softmax or dropout."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, or pass its input on."""
        kwargs = kwargs or {}
        name = operation(func)
        if name in NORMALISATIONS | NONLINEARITIES | SOFTMAXES | DROPOUTS:
            return first_argument(args, kwargs)
        if name in LAYERS:  # (input, weight, bias, ...)
            args = (*args[:2], None, *args[3:]) if len(args) > 2 else args
            kwargs = {key: value for key, value in kwargs.items() if key != "bias"}
        return func(*args, **kwargs)
