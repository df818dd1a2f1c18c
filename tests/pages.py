"""Pages of the guide that run: their code, files and commands in their order, and what they say stands behind them."""

import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
COMMAND = "python -m sparsity "
NO_BAR = ["--trainer.enable_progress_bar", "false"]
SHORT = ["--trainer.callbacks", "null", *NO_BAR]
QUIET = [*SHORT, "--test_after_fit", "false"]

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r'(?:^```(?P<language>\w+)(?: title="(?P<file>[^"\n]+)")?\n(?P<fenced>.*?)^```$|(?P<indented>(?:^ {4}[^\n]*\n)+))',
    flags=re.MULTILINE | re.DOTALL,
)


class Step(NamedTuple):
    """A block of a page.

    Attributes:
        text: Without its fence.
        language: Of a fenced block; empty of an indented one, which is commands and what they print.
        file: The file that the block is, if it is one.
        not_run: Why nothing runs it, if so.
    """

    text: str
    language: str
    file: str
    not_run: str


def steps(page: str) -> Iterator[Step]:
    """The blocks of a page, in their order."""
    for found in _BLOCK.finditer(page):
        text = found["fenced"] if found["fenced"] is not None else found["indented"]
        yield Step(text, found["language"] or "", found["file"] or "", found["reason"] or "")


def arguments(command: str) -> list[str]:
    """Those of one command of ours."""
    assert command.startswith(COMMAND), command
    return shlex.split(command.removeprefix(COMMAND))


class PageRun:
    """Runs the steps of one page in the working directory, with one set of names.

    Args:
        page: The page's name, for tracebacks.
        sparsity: The fixture that runs commands.
        fit: What every fit is given besides.
    """

    def __init__(self, page: str, sparsity: Callable[..., Any], fit: list[str]) -> None:
        self.page, self.sparsity, self.fit = page, sparsity, fit
        self.said: list[str] = []
        self.names: dict[str, Any] = {
            "__name__": "guide",
            "print": lambda *values: self.said.append(" ".join(map(str, values))),
        }

    def run(self, step: Step) -> None:
        """Run a block of code or commands, or write the file that it is."""
        if step.not_run:
            return
        if step.file:
            Path(step.file).write_text(step.text, encoding="utf-8")
        elif step.language == "python":
            self._code(step.text)
        else:
            assert not step.language, f"{self.page}: a block of {step.language} is neither run nor said not to be"
            self._commands(step.text)

    def _code(self, text: str) -> None:
        self.said.clear()
        with warnings.catch_warnings(record=True) as warned:
            warnings.filterwarnings("always", message=".*has zeros and no masks")
            exec(compile(text, self.page, "exec"), self.names)
        assert self.said == re.findall(r"^ *print\(.*\)  # (.*)$", text, flags=re.MULTILINE)
        assert [str(one.message) for one in warned] == re.findall(r"  # warns: (.*)$", text, flags=re.MULTILINE)

    def _commands(self, block: str) -> None:
        first, *rest = re.split(rf"^(?={COMMAND})", re.sub(r"^ +", "", block, flags=re.MULTILINE), flags=re.MULTILINE)
        assert not first, f"{self.page}: {first} is no command of ours, and not said not to be run"
        for command, *expected in map(str.splitlines, rest):
            given = arguments(command)
            outcome = self.sparsity(*given, *(self.fit if given[0] in ("fit", "test") else []))
            fails = any(line.startswith("error: ") for line in expected)
            assert outcome.code == (2 if fails else 0), outcome.err
            for line in expected:
                pattern = ".*".join(map(re.escape, line.split("...")))
                assert re.search(pattern, outcome.out + outcome.err), f"{line}\n{outcome.out}{outcome.err}"
