"""One command line, run in this process, and whether it kept the promises about mistakes."""

import hashlib
import io
import logging
import os
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sparsity.cli import main

SECONDS = 60
"""After which a command hangs."""


class Hang(BaseException):
    """Not an Exception, so that nothing catches it."""


@dataclass
class Attempt:
    """What came of a command line.

    Args:
        outcome: `ran` to its end, `refused` in one sentence, or `stopped` by one when there was a log already.
        sentence: The sentence.
    """

    outcome: Literal["ran", "refused", "stopped"]
    sentence: str = ""


def attempt(
    arguments: Sequence[str],
    prepare: Callable[[Path], Any] = lambda folder: None,
    check: Callable[[Path], Any] = lambda folder: None,
) -> Attempt:
    """Run a command line in a new folder and check what holds for every one.

    It ends in time, either with exit code 0 or with exit code 2, one sentence, no traceback, and a folder that is as it
    was before, but for the run's own folder if training had begun. No code of a file that it reads is run: a file
    called `ran` appears nowhere.

    Args:
        arguments: After `sparsity`.
        prepare: Puts files into the folder.
        check: What else must hold of the folder after a command that ran to its end.

    Raises:
        AssertionError: With the command line and what it printed.
    """
    here, folder = Path.cwd(), Path(tempfile.mkdtemp())
    out, err = io.StringIO(), io.StringIO()
    crash = ""
    code: Any = 0
    try:
        prepare(folder)
        before = contents(folder)
        signal.signal(signal.SIGALRM, _hang)
        signal.alarm(SECONDS)
        os.chdir(folder)
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            try:
                main(list(arguments))
            except SystemExit as end:
                code = end.code
            except (Exception, Hang):
                crash = traceback.format_exc()
        signal.alarm(0)
        after = contents(folder)
        assert not any(Path(name).name == "ran" for name in after), f"code was run by {arguments}"
        if code == 0 and not crash:
            check(folder)
    finally:
        signal.alarm(0)
        os.chdir(here)
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder)
    said = f"sparsity {' '.join(arguments)!r}\n{err.getvalue()[-2000:]}"
    assert not crash, f"{said}\n{crash[-6000:]}"
    assert "Traceback" not in err.getvalue(), said
    if code == 0:
        return Attempt("ran")
    assert code == 2, f"exit code {code}: {said}"
    sentences = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, said
    assert len(sentences[0].split()) > 2, said
    assert {name: after.get(name) for name in before} == before, f"files of the user's were changed: {said}"
    new = set(after) - set(before)
    # A fit removes its folder unless it has trained.
    assert all(name.startswith("lightning_logs") for name in new), f"left behind {new}: {said}"
    return Attempt("stopped" if new else "refused", sentences[0])


def _hang(*_: Any) -> None:
    raise Hang


def contents(folder: Path) -> dict[str, str]:
    """What lies below a folder: a hash of every file's content, and the folders."""
    return {
        str(path.relative_to(folder)): "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if not os.path.islink(path)
    }
