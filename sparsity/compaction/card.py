"""The model card of an export: what the network is, what it was made of, and how to load it."""

from collections.abc import Iterator

from sparsity.checkpoints.exported import Format
from sparsity.compaction.report import Report
from sparsity.formatting import markdown_table, number

_OURS = """import torch
from sparsity.interop import load_network

network = load_network({folder!r}).eval()
inputs = torch.zeros(1, {shape})
with torch.no_grad():
    outputs = network(inputs)
"""
_OTHERS = _OURS.replace(
    "network = load_network({folder!r})",
    "network = ...  # of the class {network}, with the sizes that it had before\nnetwork = load_network({folder!r}, "
    "network=network)",
)
_PROGRAM = """import torch

network = torch.export.load({file!r}).module()
inputs = torch.zeros(1, {shape})
with torch.no_grad():
    outputs = network(inputs)
"""
_ONNX = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({file!r})
inputs = np.zeros((1, {shape}), np.float32)
(outputs,) = session.run(None, {{session.get_inputs()[0].name: inputs}})
"""
_ROWS = {
    "parameters": "parameters",
    "parameters that are not zero": "nonzero",
    "multiply-adds of a sample": "multiply_adds",
    "bytes": "bytes",
    "bytes without zeros": "bytes_packed",
}


def card(report: Report, folder: str, is_named: bool) -> str:
    """A page of Markdown.

    Args:
        report: Of the export.
        folder: Where it lies, as code shall name it.
        is_named: Whether the file names what makes the network; else whoever loads it has to give one.
    """
    return "\n".join([*_head(report), *_sizes(report), *_equality(report), *_loading(report, folder, is_named)]) + "\n"


def _head(report: Report) -> Iterator[str]:
    origin = report.origin
    yield from ("---", "library_name: sparsity", "tags: [sparse, pruning]", "---", "")  # for the Hugging Face Hub
    yield f"# {report.network}, sparse"
    yield ""
    yield f"`{report.file}` ({report.format}) was made of `{origin.checkpoint}` by `sparsity export`."
    yield ""
    yield f"- method: {origin.method or 'not known'}"
    if origin.density is not None:
        asked = "" if origin.density_asked is None else f" ({origin.density_asked:.6g} asked)"
        yield f"- density of the weights that can be pruned: {origin.density:.6g}{asked}"
    for name, value in report.accuracy.items():
        yield f"- test accuracy on {origin.data}, {name}: {value:.2%}"
    if origin.accuracy_recorded is not None:
        yield f"- test accuracy that its run recorded: {origin.accuracy_recorded:.2%}"
    yield ""


def _sizes(report: Report) -> Iterator[str]:
    rows = [
        [label, *(number(getattr(size, name)) for size in (report.before, report.after))]
        for label, name in _ROWS.items()
    ]
    yield markdown_table(["", "before", "after"], rows)
    yield f"The file has {report.file_bytes:,} bytes. {units_in_words(report)}"
    if report.kept:
        yield ""
    yield from (f"- {reason}" for reason in report.kept)
    yield ""


def units_in_words(report: Report) -> str:
    """Which units were taken out, in a sentence."""
    cut = {name: one for name, one in report.layers.items() if one.units != one.units_before}
    if not report.compact:
        return "Its layers have the sizes that they had."
    if not cut:
        return "Nothing could be taken out: it is the network as it was."
    layers = ", ".join(f"{name} {one.units_before} -> {one.units}" for name, one in cut.items())
    return f"Units taken out: {report.units_gone} ({layers})."


def _equality(report: Report) -> Iterator[str]:
    found = " and ".join(f"{value:.2g} on {kind} inputs" for kind, value in report.deviation.items())
    yield f"Outputs of the file, read back, differ from those of the network before by at most {found}, relative to"
    yield "the largest output if that is above 1."
    yield ""


def _loading(report: Report, folder: str, is_named: bool) -> Iterator[str]:
    yield "## Load it"
    yield ""
    if report.origin.mean is not None and report.origin.std is not None:
        yield f"Inputs are pixels in [0, 1], minus {_row(report.origin.mean)}, divided by {_row(report.origin.std)}."
        yield ""
    if report.batch is not None:
        yield f"The file takes batches of {report.batch} and no others, since the network's code counts on it."
        yield ""
    ours = _OURS if is_named else _OTHERS
    codes: dict[Format, str] = {"pytorch": ours, "safetensors": ours, "torch-export": _PROGRAM, "onnx": _ONNX}
    shape = "..." if report.input_shape is None else ", ".join(map(str, report.input_shape))
    file = f"{folder}/{report.file}"
    yield "```python"
    yield codes[report.format].format(folder=folder, file=file, shape=shape, network=report.network) + "```"


def _row(numbers: tuple[float, ...]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else str(list(numbers))
