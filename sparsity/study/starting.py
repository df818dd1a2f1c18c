"""Starting the process of a fit: from nothing, or as a fork of one that has everything imported."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from sparsity.study.places import Place

CAN_FORK = sys.platform == "linux" and hasattr(os, "pidfd_open")
"""Elsewhere, systems' own libraries do not stand it."""


class Process(Protocol):
    """A process, as `subprocess.Popen` has it."""

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; raises `subprocess.TimeoutExpired`."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


Start = Callable[[Sequence[str], Place, int, int], Process]
"""Starts `sparsity` with arguments in a place; the process writes to one descriptor, and keeps the other open."""


def start_anew(arguments: Sequence[str], place: Place, log: int, lock: int) -> Process:
    """Start a process that imports everything itself.

    Args:
        arguments: Of `sparsity`.
        place: Where it runs.
        log: A file descriptor for what it prints.
        lock: A file descriptor that it keeps open as long as it lives, also if this process is killed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsity", *arguments],
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **place.all_variables},
        pass_fds=(lock,),
    )
    if place.cores is not None:
        with suppress(ProcessLookupError):  # it has ended already
            os.sched_setaffinity(process.pid, place.cores)
    return process


class ForkServer:
    """A process that imports everything once, and forks a process for every start (`sparsity.cli.forking`).

    Used as a context. Its forks live on when it ends, as processes that were started anew do.

    Args:
        place: Whose threads all its forks have.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> Self:
        # Messages are kept apart, so that threads can send theirs at the same time.
        self._requests, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "sparsity.cli.forking", str(others.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # whatever goes wrong does so again, and is read, in a process started anew
            env={**os.environ, **Place(self._place.threads).all_variables},
            pass_fds=(others.fileno(),),
        )
        others.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End it, also while it imports; whoever waits for a fork gets a process that is started anew."""
        self._server.kill()
        self._server.wait()
        self._requests.close()

    def start(self, arguments: Sequence[str], place: Place, log: int, lock: int) -> Process:
        """Start a process that has imported everything, or anew if that does not work; as `start_anew`."""
        try:
            return self._fork(arguments, place, log, lock)
        except OSError:
            return start_anew(arguments, place, log, lock)

    def _fork(self, arguments: Sequence[str], place: Place, log: int, lock: int) -> Process:
        mine, others = socket.socketpair()
        request = {"arguments": list(arguments), "variables": place.all_variables, "cores": place.cores}
        try:
            with others:
                socket.send_fds(self._requests, [json.dumps(request).encode()], [others.fileno(), log, lock])
            _, descriptors, _, _ = socket.recv_fds(mine, 1, 1)
            if not descriptors:
                raise ConnectionError("the fork server has ended")
            mine.sendall(b"!")  # nobody has to end a fork of which nobody knows
        except BaseException:
            mine.close()
            raise
        return Forked(descriptors[0], mine)


class Forked:
    """A process that another one has forked for this one.

    Args:
        process: A file descriptor of the process (`os.pidfd_open`).
        ending: On which the other process tells its exit code.
    """

    def __init__(self, process: int, ending: socket.socket) -> None:
        self._process = process
        self._ending = ending
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; 1 if whoever forked it ended first.

        Raises:
            subprocess.TimeoutExpired: If it has not ended after so many seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not _readable(self._process, left):
                raise subprocess.TimeoutExpired("fit", timeout or 0.0)
            told = self._ending.recv(16)
            self._code = int(told) if told else 1
            self._ending.close()
            os.close(self._process)
        return self._code

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._code is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)


def _readable(descriptor: int, timeout: float | None) -> bool:
    waiting = select.poll()  # `select.select` refuses descriptors from 1024 on
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))
