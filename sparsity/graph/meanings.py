"""What each ATen operation means to the analysis, by its plain name, whatever its overload.

A network is read through these few meanings; an operation that has none is named in one sentence.
"""

from enum import Enum
from typing import Any

from torch import Tensor, fx

from sparsity.errors import SparsityError
from sparsity.graph.nodes import arguments, packet_name
from sparsity.graph.trace import Trace


class Meaning(Enum):
    """What an operation does with the numbers that it is given."""

    PRODUCT = "linear in each of its factors, weights or activations"
    SCALING = "a product element by element"
    SUM = "adds up, element by element"
    REDUCTION = "adds up, or averages, or takes the largest, along axes or over windows"
    FUNCTION = "a function of each element that is 0 at 0"
    OFFSET_FUNCTION = "a function of each element that is not 0 at 0"
    QUOTIENT = "a division element by element"
    POWER = "a power element by element"
    NORMALISATION = "a normalisation, its scale and its shift"
    SOFTMAX = "positive weights that add up to 1"
    WINDOW_MAXIMUM = "the largest of each window"
    LOOK_UP = "rows of a table"
    SELECTION = "takes elements from one or another, as a condition says"
    MOVE = "the same numbers in another shape or place"
    IDENTITY = "the same numbers: copies, precision, dropout in evaluation mode"
    CONSTANT = "makes numbers out of nothing"


_BY_MEANING: dict[Meaning, str] = {
    Meaning.PRODUCT: """linear conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d
        mm bmm matmul mv dot addmm baddbmm addbmm addmv bilinear einsum outer inner vdot""",
    Meaning.SCALING: "mul multiply addcmul",
    Meaning.SUM: "add sub rsub subtract maximum minimum fmax fmin logaddexp lerp",
    Meaning.REDUCTION: """mean sum cumsum amax amin max min norm linalg_vector_norm var std var_mean logsumexp
        avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
        _adaptive_avg_pool2d _adaptive_avg_pool3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d
        _upsample_bilinear2d_aa
        upsample_bicubic2d _upsample_bicubic2d_aa col2im nansum""",
    Meaning.FUNCTION: """relu relu6 leaky_relu prelu _prelu_kernel rrelu hardtanh elu celu selu gelu silu mish hardswish
        tanh softshrink hardshrink sin sinh tan atan asin asinh atanh erf abs neg sqrt sign sgn
        square log1p expm1 clamp clamp_min clamp_max clip threshold floor ceil round trunc frac nan_to_num
        glu""",
    Meaning.OFFSET_FUNCTION: """sigmoid exp exp2 softplus hardsigmoid log_sigmoid log_sigmoid_forward cos cosh acos
        log log2 log10 rsqrt reciprocal erfc logit""",
    Meaning.QUOTIENT: "div divide true_divide",
    Meaning.POWER: "pow float_power",
    Meaning.NORMALISATION: """batch_norm layer_norm group_norm instance_norm rms_norm native_layer_norm
        native_group_norm _fused_rms_norm""",
    Meaning.SOFTMAX: "softmax _softmax log_softmax _log_softmax _safe_softmax",
    Meaning.WINDOW_MAXIMUM: """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
        max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d""",
    Meaning.LOOK_UP: "embedding",
    Meaning.SELECTION: "where masked_fill",
    Meaning.MOVE: """view reshape _unsafe_view view_as reshape_as permute transpose t numpy_T adjoint swapaxes movedim
        moveaxis mT flatten unflatten ravel slice select narrow split split_with_sizes chunk tensor_split unbind expand
        expand_as repeat repeat_interleave tile squeeze unsqueeze roll flip fliplr flipud rot90 pad constant_pad_nd
        reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d pixel_shuffle pixel_unshuffle
        channel_shuffle native_channel_shuffle index index_select gather take_along_dim cat concat stack hstack vstack
        upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d slice_scatter select_scatter
        index_put fill zero diagonal unfold im2col tril triu copy getitem meshgrid hsplit vsplit
        broadcast_tensors atleast_1d atleast_2d""",
    Meaning.IDENTITY: """clone contiguous alias detach to _to_copy type_as lift_fresh_copy lift dropout feature_dropout
        alpha_dropout feature_alpha_dropout native_dropout positive""",
    Meaning.CONSTANT: """arange zeros ones full empty eye linspace scalar_tensor hann_window""",
}
MEANINGS: dict[str, Meaning] = {name: meaning for meaning, names in _BY_MEANING.items() for name in names.split()}
"""Of every operation that is known, by its plain name."""

