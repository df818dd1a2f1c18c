"""A bar on a terminal, and nothing elsewhere."""

import io

import pytest
from rich.console import Console

from sparsity import tracking
from sparsity.tracking import tracked


def test_elsewhere_than_on_a_terminal_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked(range(3), "networks")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_of_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(tracking, "Console", lambda: Console(file=shown, force_terminal=True, width=60))
    assert list(tracked(iter("ab"), "networks", total=2)) == ["a", "b"]
    assert "networks" in shown.getvalue()
    assert "100%" in shown.getvalue()
