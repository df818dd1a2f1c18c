"""A network as a file in several formats, and such a file as a network again."""

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.checkpoints.exported import FILES, Format
from sparsity.checkpoints.loading import load_network
from sparsity.checkpoints.writing import config_of, exported_checkpoint, exported_safetensors
from sparsity.compaction.outputs import map_tensors
from sparsity.errors import SparsityError
from sparsity.forward.passes import in_mode
from sparsity.forward.tensors import tensors_in
from sparsity.graph.trace import Sample, call_arguments

_NEEDED: dict[Format, tuple[str, ...]] = {
    "pytorch": (),
    "torch-export": (),
    "safetensors": ("safetensors",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
_SAMPLES = 3
"""With which a batch of any size is traced; of one alone, export takes for granted that there is one."""
_MOST_SAMPLES = 2**31 - 1
"""Slices end at 2**63 - 1, which torch 2.6 has to know to be further than any batch is long."""
_LONGEST_REASON = 200


def require_packages(format: Format) -> None:
    """Check that what a format is written and read with is there.

    Raises:
        SparsityError: Names what is not, and how to install it.
    """
    if missing := [name for name in _NEEDED[format] if find_spec(name) is None]:
        raise SparsityError(
            f"the format {format} needs {' and '.join(missing)}, not installed here; run pip install 'sparsity[export]'"
        )


def write_network(network: nn.Module, like: nn.Module, sample: Sample, format: Format, folder: Path) -> int | None:
    """Write a network as the file of a format.

    Args:
        network: In evaluation mode, on the CPU, without masks; left unchanged.
        like: The network that it was before layers were made smaller.
        sample: A batch of one.
        format: Of the file.
        folder: Where it is made, as `FILES` names it.

    Returns:
        The number of samples that the file takes at once; None if it takes any.

    Raises:
        SparsityError: If the network cannot be written so; names the operation where that is known.
        OSError: If the file cannot be written.
    """
    path = folder / FILES[format]
    if format == "pytorch":
        path.write_bytes(exported_checkpoint(network, config_of(like)))
    elif format == "safetensors":
        path.write_bytes(exported_safetensors(network, config_of(like)))
    elif format == "onnx":
        content, batch = _of_any_batch(_onnx, network, sample)
        path.write_bytes(content)
        return batch
    else:
        content, batch = _of_any_batch(_program, network, sample)
        path.write_bytes(content)
        return batch
    return None


def read_back(folder: Path, format: Format, like: nn.Module, batch: int | None = None) -> nn.Module:
    """The network in a file that `write_network` made, to be called as the network itself.

    Args:
        folder: With the file.
        format: Of the file.
        like: A network of the class, for classes that no file can name.
        batch: The number of samples that the file takes at once; None if it takes any.
    """
    path = folder / FILES[format]
    if format in ("pytorch", "safetensors"):
        return load_network(path, network=None if config_is_known(like) else like).eval()
    if format == "onnx":
        return _Called(_onnx_call(path), batch)
    return _Called(torch.export.load(path).module(), batch)


def config_is_known(network: nn.Module) -> bool:
    """Whether a file can name what makes a network."""
    return config_of(network) is not None


class _Called(nn.Module):
    """A function in the place of a network; inputs in batches of one size if it takes no others."""

    def __init__(self, function: Callable[..., Any], batch: int | None) -> None:
        super().__init__()
        self.functions = (function,)  # in a tuple it is no submodule, which would be told its mode
        self.batch = batch

    def forward(self, *args: Any, **kwargs: Any) -> Any:
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


def _program(network: nn.Module, sample: Sample, shapes: Any) -> bytes:
    program = _exported(network, sample, shapes)
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _onnx(network: nn.Module, sample: Sample, shapes: Any) -> bytes:
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


def _onnx_call(path: Path) -> Callable[..., Any]:
    onnxruntime = import_module("onnxruntime")  # without types
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    names: Sequence[str] = [one.name for one in session.get_inputs()]

    def call(*args: Any, **kwargs: Any) -> Any:
        given = kwargs if kwargs.keys() >= set(names) else dict(zip(names, [*args, *kwargs.values()], strict=True))
        found = session.run(None, {name: given[name].numpy() for name in names})
        outputs = tuple(torch.from_numpy(array) for array in found)
        return outputs[0] if len(outputs) == 1 else outputs

    return call


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
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()]
    return (lines[0] if lines else type(chain[-1]).__name__)[:_LONGEST_REASON]
