"""What reaches what along kept weights, in any network: effective weights, and those of units that something reads.

One forward and one backward pass of booleans over the network's graph (`boolean_rules`). Where products of weights
would under- and overflow, every value is cut back to 0 or 1 on the way forward, and every gradient on the way back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.errors import SparsityError
from sparsity.graph.boolean_rules import Rules
from sparsity.graph.duals import Dual, Duals
from sparsity.graph.meanings import Role, is_product_of_activations, roles
from sparsity.graph.nodes import packet_name, shape
from sparsity.graph.trace import Trace
from sparsity.graph.weight_uses import weight_uses

Kept = Mapping[str, Tensor]
"""By full parameter name, which of its weights are kept: booleans shaped like it."""


def effective(trace: Trace, kept: Kept, buffers: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The kept weights that lie on some path of kept weights from the input to the output.

    A weight lies on one if what it reads depends on the input, at some position, and what it makes there reaches the
    output (Vysogorets and Kempe 2021, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity", by booleans). Biases, shifts of normalisations and other parameters that are added start no path; a
    product needs both factors, of which the other may be a constant such as a closed gate's sigmoid(0).

    Args:
        trace: A network's graph.
        kept: The masked parameters; others are dense.
        buffers: Values of floating-point buffers, where zeros in them matter; by default they have none.

    Returns:
        By name, shaped like the parameter; never True where it is not kept.

    Raises:
        SparsityError: If an operation's connections are not known, or a mask does not fit.
    """
    return {name: kept[name] & marks for name, marks in _marked(trace, kept, buffers, local=False).items()}


def read(trace: Trace, kept: Kept, buffers: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights of units that something reads directly: a kept weight of another layer, or the output.

    Args:
        trace: A network's graph.
        kept: The masked parameters, as in `effective`.
        buffers: As in `effective`.

    Returns:
        By name, bool, shaped like the parameter, equal in all weights of a unit that meet an input.

    Raises:
        SparsityError: As `effective`.
    """
    return _marked(trace, kept, buffers, local=True)


def receptive_fields(trace: Trace, parameter: str, places: Sequence[int]) -> Tensor:
    """What of the input reaches a layer's answer at some places, whatever is pruned.

    Args:
        trace: A network's graph.
        parameter: Full name of the layer's weight; of several runs the last is meant.
        places: Among the answers of one unit, flattened.

    Returns:
        `[places, *input]`, bool.

    Raises:
        SparsityError: If an operation's connections are not known, or the weight takes no part.
    """
    run = _Pass(trace, {}, {}, local=False)
    uses = [use for use in weight_uses(trace, run.roles) if use.parameter == parameter]
    if not uses or not isinstance(start := run.values[trace.inputs[0]], Dual):
        raise SparsityError(f"{parameter!r} does not take part in the forward pass of images")
    answers = run.values[uses[-1].node].depends
    is_map = packet_name(uses[-1].node.target).startswith("conv")
    of_one_unit = answers.movedim(1 if is_map else -1, 0)[0].flatten()
    seen = [torch.autograd.grad(of_one_unit[place], start.depends, retain_graph=True)[0][0] > 0 for place in places]
    return torch.stack(seen)


def _marked(trace: Trace, kept: Kept, buffers: Mapping[str, Tensor] | None, local: bool) -> dict[str, Tensor]:
    """Where the output's dependence on the input goes through weights, bool, shaped like the masks."""
    run = _Pass(trace, kept, buffers or {}, local)
    found = dict(zip(run.patterns, run.gradients(), strict=True))
    return {
        name: torch.zeros_like(mask) if (gradient := found.get(name)) is None else gradient > 0
        for name, mask in kept.items()
    }


class _Pass:
    """A forward pass of booleans.

    Args:
        trace: A network's graph.
        kept: The masked parameters.
        buffers: Values of buffers.
        local: Whether every weight starts anew, as if all that it reads depended on the input and all that it makes
            were read: a gradient then says whether some kept weight, or the output, reads a unit directly.
    """

    def __init__(self, trace: Trace, kept: Kept, buffers: Mapping[str, Tensor], local: bool) -> None:
        self.roles = roles(trace)
        self.patterns: dict[str, Tensor] = {}
        device = next((mask.device for mask in kept.values()), torch.device("cpu"))
        self.values = values = dict[fx.Node, Any]()
        with_there = any(
            is_product_of_activations(node, self.roles) or packet_name(node.target) == "glu"
            for node in trace.graph.nodes
        )

        rules = Rules(self.roles, values, with_there, local, device)
        with torch.enable_grad():
            for node in trace.graph.nodes:
                if node.op == "placeholder":
                    values[node] = self._placeholder(trace, node, kept, buffers, rules)
                elif node.op != "output":
                    values[node] = rules.run(node)
        ends = [values[node] for node in trace.outputs if self.roles[node] == Role.ACTIVATION]
        self._ends = [end.depends for end in ends if end.depends.requires_grad]

    def gradients(self) -> tuple[Tensor | None, ...]:
        """By kept parameter where the output's dependence on the input goes through it; None where it cannot."""
        if not self._ends or not self.patterns:
            return (None,) * len(self.patterns)
        starts = [torch.ones_like(end) for end in self._ends]
        return torch.autograd.grad(self._ends, list(self.patterns.values()), starts, allow_unused=True)

    def _placeholder(self, trace: Trace, node: fx.Node, kept: Kept, buffers: Mapping[str, Tensor], rules: Duals) -> Any:
        if self.roles[node] == Role.ACTIVATION:
            everything = rules.dense(node)
            everything.depends.requires_grad_()
            return everything
        if self.roles[node] == Role.LABEL or not isinstance(node.meta.get("val"), Tensor):
            return None
        if node in trace.parameters:
            name = trace.parameters[node]
            return Dual(self._pattern(name, node, kept, rules.device), None, True)
        value = trace.constants.get(node)
        if value is None:
            value = buffers.get(trace.buffers.get(node, ""))
        if value is None:
            return torch.ones(shape(node), dtype=torch.float32, device=rules.device)
        value = value.detach().to(rules.device)
        return value.float() if value.is_floating_point() else value

    def _pattern(self, name: str, node: fx.Node, kept: Kept, device: torch.device) -> Tensor:
        mask = kept.get(name)
        if mask is None:
            return torch.ones(shape(node), dtype=torch.float32, device=device)
        if name not in self.patterns:  # a tied one has several placeholders
            if mask.shape != shape(node):
                raise SparsityError(
                    f"the mask of {name!r} is shaped {list(mask.shape)}, and the parameter {list(shape(node))}"
                )
            self.patterns[name] = mask.to(device, torch.float32).requires_grad_()
        return self.patterns[name]
