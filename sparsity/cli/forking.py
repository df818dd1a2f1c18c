"""A process that imports what fits need once, then forks one for each fit that it is asked for.

Not for people: `sparsity.study.starting` starts `python -m sparsity.cli.forking SOCKET`, says what is to be run, and is
told how it ended. It runs nothing of torch itself, neither on a GPU nor in parallel, since a fork could not go on.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

IMPORTED = (
    "sparsity.cli.lightning",
    "sparsity.trainer.lean_loop",
    "sparsity.plotting.catalogue",
    "sparsity.plotting.files",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "fontTools.subset",
    "torch.export",
    "torch.utils.tensorboard",
)
"""What fits import, at their start or later."""


def main() -> None:
    """Serve; in a fork, run `sparsity` as if it had been started by itself."""
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who know what to do then
    requests = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # or looking for garbage would copy all that forks share
    arguments = serve(requests)
    if arguments is not None:
        signal.signal(signal.SIGINT, on_interrupt)
        gc.enable()
        sys.argv = ["sparsity", *arguments]
        runpy.run_module("sparsity", run_name="__main__", alter_sys=True)


def serve(requests: socket.socket) -> Sequence[str] | None:
    """Fork as often as somebody asks, and tell how forks end, until nobody is there to ask.

    Args:
        requests: A message for each fork: the arguments of `sparsity`, variables of the environment and cores as JSON,
            with three file descriptors: a socket to tell the exit code to, a log, and a lock to keep open.

    Returns:
        In a fork, its arguments; None otherwise.
    """
    watched = selectors.DefaultSelector()
    watched.register(requests, selectors.EVENT_READ)
    askers: dict[int, socket.socket] = {}
    while True:
        for key, _ in watched.select():
            if key.fd != requests.fileno():
                watched.unregister(key.fd)
                _tell(askers.pop(key.fd), os.waitstatus_to_exitcode(os.waitpid(key.data, 0)[1]))
                os.close(key.fd)
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
            if not message:
                return None
            asking, log, lock = descriptors
            asker = socket.socket(fileno=asking)
            child = os.fork()
            if child == 0:
                watched.close()
                for other in (requests, *askers.values()):
                    other.close()
                for process in askers:
                    os.close(process)
                return _begin(json.loads(message), asker, log)
            os.close(log)
            os.close(lock)
            process = os.pidfd_open(child)
            watched.register(process, selectors.EVENT_READ, child)
            askers[process] = asker
            with suppress(OSError):  # nobody asks any more, and so nobody says go
                socket.send_fds(asker, [b"?"], [process])


def _begin(request: Mapping[str, Any], asker: socket.socket, log: int) -> Sequence[str]:
    """Make a fork what it would be if it had been started by itself; its arguments."""
    if not asker.recv(1):
        os._exit(1)
    asker.close()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.update(request["variables"])
    if request["cores"] is not None:
        os.sched_setaffinity(0, request["cores"])
    np.random.seed()  # noqa: NPY002 (unlike Python's own, numpy's numbers would be the same in all forks)
    arguments: Sequence[str] = request["arguments"]
    return arguments


def _tell(asker: socket.socket, code: int) -> None:
    with suppress(OSError):  # nobody asks any more
        asker.sendall(str(code).encode())
    asker.close()


if __name__ == "__main__":
    main()
