"""A network as a program that runs without its code: of torch.export, or in ONNX Runtime."""

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.compaction.outputs import map_tensors
from sparsity.errors import SparsityError
from sparsity.forward.passes import in_mode
from sparsity.forward.tensors import tensors_in
from sparsity.graph.trace import Sample, call_arguments

_SAMPLES = 3
"""With which a batch of any size is traced; of one alone, export takes for granted that there is one."""
_MOST_SAMPLES = 2**31 - 1
"""Slices end at 2**63 - 1, which torch 2.6 has to know to be further than any batch is long."""
_LONGEST_REASON = 200


def torch_program(network: nn.Module, sample: Sample) -> tuple[bytes, int | None]:
    """A network as a program of torch.export, what `torch.export.load` reads.

    Args:
        network: In evaluation mode, on the CPU, without masks; left unchanged.
        sample: A batch of one.

    Returns:
        The file's content, and the number of samples that it takes at once; None if it takes any.

    Raises:
        SparsityError: If the network cannot be written so; names the operation where that is known.
    """
    return _of_any_batch(_torch_program, network, sample)


def onnx_program(network: nn.Module, sample: Sample) -> tuple[bytes, int | None]:
    """A network as a program of ONNX; the rest as for `torch_program`."""
    return _of_any_batch(_onnx_program, network, sample)


def onnx_call(program: Path | bytes, threads: int = 0) -> Callable[..., Any]:
    """What runs a program in ONNX Runtime, on the processor.

    Args:
        program: Of `onnx_program`, or a file of it.
        threads: For one operation; 0 for as many as there are cores.

    Returns:
        A function of tensors, by place or by name.

    Raises:
        SparsityError: If ONNX Runtime refuses the program, here or in a pass: it has not every kernel for every type.
    """
    onnxruntime = import_module("onnxruntime")  # without types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised besides
    # Else its threads are busy waiting for a while after a pass, and what runs next has to do without their cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = program if isinstance(program, bytes) else os.fspath(program)
    with _refusing():
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names: Sequence[str] = [one.name for one in session.get_inputs()]

    def call(*args: Any, **kwargs: Any) -> Any:
        given = kwargs if kwargs.keys() >= set(names) else dict(zip(names, [*args, *kwargs.values()], strict=True))
        with _refusing():
            found = session.run(None, {name: given[name].numpy() for name in names})
        outputs = tuple(torch.from_numpy(array) for array in found)
        return outputs[0] if len(outputs) == 1 else outputs

    return call


class Program(nn.Module):
    """A program in the place of the network that it is of, to be called as that.

    Args:
        function: What runs it.
        batch: The number of samples that it takes at once, into which inputs are divided; None if it takes any.
    """

    def __init__(self, function: Callable[..., Any], batch: int | None) -> None:
        super().__init__()
        self.functions = (function,)  # in a tuple it is no submodule, which would be told its mode
        self.batch = batch

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the program as the network is called."""
        function = self.functions[0]
        if self.batch is None:
            return function(*args, **kwargs)
        samples = next(tensors_in((args, kwargs))).shape[0]
        parts = []
        for start in range(0, samples, self.batch):
            # The last batch is filled up with its own samples.
            rows = torch.arange(start, start + self.batch).clamp(max=samples - 1)

            def chosen(tensor: Tensor, rows: Tensor = rows) -> Tensor:
                return tensor[rows]

            some, named = map_tensors(args, chosen), map_tensors(kwargs, chosen)
            parts.append(list(tensors_in(function(*some, **named))))  # type: ignore[arg-type]
        return tuple(torch.cat(tensors)[:samples] for tensors in zip(*parts, strict=True))


def _of_any_batch(
    write: Callable[[nn.Module, Sample, Any], bytes], network: nn.Module, sample: Sample
) -> tuple[bytes, int | None]:
    """A file for any number of samples, or if the network's code counts on one, for that of the sample."""
    several = map_tensors(sample, lambda tensor: tensor.repeat(_SAMPLES, *[1] * (tensor.ndim - 1)))
    with _quiet(), in_mode(network, training=False), torch.enable_grad():
        try:
            return write(network, several, _any_batch(sample)), None
        except Exception:  # of anybody's code, or of the exporter's
            try:
                return write(network, sample, None), len(next(tensors_in(sample)))
            except Exception as error:
                raise SparsityError(f"{type(network).__name__} cannot be exported: {_reason(error)}") from error


def _any_batch(sample: Sample) -> Any:
    """In the place of each tensor that its first axis is as long as one likes."""
    batch = torch.export.Dim("batch", max=_MOST_SAMPLES)

    def shape(item: object) -> dict[int, Any] | None:
        return {0: batch} if isinstance(item, Tensor) else None

    if isinstance(sample, Tensor):
        return (shape(sample),)
    if isinstance(sample, Mapping):
        return {name: shape(item) for name, item in sample.items()}
    return tuple(shape(item) for item in sample)


def _torch_program(network: nn.Module, sample: Sample, shapes: Any) -> bytes:
    program = _exported(network, sample, shapes)
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _onnx_program(network: nn.Module, sample: Sample, shapes: Any) -> bytes:
    names = ["input"] if isinstance(sample, Tensor) else None
    program = _exported(network, sample, shapes)
    written = torch.onnx.export(program, dynamo=True, verbose=False, input_names=names, output_names=["output"])
    assert written is not None
    model = written.model_proto
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    content: bytes = model.SerializeToString()
    return content


def _exported(network: nn.Module, sample: Sample, shapes: Any) -> torch.export.ExportedProgram:
    args, kwargs = call_arguments(sample)
    program = torch.export.export(network, args, kwargs, dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's classes have nothing of their own in common
        raise SparsityError(f"ONNX Runtime cannot run the network: {_first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell their own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: BaseException) -> str:
    """What is behind an exporter's errors, each of which quotes the one before: the operation, or the first line."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for one in chain:
        if found := re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", str(one)):
            return f"the operation {found[1]} has no counterpart in ONNX"
    return _first_line(chain[-1])


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST_REASON]