_ADDING = ("addmm", "baddbmm", "addbmm", "addmv", "addcmul")
_FACTORS: dict[str, tuple[int, ...]] = {"bilinear": (0, 1, 2)} | dict.fromkeys(_ADDING, (1, 2))


class Role(Enum):
    """What a value depends on."""

    CONSTANT = "nothing but buffers and constants"
    WEIGHT = "parameters, but no input"
    ACTIVATION = "the input"
    LABEL = "the input, as whole numbers or booleans: token ids, and comparisons"


def meaning(node: fx.Node) -> Meaning:
    """What a node's operation means.

    Raises:
        SparsityError: Names an operation that is not known, and where it is.
    """
    found = known_meaning(node)
    if found is None:
        raise unknown(node)
    return found


def known_meaning(node: fx.Node) -> Meaning | None:
    """What a node's operation means; None if it is not known."""
    return MEANINGS.get(packet_name(node.target)) or MEANINGS.get(getattr(node.target, "__name__", "").strip("_"))


def unknown(node: fx.Node, why: str = "") -> SparsityError:
    """The sentence about an operation that cannot be read."""
    name = packet_name(node.target) or str(getattr(node.target, "__name__", node.target))
    return SparsityError(
        f"the network's operation {name!r} (at {node.name!r} of its graph) is not one whose connections are known"
        + (f": {why}" if why else "")
    )


def factors(node: fx.Node) -> tuple[tuple[int, Any], ...]:
    """The factors of a product, each with its place among the arguments; of an einsum (place 1) all in one list."""
    name = packet_name(node.target)
    if name == "einsum":
        return ((1, arguments(node)[1]),)
    return tuple((place, arguments(node)[place]) for place in _FACTORS.get(name, (0, 1)))


def addend(node: fx.Node) -> Any:
    """What a product adds besides: the bias of a layer, the first argument of `addmm`; None if nothing."""
    name = packet_name(node.target)
    if name in _ADDING:
        return arguments(node)[0]
    place = 3 if name == "bilinear" else 2
    is_layer = name == "linear" or name.startswith("conv") or name == "bilinear"
    return (arguments(node)[place] if len(arguments(node)) > place else node.kwargs.get("bias")) if is_layer else None


def roles(trace: Trace) -> dict[fx.Node, Role]:
    """What each value of a graph depends on."""
    found: dict[fx.Node, Role] = {}
    for node in trace.graph.nodes:
        if node.op == "output":
            continue
        if node.op == "placeholder":
            if node in trace.parameters:
                found[node] = Role.WEIGHT
            elif node in trace.inputs:
                found[node] = Role.ACTIVATION if _is_number(node) else Role.LABEL
            else:
                found[node] = Role.CONSTANT
            continue
        read = {found[argument] for argument in node.all_input_nodes}
        if read & {Role.ACTIVATION, Role.LABEL}:
            found[node] = Role.ACTIVATION if _is_number(node) else Role.LABEL
        elif Role.WEIGHT in read:
            found[node] = Role.WEIGHT if _is_number(node) else Role.LABEL
        else:
            found[node] = Role.CONSTANT
    return found


def is_product_of_activations(node: fx.Node, of: dict[fx.Node, Role]) -> bool:
    """Whether two factors of a node depend on the input."""
    if node.op != "call_function" or of[node] != Role.ACTIVATION:
        return False
    if MEANINGS.get(packet_name(node.target)) not in (Meaning.PRODUCT, Meaning.SCALING):
        return False
    return sum(of[factor] == Role.ACTIVATION for factor in factor_nodes(node)) > 1


def factor_nodes(node: fx.Node) -> list[fx.Node]:
    """The factors of a product that are values of the graph; one that is squared is there twice."""
    return [
        factor
        for _, given in factors(node)
        for factor in (given if isinstance(given, list | tuple) else (given,))
        if isinstance(factor, fx.Node)
    ]


def _is_number(node: fx.Node) -> bool:
    value = node.meta.get("val")
    tensors = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(tensor, Tensor) and (tensor.is_floating_point() or tensor.is_complex()) for tensor in tensors)
