"""What can run a network's forward pass: torch, torch.compile, ONNX Runtime, sparse products for its Linear layers."""

import copy
import importlib.util
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.compaction.export import require_packages
from sparsity.compaction.programs import Program, onnx_call, onnx_program
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given, sample_of
from sparsity.graph.trace import Sample, call_arguments
from sparsity.masks import remove_masks

Engine = Literal["torch", "compile", "csr", "onnx"]
Run = Callable[[Sample], object]

_SPARSE_ENOUGH = 0.5
"""Above that density a sparse product has no chance."""


def prepared(network: nn.Module, engine: Engine, sample: Given = None) -> Run | None:
    """What runs a network with an engine, on as many threads as torch is set to at the time.

    Args:
        network: In evaluation mode, on its device; left unchanged.
        engine: One of `Engine`.
        sample: What the network takes, see `sparsity.graph.sample`; for ONNX Runtime alone.

    Returns:
        A function of a batch; None where the engine has nothing to offer for this network.

    Raises:
        SparsityError: If the engine is not here, or cannot run the network.
    """
    require(engine)
    own = copy.deepcopy(network)
    remove_masks(own)
    if engine == "compile":
        return _by_threads(lambda threads: torch.compile(copy.deepcopy(own)))
    if engine == "csr":
        return _called(own) if _with_sparse_layers(own) else None
    if engine == "onnx":
        if any(parameter.device.type != "cpu" for parameter in own.parameters()):
            return None
        one = sample_of(own, sample)
        content, batch = onnx_program(own, one)
        run = _by_threads(lambda threads: Program(onnx_call(content, threads), batch))
        run(one)  # what ONNX Runtime refuses, it may refuse in a pass only
        return run
    return _called(own)


def require(engine: Engine) -> None:
    """Refuse an engine that is not here.

    Raises:
        SparsityError: Says what is missing.
    """
    if engine not in get_args(Engine):
        raise SparsityError(f"engine must be one of {', '.join(get_args(Engine))}, not {engine!r}")
    if engine == "compile" and not (importlib.util.find_spec("torch._inductor") and _has_compiler()):
        raise SparsityError("the engine compile needs a C++ compiler (g++ or clang++) on the PATH, and there is none")
    if engine == "onnx":
        require_packages(engine)


def _has_compiler() -> bool:
    return torch.cuda.is_available() or any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def _called(network: Callable[..., object]) -> Run:
    def run(sample: Sample) -> object:
        args, kwargs = call_arguments(sample)
        return network(*args, **kwargs)

    return run


def _by_threads(make: Callable[[int], Callable[..., object]]) -> Run:
    """What is made anew for every number of threads."""
    made = cache(lambda threads: _called(make(threads)))
    return lambda sample: made(torch.get_num_threads())(sample)


def _with_sparse_layers(network: nn.Module) -> bool:
    """Put sparse products in the place of sparse Linear layers; False if there are none."""
    found = False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and (child.weight != 0).double().mean() <= _SPARSE_ENOUGH:
                setattr(module, name, _SparseLinear(child))
                found = True
    return found


class _SparseLinear(nn.Module):
    """A Linear whose weight is stored by rows, without its zeros."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that such tensors are in beta
            self.weight = layer.weight.detach().to_sparse_csr()
        self.bias = layer.bias

    def forward(self, values: Tensor) -> Tensor:
        """Map `[..., inputs]` to `[..., outputs]`."""
        found = F.linear(values.flatten(0, -2), self.weight).reshape(*values.shape[:-1], -1)
        return found if self.bias is None else found + self.bias
