"""New nodes in a traced graph, with shape and dtype worked out as they are made."""

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


class Emitter:
    """Makes nodes just before another one.

    Args:
        before: The node that is to be written out.
    """

    def __init__(self, before: fx.Node) -> None:
        self.graph = before.graph
        self._before = before
        self._mode = next((value.fake_mode for value in _values(before) if hasattr(value, "fake_mode")), None)

    def __call__(self, operation: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """One operation on nodes and plain values."""
        with self.graph.inserting_before(self._before):
            node = self.graph.call_function(operation, args, kwargs)
        values = fx.map_arg((args, kwargs), lambda argument: argument.meta["val"])
        if self._mode is None:
            node.meta["val"] = operation(*values[0], **values[1])
        else:
            with self._mode:
                node.meta["val"] = operation(*values[0], **values[1])
        return node


def _values(node: fx.Node) -> list[Tensor]:
    found = [node, *node.all_input_nodes]
    values = [argument.meta.get("val") for argument in found]
    return [value for value in values if isinstance(value, Tensor)]
