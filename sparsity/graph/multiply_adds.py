"""Multiply-adds of one sample: of every weight, and of products of activations with each other."""

import math
from collections.abc import Mapping

from torch import Tensor, fx

from sparsity.graph.meanings import Meaning, Role, factors, meaning, roles
from sparsity.graph.nodes import arguments, packet_name
from sparsity.graph.trace import Trace
from sparsity.graph.weight_uses import weight_uses


def positions(trace: Trace) -> dict[str, int | float]:
    """How often each weight is applied to one sample.

    1 in a Linear that reads a vector, the number of output pixels in a convolution, of input pixels in a transposed
    one; several uses add up. An embedding only looks up, and biases, normalisations and scales are not counted, as is
    usual: they have 0.

    Args:
        trace: A network's graph, of a batch of one.

    Returns:
        By full name of every parameter that the forward pass uses. Where parts of one are applied a different number
        of times, as the queries' and the keys' parts in attention to another sequence, the mean over its weights,
        which may be a fraction.
    """
    of = roles(trace)
    products = dict.fromkeys(trace.shapes, 0)
    for use in weight_uses(trace, of):
        if meaning(use.node) == Meaning.PRODUCT:
            products[use.parameter] += multiply_adds(use.node)
    sizes = {name: max(math.prod(shape), 1) for name, shape in trace.shapes.items()}
    return {
        name: count // sizes[name] if count % sizes[name] == 0 else count / sizes[name]
        for name, count in products.items()
    }


def activation_products(trace: Trace) -> int:
    """Multiply-adds of one sample in products of activations with each other, as attention has them.

    Only sums of products count, not products element by element.

    Args:
        trace: A network's graph, of a batch of one.
    """
    of = roles(trace)
    weighted = {use.node for use in weight_uses(trace, of)}
    return sum(
        multiply_adds(node)
        for node in trace.graph.nodes
        if node.op == "call_function"
        and of[node] == Role.ACTIVATION
        and node not in weighted
        and packet_name(node.target)
        and meaning(node) == Meaning.PRODUCT
    )


def weight_products(sizes: Mapping[str, int], applied: Mapping[str, int | float]) -> int:
    """Multiply-adds of some weights: the number of weights of each parameter times how often they are applied.

    Args:
        sizes: Number of weights to count by parameter, all or the kept ones.
        applied: From `positions`.
    """
    return round(sum(count * applied.get(name, 0) for name, count in sizes.items()))


def multiply_adds(node: fx.Node) -> int:
    """Multiply-adds of a product, from the shapes of what it reads and makes."""
    name = packet_name(node.target)
    result: Tensor = node.meta["val"]
    given = [factor.meta["val"] for _, factor in factors(node) if isinstance(factor, fx.Node)]
    if name == "einsum":
        return _einsum(str(arguments(node)[0]), [operand.meta["val"] for operand in arguments(node)[1]])
    if name.startswith("conv"):
        values, weight = given
        transposed = name.startswith("conv_transpose") or (name == "convolution" and bool(arguments(node)[6]))
        # Each weight meets every pixel of what it makes; of a transposed convolution, of what it reads.
        pixels, axes = (values if transposed else result).shape, weight.ndim - 2
        batch = math.prod(pixels[: len(pixels) - axes - 1])
        return int(weight.numel() * batch * math.prod(pixels[len(pixels) - axes :]))
    if name == "bilinear":
        return int(result.numel() * given[0].shape[-1] * given[1].shape[-1])
    if name == "outer":
        return int(result.numel())
    if name == "addbmm":
        return int(given[0].numel() * given[1].shape[-1])
    return int(result.numel() * given[0].shape[-1])  # linear, and all products of matrices


def _einsum(equation: str, operands: list[Tensor]) -> int:
    """The product over all its indices; an ellipsis is not looked into but counted by the first operand's axes."""
    sizes: dict[str, int] = {}
    for term, operand in zip(equation.replace(" ", "").split("->")[0].split(","), operands, strict=True):
        before, dots, after = term.partition("...")
        sizes |= dict(zip(before, operand.shape, strict=False))
        if dots:
            hidden = operand.shape[len(before) : operand.ndim - len(after)]
            sizes["..."] = max(sizes.get("...", 1), math.prod(hidden))
            sizes |= dict(zip(after, operand.shape[operand.ndim - len(after) :], strict=True))
    return math.prod(sizes.values())
