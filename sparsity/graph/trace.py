"""The forward pass of any network as one graph of ATen operations, in a normal form that everything else reads.

The graph has no in-place operations; recurrent layers are unrolled and attention is written out (`normal_form`). It
holds no values of parameters or floating-point buffers, so that one graph serves all networks of an architecture.
"""

import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind

from sparsity.errors import SparsityError
from sparsity.forward.passes import evaluating
from sparsity.forward.tensors import tensors_in
from sparsity.graph.functional import functional_graph, inplace_by_rewriting
from sparsity.graph.normal_form import normal_form

Sample = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""A batch of one: the input, positional inputs, or inputs by keyword."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass in evaluation mode.

    Args:
        graph: Placeholders, ATen operations and one output; `node.meta["val"]` has shape and dtype.
        parameters: By placeholder the full name of its parameter; a tied one has the first of its names.
        buffers: By placeholder the full name of its buffer.
        constants: By placeholder the value: of whole-number and boolean buffers too, which say where things are.
        inputs: The placeholders of the sample.
        outputs: What the network returns, floating-point tensors only.
        shapes: By name the shapes of the parameters that the pass uses.
    """

    graph: fx.Graph
    parameters: dict[fx.Node, str]
    buffers: dict[fx.Node, str]
    constants: dict[fx.Node, Tensor]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]
    shapes: dict[str, torch.Size]


def trace(network: nn.Module, sample: Sample) -> Trace:
    """Trace a network's forward pass in evaluation mode.

    Args:
        network: Any network; left unchanged (weights, buffers, modes, random states).
        sample: A batch of one: a tensor `[1, ...]`, a tuple of positional inputs, or a dictionary of keyword inputs.

    Raises:
        SparsityError: If the network's code depends on values, which no graph shows, or raises something.
    """
    args, kwargs = call_arguments(sample)
    with evaluating(network), _own_recurrent_weights(network), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what export does to recurrent layers, which is undone here
        fast_attention = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        for module in network.modules():
            module._compiled_call_impl = None  # `evaluating` puts it back
        try:
            with _quiet():
                program = torch.export.export(_TensorsOnly(network), args, kwargs, strict=False)
            if not inplace_by_rewriting(program.graph):
                program = program.run_decompositions({})
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a forward pass is anybody's code, and export refuses some of it
            raise _refusal(network, error) from error
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_attention)
        try:
            functional_graph(program.graph)
            return _read(network, program)
        except SparsityError as error:
            raise _refusal(network, error) from error


def call_arguments(sample: Sample) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a network is called with for a sample: by position, and by keyword."""
    if isinstance(sample, Tensor):
        return (sample,), {}
    if isinstance(sample, Mapping):
        return (), dict(sample)
    return tuple(sample), {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the pages that torch prints of a forward pass that it cannot follow, for its own debuggers."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before, log.disabled = log.disabled, True
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        log.disabled = before


def _refusal(network: nn.Module, error: Exception) -> SparsityError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if "data-dependent" in reason:
        reason = "its code depends on values"
    place = "" if isinstance(error, SparsityError) else _place(error)
    return SparsityError(f"{type(network).__name__} cannot be traced: {reason}{place}")


def _place(error: Exception) -> str:
    """The line of the network's own code that was being run."""
    not_its_own = (str(Path(torch.__file__).parent), __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(not_its_own)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""


class _TensorsOnly(nn.Module):
    """Returns a tuple of the tensors in a network's output, of whatever kind it is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors_in(self.network(*args, **kwargs)))


@contextmanager
def _own_recurrent_weights(network: nn.Module) -> Iterator[None]:
    """Give recurrent layers back the contents of their private lists of weights, which export writes into."""
    lists = [module._flat_weights for module in network.modules() if isinstance(module, nn.RNNBase)]
    before = [list(weights) for weights in lists]
    try:
        yield
    finally:
        for weights, own in zip(lists, before, strict=True):
            weights[:] = own


def _read(network: nn.Module, program: torch.export.ExportedProgram) -> Trace:
    first_names: dict[int, str] = {}
    names: dict[str, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names[name] = first_names.setdefault(id(parameter), name)
    first_names = {}
    for name, buffer in network.named_buffers(remove_duplicate=False):
        names[name] = first_names.setdefault(id(buffer), name)
    buffers_now = dict(network.named_buffers(remove_duplicate=False))
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    parameters: dict[fx.Node, str] = {}
    buffers: dict[fx.Node, str] = {}
    constants: dict[fx.Node, Tensor] = {}
    inputs: list[fx.Node] = []
    for spec in program.graph_signature.input_specs:
        node = placeholders.get(getattr(spec.arg, "name", ""))
        target = None if spec.target is None else spec.target.removeprefix("network.")
        if node is None:
            continue
        if spec.kind == InputKind.USER_INPUT:
            inputs.append(node)
        elif spec.kind == InputKind.PARAMETER and target is not None:
            parameters[node] = names[target]
        elif spec.kind == InputKind.BUFFER and target is not None:
            if not node.users:
                continue
            buffers[node] = names[target]
            if not buffers_now[target].is_floating_point():
                constants[node] = buffers_now[target].detach().clone()
        elif spec.kind == InputKind.CONSTANT_TENSOR and target is not None:
            constants[node] = program.constants[str(spec.target)].detach()
        else:
            raise SparsityError(f"it takes a {spec.kind.name.lower().replace('_', ' ')} that no weight enters")
    returned = {
        getattr(spec.arg, "name", "")
        for spec in program.graph_signature.output_specs
        if spec.kind == OutputKind.USER_OUTPUT
    }
    normal_form(program.graph, returned, {*buffers, *constants})
    for node in program.graph.nodes:  # of where it was written in the network's code nothing is kept
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    result = next(node for node in program.graph.nodes if node.op == "output")
    outputs = tuple(node for node in result.args[0] if _is_floating(node))
    if not outputs:
        raise SparsityError("no number in its output is a floating-point one")
    alive = {node for node in program.graph.nodes if node.op == "placeholder" and node.users}
    return Trace(
        graph=program.graph,
        parameters={node: name for node, name in parameters.items() if node in alive},
        buffers={node: name for node, name in buffers.items() if node in alive},
        constants={node: value for node, value in constants.items() if node in alive},
        inputs=tuple(inputs),
        outputs=outputs,
        shapes={name: torch.Size(node.meta["val"].shape) for node, name in parameters.items() if node in alive},
    )


def _is_floating(node: object) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, Tensor) and value.is_floating_point()
