"""How many cases are tried, and what came of them.

As part of all tests 108 cases run, always the same ones. `SPARSITY_FUZZ=500 pytest tests/fuzz` runs 500 of
each kind, new ones every time.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.fuzz.attempt import attempt

CASES = int(os.environ.get("SPARSITY_FUZZ", "0"))
OUTCOMES: dict[str, Counter[str]] = {}

cases = settings(
    max_examples=CASES or 4,
    derandomize=CASES == 0,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[], str]], None]]:
    """Counts what came of each case; fails in the end if a promise broke."""
    outcomes = OUTCOMES.setdefault(request.node.originalname, Counter())
    broken: dict[str, str] = {}

    def count(play: Callable[[], str]) -> None:
        try:
            outcomes[play()] += 1
        except AssertionError as error:
            outcomes["broke a promise"] += 1
            broken.setdefault(str(error).strip().splitlines()[-1], str(error))

    yield count
    assert not broken, "\n\n".join(broken.values())


@pytest.fixture
def try_it(tally: Callable[[Callable[[], str]], None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a command line in a folder of its own and counts what came of it."""
    monkeypatch.delenv("SPARSITY_DATA_DIR", raising=False)
    return lambda *arguments, **options: tally(lambda: attempt([str(a) for a in arguments], **options).outcome)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if OUTCOMES:
        terminalreporter.section("fuzz: cases by outcome")
        for test, outcomes in OUTCOMES.items():
            terminalreporter.write_line(f"{test}: {sum(outcomes.values())} = {dict(outcomes)}")
        total = sum((counter for counter in OUTCOMES.values()), Counter[str]())
        terminalreporter.write_line(f"all: {sum(total.values())} = {dict(total)}")
