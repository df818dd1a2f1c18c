"""What each operation does with two booleans per element: may it be non-zero, and does it depend on the input.

A value of activations has d, whether it depends on the input along kept weights, and n, whether it may be non-zero
at all; like a number and its derivative they obey a product rule, d = d_a n_b + n_a d_b. Booleans are floats here,
positive or 0, so that a backward pass says what of d reaches the output; n is a constant to it. Of weights d stands
for "is kept", and what they add to activations, as a bias does, is left out.

A normalisation connects each element to itself alone, though its statistics mix all of them; so do a softmax and a
division, whose denominator is left out. What reads at places that depend on the input reads all of them.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from sparsity.graph.duals import Dual, Duals, cut, met, read
from sparsity.graph.meanings import Meaning, Role, addend, factors, meaning, unknown
from sparsity.graph.nodes import arguments, called, named_arguments, non_negative, packet_name, retyped, shape
from sparsity.graph.windows import sum_over_windows


class Rules(Duals):
    """Runs one node after the other, see `Duals`."""

    def run(self, node: fx.Node) -> Any:
        """The value of a node.

        Raises:
            SparsityError: Names an operation that is not known.
        """
        if node.target is operator.getitem:
            return self.values[arguments(node)[0]][arguments(node)[1]]
        if self.roles[node] == Role.LABEL:
            return None
        if self.roles[node] == Role.CONSTANT:
            return self._constant(node)
        return _RULES[meaning(node)](self, node)

    def _constant(self, node: fx.Node) -> Any:
        args, kwargs = retyped(
            fx.map_arg((arguments(node), node.kwargs), self.values.__getitem__), self.device, torch.float32
        )
        with torch.no_grad():
            found = called(node)(*args, **kwargs)
        # What is made of whole numbers has the default precision, whatever that is.
        return found.float() if isinstance(found, Tensor) and found.is_floating_point() else found


def _product(rules: Duals, node: fx.Node) -> Dual:
    """Linear in each factor: a term for every activation, in which the others are only there."""
    places = factors(node)
    einsum = packet_name(node.target) == "einsum"
    operands = list(places[0][1]) if einsum else [factor for _, factor in places]
    added = addend(node)
    rest = {key: value for key, value in node.kwargs.items() if key not in ("alpha", "beta", "value", "bias")}

    def run(factors_now: list[Any]) -> Tensor:
        args = list(arguments(node))
        if einsum:
            args[1] = factors_now
        else:
            for (place, _), factor in zip(places, factors_now, strict=True):
                args[place] = factor
        for place, argument in enumerate(args):
            if argument is added and added is not None:
                is_bias = place > 1
                args[place] = None if is_bias else rules.zeros(shape(added))
        result: Tensor = called(node)(*args, **rest)
        return result

    active = [i for i, operand in enumerate(operands) if rules.roles.get(operand) == Role.ACTIVATION]
    if not active and rules.roles[node] == Role.ACTIVATION:  # labels in a product with weights: a mask
        return rules.each(node, lambda tensor: tensor)
    weighted = meaning(node) == Meaning.PRODUCT and 0 < len(active) < len(operands)

    def terms(by_input: bool = True, by_weight: bool = True) -> Tensor:
        found = []
        for i in active or [-1]:
            now = [rules.pattern(operand, there=j != i) for j, operand in enumerate(operands)]
            if not by_weight:
                now = [one.detach() if j not in active else one for j, one in enumerate(now)]
            if not by_input:  # as if all that a weight reads depended on the input
                now = [torch.ones_like(one) if j in active else one for j, one in enumerate(now)]
            found.append(run(now))
        return torch.stack(found).sum(0) if len(found) > 1 else found[0]

    starts = rules.local and weighted
    depends = met(terms(by_input=False)) + read(terms(by_weight=False)) if starts else cut(terms())
    there = None
    if rules.with_there and active:
        with torch.no_grad():
            here = run([rules.pattern(operand, True) for operand in operands]) > 0
            there = torch.ones_like(depends) if starts else here.float()
    plain = rules.result(node, depends, there)
    return _with_addend(rules, node, plain)


def _with_addend(rules: Duals, node: fx.Node, plain: Dual) -> Dual:
    """What a product adds besides; a bias is left out."""
    added = addend(node)
    extra = rules.given(added)
    if extra is None or (isinstance(extra, Dual) and extra.of_weights):
        return plain
    if isinstance(extra, Dual):
        both = None if plain.there is None or extra.there is None else ((plain.there + extra.there) > 0).float()
        return rules.result(node, plain.depends + extra.depends, both)
    if plain.there is None:
        return plain
    return rules.result(node, plain.depends, ((plain.there + rules.pattern(added, True)) > 0).float())


def _sum(rules: Duals, node: fx.Node) -> Dual:
    return rules.addition(
        node, [argument for argument in arguments(node) if isinstance(argument, fx.Node | int | float)]
    )


_NORMS = frozenset({"amax", "amin", "max", "min", "norm", "linalg_vector_norm", "var", "std", "var_mean", "logsumexp"})


def _reduction(rules: Duals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    if name in ("max", "min") and len(arguments(node)) > 1 and isinstance(arguments(node)[1], fx.Node):
        return _sum(rules, node)
    if name in _NORMS:
        named = named_arguments(node)
        axes, keep = named.get("dim"), bool(named.get("keepdim", False))

        def over_axes(tensor: Tensor) -> Tensor:
            return cut(tensor.sum() if axes is None or axes == [] else tensor.sum(axes, keepdim=keep))

        found = rules.each(node, over_axes)
        if name == "logsumexp":
            found = rules.result(node, found.depends, torch.ones_like(found.depends))
        if isinstance(node.meta["val"], Tensor):
            return found
        return (found, found) if name == "var_mean" else (found, None)
    kwargs = {key: value for key, value in node.kwargs.items() if key != "dtype"}

    def over(tensor: Tensor) -> Tensor:
        return cut(non_negative(node)(tensor, *arguments(node)[1:], **kwargs))

    return rules.each(node, over)


def _function(rules: Duals, node: fx.Node) -> Dual:
    name = packet_name(node.target)
    if name == "glu":
        return _gated_halves(rules, node)
    found = rules.each(node, lambda tensor: tensor)
    return rules.result(node, found.depends, torch.ones_like(found.depends)) if _is_offset(node, name) else found


def _is_offset(node: fx.Node, name: str) -> bool:
    """Whether a function that has a range gives something else than 0 at 0."""
    if name not in ("clamp", "clamp_min", "clamp_max", "clip", "hardtanh", "threshold"):
        return False
    bounds = [bound if isinstance(bound, int | float) else 0.0 for bound in arguments(node)[1:]]
    if name == "threshold":
        return bounds[0] >= 0 and bounds[1] != 0
    lowest = bounds[0] if bounds and name != "clamp_max" else node.kwargs.get("min", 0.0)
    highest = bounds[-1] if name == "clamp_max" or len(bounds) > 1 else node.kwargs.get("max", 0.0)
    return bool((isinstance(lowest, int | float) and lowest > 0) or (isinstance(highest, int | float) and highest < 0))


def _gated_halves(rules: Duals, node: fx.Node) -> Dual:
    axis = arguments(node)[1] if len(arguments(node)) > 1 else -1
    value = rules.given(arguments(node)[0])
    first, gate = value.depends.chunk(2, axis)
    if value.there is None:
        return rules.result(node, first + gate, None)
    there = value.there.chunk(2, axis)[0]
    return rules.result(node, cut(first + there * gate), there)


def _offset_function(rules: Duals, node: fx.Node) -> Any:
    found = rules.each(node, lambda tensor: tensor)
    found = rules.result(node, found.depends, torch.ones_like(found.depends))
    return found if isinstance(node.meta["val"], Tensor) else (found, None)


def _quotient(rules: Duals, node: fx.Node) -> Dual:
    above, below = arguments(node)[:2]
    size = shape(node)
    if isinstance(rules.given(above), Dual):
        return rules.each(node, lambda tensor: tensor.expand(size), above)
    found = rules.each(node, lambda tensor: tensor.expand(size), below)
    return rules.result(node, found.depends, torch.ones_like(found.depends))


def _power(rules: Duals, node: fx.Node) -> Dual:
    base, exponent = arguments(node)[:2]
    size = shape(node)
    if isinstance(rules.given(base), Dual) and exponent != 0:
        return rules.each(node, lambda tensor: tensor.expand(size), base)
    found = rules.each(node, lambda tensor: tensor.expand(size), exponent if isinstance(exponent, fx.Node) else base)
    return rules.result(node, found.depends, torch.ones_like(found.depends))


def _normalisation(rules: Duals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    scale = rules.given(named_arguments(node).get("weight"))
    if not isinstance(scale, Dual):
        found = rules.each(node, lambda tensor: tensor)
    else:
        kept = scale.depends
        if name in ("batch_norm", "group_norm", "instance_norm", "native_group_norm"):  # one number per channel
            kept = kept.reshape(1, -1, *([1] * (len(shape(node)) - 2)))
        found = rules.each(node, lambda tensor: cut(tensor * kept))
    return found if isinstance(node.meta["val"], Tensor) else (found, None, None)


def _softmax(rules: Duals, node: fx.Node) -> Dual:
    found = rules.each(node, lambda tensor: tensor)
    return rules.result(node, found.depends, torch.ones_like(found.depends))


def _window_maximum(rules: Duals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    axes = int(name.split("pool")[1][0])
    named = named_arguments(node)
    if name.startswith("adaptive"):
        average = getattr(F, f"adaptive_avg_pool{axes}d")
        found = rules.each(node, lambda tensor: cut(average(tensor, named["output_size"])))
    else:
        found = rules.each(node, lambda tensor: cut(sum_over_windows(tensor, shape(node), axes, named)))
    return found if isinstance(node.meta["val"], Tensor) else (found, None)


def _look_up(rules: Duals, node: fx.Node) -> Dual:
    table = rules.given(arguments(node)[0])
    if rules.roles[node] == Role.WEIGHT:
        index = rules.given(arguments(node)[1])
        return Dual(F.embedding(index, table.depends), None, True)
    if not isinstance(table, Dual):
        return rules.dense(node)
    return _any_row(rules, node, table)


def _any_row(rules: Duals, node: fx.Node, table: Dual) -> Dual:
    """A row of a table that the input chooses: any of them."""
    columns = cut(table.depends.sum(0)).expand(shape(node))
    return rules.result(node, columns, columns)


def _selection(rules: Duals, node: fx.Node) -> Dual:
    if packet_name(node.target) == "masked_fill":
        source, condition, otherwise = arguments(node)
        chosen = [(source, False), (otherwise, True)]
    else:
        condition = arguments(node)[0]
        chosen = [(arguments(node)[1], True), (arguments(node)[2], False)]
    where = rules.given(condition)
    size = shape(node)
    depends, there = rules.zeros(size), rules.zeros(size)
    of_weights = rules.roles[node] == Role.WEIGHT
    for argument, if_true in chosen:
        allowed = 1.0 if where is None else (where if if_true else ~where).float()
        value = rules.given(argument)
        if isinstance(value, Dual):
            if value.of_weights == of_weights:
                depends = depends + value.depends * allowed
                there = there if value.there is None else there + value.there * allowed
        else:
            there = there + rules.pattern(argument, True) * allowed
    return rules.result(node, depends, (there > 0).float())


def _move(rules: Duals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    if name in ("fill", "zero"):
        return rules.addition(node, [0.0 if name == "zero" else arguments(node)[1]])
    if name == "copy":
        return rules.addition(node, [arguments(node)[1]])
    indices = [argument for argument in node.all_input_nodes if rules.roles[argument] == Role.LABEL]
    if indices:
        table = rules.given(arguments(node)[0])
        if name in ("index", "index_select") and isinstance(table, Dual) and table.of_weights:
            return _any_row(rules, node, table)
        raise unknown(node, "it reads at places that the input chooses")
    of_weights = rules.roles[node] == Role.WEIGHT

    def moved(there: bool) -> Any:
        def stand_in(argument: fx.Node) -> Any:
            value = rules.values[argument]
            if isinstance(value, Dual):
                if value.of_weights != of_weights:  # a class token: it is there, and depends on nothing
                    return value.depends.detach() if there else rules.zeros(shape(argument))
                return value.there if there else value.depends
            if isinstance(value, Tensor) and value.is_floating_point():
                return (value != 0).float() if there or of_weights else torch.zeros_like(value)
            return value

        args, kwargs = fx.map_arg((arguments(node), dict(node.kwargs)), stand_in)
        if name in ("pad", "constant_pad_nd"):
            args, kwargs = _padded_with(name, args, kwargs, there)
        return called(node)(*args, **kwargs)

    depends = moved(False)
    there = moved(True) if rules.with_there and not of_weights else None
    if isinstance(depends, Tensor):
        return rules.result(node, depends, there)
    return tuple(rules.result(node, part, None if there is None else there[i]) for i, part in enumerate(depends))


def _padded_with(name: str, args: Any, kwargs: Any, there: bool) -> tuple[Any, Any]:
    """Padding with a constant: nothing depends on the input there."""
    place = 2 if name == "constant_pad_nd" else 3
    value = args[place] if len(args) > place else kwargs.get("value")
    if not value:
        return args, kwargs
    args = [*args[:place], float(there), *args[place + 1 :]]
    return args, {key: item for key, item in kwargs.items() if key != "value"}


def _identity(rules: Duals, node: fx.Node) -> Dual:
    return rules.each(node, lambda tensor: tensor)


def _constant(rules: Duals, node: fx.Node) -> Dual:
    raise unknown(node, "it makes numbers out of activations")


_RULES: dict[Meaning, Callable[[Duals, fx.Node], Any]] = {
    Meaning.PRODUCT: _product,
    Meaning.SCALING: _product,
    Meaning.SUM: _sum,
    Meaning.REDUCTION: _reduction,
    Meaning.FUNCTION: _function,
    Meaning.OFFSET_FUNCTION: _offset_function,
    Meaning.QUOTIENT: _quotient,
    Meaning.POWER: _power,
    Meaning.NORMALISATION: _normalisation,
    Meaning.SOFTMAX: _softmax,
    Meaning.WINDOW_MAXIMUM: _window_maximum,
    Meaning.LOOK_UP: _look_up,
    Meaning.SELECTION: _selection,
    Meaning.MOVE: _move,
    Meaning.IDENTITY: _identity,
    Meaning.CONSTANT: _constant,
}
