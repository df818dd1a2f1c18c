"""NVIDIA's MPS, with which processes compute on a GPU at the same time, where they would take turns without it.

Every process may use the whole card: a share of its processors each would leave those of whoever waits idle, and would
choose other kernels, and so other last bits, than for a run by itself. Nor is memory divided; what the environment says
of either (`CUDA_MPS_ACTIVE_THREAD_PERCENTAGE`, `CUDA_MPS_PINNED_DEVICE_MEM_LIMIT`) reaches the processes as it is.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from tempfile import TemporaryDirectory

from sparsity.study.places import Place, visible_gpu

CONTROL = "nvidia-cuda-mps-control"
_PATIENCE = 60.0  # seconds
_OPEN_A_GPU = """
import ctypes, sys
cuda, device, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_void_p()
failed = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
failed = failed or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
sys.exit(bool(failed))
"""


@contextmanager
def shared_gpus(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Start MPS for GPUs with more than one place, and end it afterwards; says so if it cannot.

    Args:
        places: Of processes side by side.

    Yields:
        The places, with what tells their processes of MPS. Without it they are as they were: where every GPU has one,
        where the environment names somebody else's MPS, and where it is not installed or does not work.
    """
    crowded = [gpu for gpu, count in Counter(place.gpu for place in places).items() if gpu is not None and count > 1]
    if not crowded or "CUDA_MPS_PIPE_DIRECTORY" in os.environ:
        yield list(places)
        return
    with ExitStack() as stack:
        try:
            variables = {gpu: stack.enter_context(_daemon(gpu)) for gpu in crowded}
        except (OSError, subprocess.SubprocessError) as error:
            stack.close()
            print(f"processes on the same GPU take turns, without NVIDIA's MPS: {_reason(error)}", flush=True)
            variables = {}
        yield [_told(place, variables) for place in places]


def _told(place: Place, variables: Mapping[int, Mapping[str, str]]) -> Place:
    found = {} if place.gpu is None else variables.get(place.gpu, {})
    return replace(place, variables={**place.variables, **found})


@contextmanager
def _daemon(gpu: int) -> Iterator[dict[str, str]]:
    """MPS for one GPU; yields the variables of its clients."""
    program = shutil.which(CONTROL)
    if program is None:
        raise FileNotFoundError(f"there is no {CONTROL} on the PATH")
    with TemporaryDirectory(prefix="sparsity-mps-", ignore_cleanup_errors=True) as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for path in own.values():
            os.mkdir(path)
        environment = {**os.environ, **own, "CUDA_VISIBLE_DEVICES": visible_gpu(gpu)}
        _run([program, "-d"], environment)
        try:
            clients = {**own, "CUDA_VISIBLE_DEVICES": "0"}  # among those that the daemon sees
            open_a_gpu({**os.environ, **clients})
            yield clients
        finally:
            with suppress(OSError, subprocess.SubprocessError):
                _run([program], environment, "quit\n")


def open_a_gpu(environment: dict[str, str]) -> None:
    """Let a process open its first GPU.

    Raises:
        subprocess.SubprocessError: If it cannot, or takes too long.
    """
    _run([sys.executable, "-c", _OPEN_A_GPU], environment)


def _run(command: Sequence[str], environment: dict[str, str], text: str = "") -> None:
    subprocess.run(
        command, input=text, text=True, env=environment, check=True, timeout=_PATIENCE, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,  # a daemon would keep a pipe open
    )  # fmt: skip


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        if CONTROL in error.cmd[0]:
            return f"{CONTROL} ended with exit code {error.returncode}"
        return "it runs, but a process cannot open a GPU through it"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not answer in {error.timeout:.0f} s"
    return str(error)
